"""The predictor against networks whose answer is known at every voxel."""

import tempfile

import numpy as np
import pytest
import torch
from torch import nn

from octopi.errors import SettingError
from octopi.inference.flips import FLIPS, mean_over_flips
from octopi.inference.predictor import Predictor, _pad
from octopi.models.net_output import NetOutput
from octopi.models.properties import EnsembleNet
from octopi.system import resources


class Local(nn.Module):
    """Logits that depend on a voxel's neighbourhood of three only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 3, 3, padding=1, padding_mode="replicate", bias=False)
        with torch.no_grad():
            generator = torch.Generator().manual_seed(0)
            self.conv.weight.copy_(0.2 * torch.randn(self.conv.weight.shape, generator=generator))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.conv(image)


@pytest.fixture
def volume():
    return np.random.default_rng(0).normal(size=(20, 38, 50)).astype(np.float32)


def predict(volume, *nets, window_size, halo=(2, 2, 2), num_sides=1):
    predictor = Predictor(window_size=window_size, halo=halo, num_sides=num_sides)
    net = nets[0] if len(nets) == 1 else EnsembleNet(nets)
    return predictor(net.eval(), volume, divisor=2)


def test_windows_give_what_the_whole_volume_gives(volume):
    whole = predict(volume, Local(), window_size=None)
    tiled = predict(volume, Local(), window_size=[8, 16, 16])
    assert whole.shape == (2, 20, 38, 50)
    assert np.abs(whole.astype(int) - tiled).max() <= 2


class Hungry(Local):
    """The network above, which finds no memory for more voxels than `limit`."""

    limit = 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if image.numel() > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().forward(image)


def test_windows_that_do_not_fit_into_memory_are_halved_until_they_do(volume, caplog):
    net = Hungry()
    net.limit = 8 * 16 * 16
    predictor = Predictor(window_size=[20, 40, 50], halo=[2, 2, 2], num_sides=1)
    scores = predictor(net.eval(), volume, divisor=2)
    assert np.abs(predict(volume, Local(), window_size=None).astype(int) - scores).max() <= 2
    assert "do not fit into the GPU's memory" in caplog.text
    warnings = len(caplog.records)
    assert (predictor(net, volume, divisor=2) == scores).all()
    assert len(caplog.records) == warnings  # the next tomogram begins with what fits


def test_no_window_is_halved_to_nothing_but_its_halo(volume):
    with pytest.raises(torch.OutOfMemoryError):
        predict(volume, Hungry(), window_size=[8, 16, 16])


def test_scores_are_the_softmax_without_background_in_255_steps(volume):
    net = Local()
    with torch.inference_mode():
        expected = net(torch.from_numpy(volume)[None, None]).softmax(1)[0, 1:].numpy() * 255
    got = predict(volume, net, window_size=None)
    assert np.abs(got - expected).max() < 4  # bf16 may cost a percent


def test_a_volume_smaller_than_the_window_comes_back_whole():
    thin = np.random.default_rng(0).normal(size=(3, 5, 7)).astype(np.float32)
    assert predict(thin, Local(), window_size=[8, 8, 8]).shape == (2, 3, 5, 7)


@pytest.mark.parametrize(
    ("shape", "size", "mode"),
    [((5, 6, 7), (8, 8, 8), "reflect"), ((2, 6, 7), (8, 8, 8), "edge"), ((8, 8, 8), (8,) * 3, "")],
)
def test_a_window_goes_on_beyond_a_short_volume_as_numpy_pads_it(shape, size, mode):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    padded = _pad(torch.from_numpy(values)[None, None], size, shape)[0, 0]
    widths = [(0, n - m) for n, m in zip(size, shape, strict=True)]
    np.testing.assert_array_equal(padded, np.pad(values, widths, mode=mode) if mode else values)


def test_an_ensemble_is_the_mean_of_its_members(volume):
    one, other = Local(), Local()
    with torch.no_grad():
        other.conv.weight.mul_(-1)
    single = [predict(volume, net, window_size=None).astype(float) for net in (one, other)]
    both = predict(volume, one, other, window_size=None)
    assert np.abs(both - np.mean(single, axis=0)).max() <= 1


def test_the_mean_over_all_flips_turns_with_the_image():
    net = Local().eval()
    image = torch.randn(1, 1, 6, 6, 6, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        straight = mean_over_flips(net, image, num_flips=8)
        flipped = mean_over_flips(net, torch.flip(image, (-1,)), num_flips=8)
    assert torch.allclose(straight, torch.flip(flipped, (-1,)), atol=1e-5)


def test_all_flips_are_different():
    assert len({frozenset(axes) for axes in FLIPS}) == len(FLIPS) == 8


def test_a_segmentation_is_the_best_class_with_background_among_them():
    scores = np.array([[200, 100, 60], [10, 120, 70]], dtype=np.uint8).reshape(2, 1, 1, 3)
    assert NetOutput().segmentation(scores).ravel().tolist() == [1, 2, 0]


def test_a_setting_out_of_its_range_is_refused():
    with pytest.raises(ValueError, match="leaves nothing"):
        Predictor(window_size=[16, 16, 16], halo=[8, 8, 8], num_sides=1)
    with pytest.raises(ValueError, match="num_sides"):
        Predictor(window_size=None, halo=[0, 0, 0], num_sides=9)
    with pytest.raises(SettingError, match=r"predictor.window_size=\[16, 16, 32\]"):
        Predictor(window_size=[18, 16, 30], halo=[2, 2, 2], num_sides=1).check(16)


@pytest.mark.parametrize("window_size", [None, [8, 16, 16]])
def test_a_volume_larger_than_the_memory_gets_the_same_scores(volume, monkeypatch, window_size):
    expected = predict(volume, Local(), window_size=window_size)
    expected_labels = NetOutput().segmentation(expected)
    files, open_file = [], tempfile.TemporaryFile
    monkeypatch.setattr(resources, "memory", lambda: 1000)
    monkeypatch.setattr(
        tempfile, "TemporaryFile", lambda **words: files.append(words) or open_file(**words)
    )
    scores = predict(volume, Local(), window_size=window_size)
    assert (scores == expected).all()
    assert (NetOutput().segmentation(scores) == expected_labels).all()
    assert len(files) == 2
