"""A checkpoint is all it takes to predict, runs no code of its own, and is never half written."""

import dataclasses
import os
import pickle
import warnings
import zipfile

import pytest
import torch
from checkpoints import NET, make_info
from monai.networks.nets import UNet

from octopi.errors import SettingError
from octopi.models import checkpoint


@pytest.fixture
def net():
    torch.manual_seed(0)
    return checkpoint.build_net(NET).eval()


def test_a_loaded_network_gives_the_same_logits(tmp_path, net):
    checkpoint.save(tmp_path / "best_model.pth", net.state_dict(), make_info())
    loaded, info = checkpoint.load(tmp_path / "best_model.pth")
    image = torch.randn(1, 1, 8, 8, 8)
    assert torch.equal(loaded(image), net(image))
    assert info == make_info()


def test_the_file_is_loadable_as_weights_only(tmp_path, net):
    checkpoint.save(tmp_path / "best_model.pth", net.state_dict(), make_info())
    content = torch.load(tmp_path / "best_model.pth", weights_only=True)
    assert set(content) == {"format", "recipe", "weights"}


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, net, monkeypatch):
    path = tmp_path / "best_model.pth"
    checkpoint.save(path, net.state_dict(), make_info())
    before = path.read_bytes()

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(checkpoint.ResourceError, match="intact"):
        checkpoint.save(path, net.state_dict(), make_info(thresholds={}))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    marker = tmp_path / "marker"

    class Attack:
        def __reduce__(self):
            return os.system, (f"touch {marker}",)

    path = tmp_path / "best_model.pth"
    torch.save({"format": 1, "recipe": Attack(), "weights": {}}, path)
    with pytest.raises(SettingError, match="not a checkpoint"):
        checkpoint.load(path)
    path.write_bytes(pickle.dumps(Attack(), protocol=2))
    with pytest.raises(SettingError, match="not a checkpoint"):
        checkpoint.load(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "target",
    ["os.system", "builtins.open", "pathlib.Path.unlink", "torch.load", "torch.hub.load", "my.Net"],
)
def test_a_target_that_is_not_a_known_network_is_refused(tmp_path, net, target):
    path = tmp_path / "best_model.pth"
    checkpoint.save(path, net.state_dict(), make_info(net={**NET, "_target_": target}))
    with pytest.raises(SettingError, match="trust="):
        checkpoint.load(path)


def test_trust_admits_networks_only(tmp_path, net):
    path = tmp_path / "best_model.pth"
    checkpoint.save(path, net.state_dict(), make_info(net={**NET, "_target_": "os.system"}))
    with pytest.raises(SettingError, match=r"not a subclass of torch.nn"):
        checkpoint.load(path, trust=["os.system"])


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 cut off"])
def test_the_error_names_a_damaged_file(tmp_path, content):
    path = tmp_path / "best_model.pth"
    path.write_bytes(content)
    with pytest.raises(SettingError, match=r"best_model.pth is damaged, or is not a checkpoint"):
        checkpoint.load(path)


def test_a_file_of_code_is_refused_without_torchs_advice_to_run_it(tmp_path, net):
    torch.save(net, tmp_path / "module.pth")
    with warnings.catch_warnings(action="ignore"):  # deprecated
        torch.jit.save(torch.jit.script(torch.nn.ReLU()), tmp_path / "script.pt")
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(999))
    for name, fault in (
        ("module.pth", r"Python code \(monai"),
        ("script.pt", "TorchScript"),
        ("model.h5", "no file of PyTorch"),
    ):
        with pytest.raises(SettingError, match=f"{name} .*{fault}") as refused:
            checkpoint.load(tmp_path / name)
        assert "weights_only" not in str(refused.value)
        assert "trust" not in str(refused.value)


def test_a_checkpoint_of_a_newer_pytorch_says_to_update_it(tmp_path, net):
    checkpoint.save(tmp_path / "model.pth", net.state_dict(), make_info())
    with (
        zipfile.ZipFile(tmp_path / "model.pth") as old,
        zipfile.ZipFile(tmp_path / "newer.pth", "w") as new,
    ):
        for name in old.namelist():
            new.writestr(name, b"99" if name.endswith("/version") else old.read(name))
    with pytest.raises(SettingError, match=r"newer PyTorch than .*version 99.*pip install"):
        checkpoint.load(tmp_path / "newer.pth")


def test_what_else_a_checkpoint_holds_is_left_alone_or_refused_by_name(tmp_path, net):
    path = tmp_path / "model.pth"
    weights, info = net.state_dict(), dataclasses.asdict(make_info())

    def load(**changes):
        content = {"format": 1, "recipe": info, "weights": weights}
        torch.save({**content, **changes}, path)
        return checkpoint.load(path)

    load(notes="mine")
    assert load(recipe=info | {"tomo_types": "wbp"})[1].tomo_types == ["wbp"]
    for changes, cause in (
        ({"recipe": info | {"notes": 1}}, "its info has notes"),
        ({"recipe": info | {"chances": {"virus": {"slope": 1.0, "notes": 1}}}}, "chances"),
        ({"recipe": info | {"tomo_types": 5, "radii": 5}}, "radii"),
        ({"recipe": info | {"net": {**NET, "out_channels": -1}}}, "negative"),
        ({"weights": {**weights, "notes": torch.zeros(1)}}, 'do not fit its network.*"notes"'),
        ({"weights": {"a": torch.tensor([1.0, torch.nan])}}, "the weights a hold .* NaN"),
    ):
        with pytest.raises(SettingError, match=f"(?s)model.pth.*{cause}"):
            load(**changes)


def test_for_a_missing_file_the_checkpoints_beside_it_are_listed(tmp_path, net):
    checkpoint.save(tmp_path / "best_model.pth", net.state_dict(), make_info())
    with pytest.raises(SettingError, match=r"no checkpoint .*model.pth.*: best_model.pth"):
        checkpoint.load(tmp_path / "model.pth")


def test_bare_weights_are_refused_with_the_reason(tmp_path, net):
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(SettingError, match="no recipe"):
        checkpoint.load(tmp_path / "weights.pth")


def test_other_objects_keep_the_body_and_get_a_new_head(net):
    other = checkpoint.build_net({**NET, "out_channels": 5})
    head_before = {k: v.clone() for k, v in other.state_dict().items()}
    new_weights = checkpoint.load_matching_weights(other, net.state_dict())
    assert new_weights
    for name, value in other.state_dict().items():
        if name in new_weights:
            assert torch.equal(value, head_before[name])
        else:
            assert torch.equal(value, net.state_dict()[name])


def test_weights_none_of_which_fits_are_refused(net):
    with pytest.raises(SettingError, match="not one weight"):
        checkpoint.load_matching_weights(torch.nn.Linear(2, 2), net.state_dict())


def test_the_rows_of_the_channels_that_both_networks_have_are_loaded():
    def make(num_channels):
        return UNet(3, 1, num_channels, channels=[4, 8], strides=[2], num_res_units=1, norm="batch")

    old, new = make(4), make(3)
    axes = checkpoint.find_channel_axes(new, make(4))
    assert sum(len(of_weight) > 1 for of_weight in axes.values()) >= 1  # channels to channels
    before = {name: value.clone() for name, value in new.state_dict().items()}
    rows = [(0, 0), (2, 1)]  # background, and an object that was first and is second
    new_names = checkpoint.load_matching_weights(new, old.state_dict(), axes, rows)
    assert set(new_names) == set(axes)
    for name, value in new.state_dict().items():
        of_old = old.state_dict()[name]
        if name not in axes:
            assert torch.equal(value, of_old), name
            continue
        for axis in axes[name]:
            of_old = of_old.index_select(axis, torch.tensor([0, 1]))
        kept, fresh = value, before[name]
        for axis in axes[name]:
            kept = kept.index_select(axis, torch.tensor([0, 2]))
        assert torch.equal(kept, of_old), name
        first = axes[name][0]
        assert torch.equal(
            value.index_select(first, torch.tensor([1])),
            fresh.index_select(first, torch.tensor([1])),
        )


def test_another_order_of_the_same_objects_moves_their_rows():
    old, new = torch.nn.Conv3d(2, 3, 1), torch.nn.Conv3d(2, 3, 1)
    body = {"body": torch.nn.Conv3d(1, 2, 1)}
    nets = [torch.nn.Sequential(body["body"], head) for head in (old, new)]
    wider = torch.nn.Sequential(body["body"], torch.nn.Conv3d(2, 4, 1))
    axes = checkpoint.find_channel_axes(nets[1], wider)
    rows = [(0, 0), (1, 2), (2, 1)]
    assert checkpoint.load_matching_weights(nets[1], nets[0].state_dict(), axes, rows) == []
    assert torch.equal(new.weight, old.weight[[0, 2, 1]])
    assert torch.equal(new.bias, old.bias[[0, 2, 1]])
