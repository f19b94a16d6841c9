"""Augmentations: image and target move together, labels stay labels, chance is reproducible."""

import monai.transforms
import numpy as np
import pytest
import torch

from octopi.data.augment import Affine, Compose, Flip, GaussianNoise, Intensity, Ramp, Rot90

SPACE = [
    Flip(axes=["z", "y", "x"], prob=0.5),
    Rot90(prob=0.5),
    Affine(angle_in_plane=180, angle_tilt=10, scale=0.1, prob=1.0),
]
VALUES = [
    Intensity(scale=0.2, shift=0.2, prob=1.0),
    Ramp(height=1.0, prob=1.0),
    GaussianNoise(std=0.5, prob=1.0),
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def balls(shape=(24, 32, 32), num_crops=3):
    """Crops with a few labelled balls; the image equals the target."""
    zyx = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    target = np.zeros(shape, np.uint8)
    for label, centre in ((1, (8, 10, 12)), (3, (14, 22, 8)), (6, (12, 16, 24))):
        target[((zyx - centre) ** 2).sum(-1) <= 16] = label
    target = torch.from_numpy(np.stack([target] * num_crops))[:, None]
    return target.float(), target


@pytest.mark.parametrize("step", [*SPACE, *VALUES], ids=lambda step: type(step).__name__)
def test_shapes_and_types_stay_and_the_given_batch_is_untouched(step):
    image, target = balls()
    before = image.clone(), target.clone()
    new_image, new_target = step(image, target, generator())
    assert new_image.shape == image.shape
    assert new_image.dtype == torch.float32
    assert new_target.shape == target.shape
    assert new_target.dtype == torch.uint8
    assert torch.equal(image, before[0])
    assert torch.equal(target, before[1])
    assert torch.isfinite(new_image).all()


@pytest.mark.parametrize("step", [*SPACE, *VALUES], ids=lambda step: type(step).__name__)
def test_the_same_generator_gives_the_same_batch_and_another_another(step):
    image, target = balls()
    first, second, other = (step(image, target, generator(s))[0] for s in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("step", SPACE, ids=lambda step: type(step).__name__)
def test_image_and_target_move_together(step):
    for seed in range(5):
        image, target = step(*balls(), generator(seed))
        pair = torch.stack([image.flatten(), target.float().flatten()])
        assert torch.corrcoef(pair)[0, 1] > 0.94  # rims are interpolated; a voxel off is 0.8


@pytest.mark.parametrize("step", SPACE, ids=lambda step: type(step).__name__)
def test_no_label_appears_that_was_not_there(step):
    for seed in range(5):
        _, target = step(*balls(), generator(seed))
        assert set(target.unique().tolist()) <= {0, 1, 3, 6}


@pytest.mark.parametrize(
    "step",
    [
        Flip(axes=["z", "y", "x"], prob=0),
        Rot90(prob=0),
        Affine(angle_in_plane=90, angle_tilt=9, scale=0.1, prob=0),
        Affine(angle_in_plane=0, angle_tilt=0, scale=0, prob=1),
        Intensity(scale=0.5, shift=0.5, prob=0),
        Ramp(height=2.0, prob=0),
        GaussianNoise(std=0.5, prob=0),
        Compose(),
    ],
    ids=lambda step: type(step).__name__,
)
def test_without_chance_or_strength_nothing_happens(step):
    image, target = balls()
    new_image, new_target = step(image, target, generator())
    assert torch.allclose(new_image, image, atol=1e-4)
    assert torch.equal(new_target, target)


def test_flips_along_one_axis_mirror_that_axis():
    image, target = balls()
    new_image, new_target = Flip(axes=["z"], prob=1)(image, target, generator())
    assert torch.equal(new_image, image.flip(2))
    assert torch.equal(new_target, target.flip(2))


def test_crops_of_a_batch_are_changed_independently():
    image, target = balls(num_crops=16)
    flipped, _ = Flip(axes=["x"], prob=0.5)(image, target, generator())
    changed = (flipped != image).flatten(1).any(1)
    assert 0 < changed.sum() < 16


def test_quarter_turns_leave_slices_in_place_and_oblong_crops_are_turned_by_half():
    image, target = balls()
    new_image, _ = Rot90(prob=1)(image, target, generator())
    assert torch.equal(new_image.sum((3, 4)), image.sum((3, 4)))
    image, target = balls(shape=(24, 32, 28))
    new_image, _ = Rot90(prob=1)(image, target, generator())
    assert torch.equal(new_image, image.flip(3, 4))


@pytest.mark.parametrize("shape", [(24, 32, 32), (24, 32, 40)])
@pytest.mark.parametrize("tilt", [0, 15])
def test_turns_and_tilts_keep_distances_in_crops_of_any_shape(shape, tilt):
    image, target = balls(shape)
    centre = (torch.tensor(shape) - 1) / 2
    affine = Affine(angle_in_plane=20, angle_tilt=tilt, scale=0, prob=1)
    _, turned = affine(image, target, generator(3))
    for label in (1, 3, 6):
        before, after = (torch.argwhere(t[0, 0] == label).float().mean(0) for t in (target, turned))
        assert (after - centre).norm() == pytest.approx(float((before - centre).norm()), abs=0.4)
        assert (after - before).norm() > 0.5
        if tilt == 0:
            assert after[0] == pytest.approx(float(before[0]), abs=0.3)


def test_scaling_changes_volume_by_its_cube():
    image, target = balls(num_crops=64)
    _, scaled = Affine(angle_in_plane=0, angle_tilt=0, scale=0.1, prob=1)(
        image, target, generator()
    )
    ratio = (scaled > 0).flatten(1).sum(1) / (target > 0).flatten(1).sum(1)
    assert 0.65 < ratio.min() < 0.85
    assert 1.15 < ratio.max() < 1.4


def test_a_tilt_stays_within_its_limit():
    maps = Affine(angle_in_plane=0, angle_tilt=5, scale=0, prob=1)._draw(500, generator())
    angles = torch.rad2deg(torch.acos(maps[:, 2, 2].clamp(max=1)))
    assert angles.max() <= 5.01
    assert angles.max() > 4.5


def test_noise_and_intensity_have_the_strength_asked_for_and_spare_the_target():
    image, target = torch.randn(64, 1, 8, 16, 16), torch.zeros(64, 1, 8, 16, 16, dtype=torch.uint8)
    noisy, same = GaussianNoise(std=0.5, prob=1)(image, target, generator())
    added = (noisy - image).flatten(1).std(1)
    assert same is target
    assert 0 <= added.min() < 0.05
    assert 0.4 < added.max() < 0.53
    brighter, _ = Intensity(scale=0, shift=0.3, prob=1)(image, target, generator())
    shifts = (brighter - image).flatten(1).mean(1)
    assert shifts.abs().max() <= 0.3001
    assert shifts.min() < -0.2 < 0.2 < shifts.max()


def test_a_ramp_is_straight_and_as_high_as_was_asked():
    image, target = torch.zeros(64, 1, 8, 12, 16), torch.zeros(64, 1, 8, 12, 16, dtype=torch.uint8)
    ramps, same = Ramp(height=0.8, prob=0.5)(image, target, generator())
    assert same is target
    heights = torch.stack(
        [ramps[:, 0, -1, 0, 0] - ramps[:, 0, 0, 0, 0], ramps[:, 0, 0, 0, -1] - ramps[:, 0, 0, 0, 0]]
    )
    assert heights.abs().max() <= 0.8
    assert heights.min() < -0.6 < 0.6 < heights.max()
    assert 16 < (heights == 0).all(0).sum() < 48  # crops without one
    for axis in (2, 3, 4):
        assert ramps.diff(n=2, dim=axis).abs().max() < 1e-6
    middles = ramps.mean((2, 3, 4))
    assert middles.abs().max() <= 0.4001
    assert middles.min() < -0.3 < 0.3 < middles.max()


def test_steps_run_in_the_order_they_are_named():
    image, target = balls()
    both = Compose(flip=SPACE[0], noise=VALUES[-1])
    rng = generator(5)
    one_by_one = VALUES[-1](*SPACE[0](image, target, rng), rng)
    assert torch.equal(both(image, target, generator(5))[0], one_by_one[0])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Flip(axes=["w"], prob=0.5),
        lambda: Flip(axes=["x"], prob=1.5),
        lambda: Rot90(prob=-0.1),
        lambda: Affine(angle_in_plane=200, angle_tilt=0, scale=0, prob=1),
        lambda: Affine(angle_in_plane=0, angle_tilt=-1, scale=0, prob=1),
        lambda: Affine(angle_in_plane=0, angle_tilt=0, scale=1, prob=1),
        lambda: Intensity(scale=1, shift=0, prob=1),
        lambda: Ramp(height=-1, prob=1),
        lambda: GaussianNoise(std=-1, prob=1),
        lambda: Compose(flip={"prob": 1}),
    ],
)
def test_bad_values_are_refused_at_construction(make):
    with pytest.raises(ValueError, match=r"."):
        make()


@pytest.mark.gpu
def test_a_gpu_makes_the_same_choices():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    image, target = balls()
    for step in SPACE:
        _, on_cpu = step(image, target, generator(4))
        _, on_gpu = step(image.cuda(), target.cuda(), generator(4))
        assert (on_cpu != on_gpu.cpu()).float().mean() < 1e-3


def test_a_dictionary_transform_of_monai_changes_crops_by_the_generator_alone():
    transform = monai.transforms.RandFlipd(keys=["image", "target"], prob=0.5, spatial_axis=2)
    augment = Compose(flip=transform)
    image = torch.arange(8 * 4**3, dtype=torch.float32).reshape(8, 1, 4, 4, 4)
    target = (image % 3).to(torch.uint8)
    first = augment(image, target, torch.Generator().manual_seed(5))
    again = augment(image, target, torch.Generator().manual_seed(5))
    assert all(map(torch.equal, first, again))
    assert [type(tensor) for tensor in first] == [torch.Tensor, torch.Tensor]
    assert torch.equal(first[1], (first[0] % 3).to(torch.uint8))
    flipped = [torch.equal(new, old.flip(3)) for new, old in zip(first[0], image, strict=True)]
    kept = [torch.equal(new, old) for new, old in zip(first[0], image, strict=True)]
    assert any(flipped)
    assert any(kept)
    assert all(a != b for a, b in zip(flipped, kept, strict=True))
