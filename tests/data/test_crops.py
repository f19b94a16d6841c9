"""Crops: what is drawn depends on seed, epoch, step and rank alone, and is what was asked for."""

import collections
import dataclasses

import numpy as np
import pytest

from octopi.data.cache import VolumeCache
from octopi.data.crops import (
    MAX_POSITIONS,
    CachedTomogram,
    CropSampler,
    CropSettings,
    find_positions,
    pool_rejected,
    read_crop,
)
from octopi.errors import SettingError
from octopi.geometry import Grid
from octopi.targets import UNKNOWN, rejected_value

SETTINGS = CropSettings((8, 8, 8), 4, background_fraction=0.0, center_jitter=0.0, seed=7)
GRID = Grid.cubic((24, 32, 32), 10.0)
STEP = {"epoch": 2, "step": 5, "rank": 0, "num_ranks": 1}


def sampler_over(tmp_path, targets, *, num_types=1, **changes):
    """A sampler over runs with these targets; image voxels hold their flat index, scaled."""
    cache = VolumeCache(tmp_path)
    labels = sorted({int(k) for target in targets for k in np.unique(target) if 0 < k < 128})
    runs = []
    for index, target in enumerate(targets):
        volumes = {
            f"image {index} {kind}": np.full(target.shape, 10 * index + kind, np.float16)
            for kind in range(num_types)
        }
        key = f"target {index}"
        cache.fill({k: lambda v=v: v for k, v in (volumes | {key: target}).items()}, num_threads=1)
        positions = pool_rejected(find_positions(target), labels)
        runs.append(
            [CachedTomogram(k, k, key, Grid.cubic(target.shape, 10), positions) for k in volumes]
        )
    settings = dataclasses.replace(SETTINGS, **changes)
    return CropSampler(cache, runs, labels=labels, settings=settings)


def read_step(sampler, **step):
    """Images and targets of a rank's crops of a step."""
    return sampler.read(sampler.draw_crops(**step))


def volume_with(**voxels):
    """A target that is background but for single voxels, label_N=(z, y, x)."""
    target = np.zeros(GRID.shape, np.uint8)
    for name, voxel in voxels.items():
        target[voxel] = int(name[1:])
    return target


def test_the_same_step_gives_the_same_crops_and_any_other_gives_others(tmp_path):
    rng = np.random.default_rng(0)
    sampler = sampler_over(
        tmp_path, [rng.integers(0, 4, GRID.shape).astype(np.uint8)] * 3, center_jitter=0.5
    )

    def starts(**changes):
        step = {"epoch": 2, "step": 5, "num_ranks": 1, **changes}
        return [crop.start for crop in sampler.draw_crops(**step)]

    assert starts() == starts()
    others = {str(starts(**{k: v})) for k in ("epoch", "step") for v in (11, 12)}
    assert len(others | {str(starts())}) == 5


def test_ranks_share_out_what_one_process_with_as_many_crops_would_see(tmp_path):
    rng = np.random.default_rng(0)
    targets = [rng.integers(0, 4, GRID.shape).astype(np.uint8)] * 3
    one = read_step(sampler_over(tmp_path, targets, crops_per_step=6, center_jitter=0.5), **STEP)
    three = sampler_over(tmp_path, targets, crops_per_step=2, center_jitter=0.5)
    parts = [read_step(three, **{**STEP, "rank": rank, "num_ranks": 3}) for rank in range(3)]
    for whole, shares in zip(one, zip(*parts, strict=True), strict=True):
        np.testing.assert_array_equal(whole, np.stack(shares, axis=1).reshape(whole.shape))


def test_without_jitter_the_particle_is_in_the_middle(tmp_path):
    sampler = sampler_over(tmp_path, [volume_with(k1=(12, 9, 20))])
    _, targets = read_step(sampler, **STEP)
    assert targets.shape == (4, 1, 8, 8, 8)
    assert (targets[:, 0, 4, 4, 4] == 1).all()


def test_with_jitter_the_particle_may_be_anywhere_in_that_part_of_the_crop(tmp_path):
    sampler = sampler_over(tmp_path, [volume_with(k1=(12, 16, 16))], center_jitter=0.5)
    seen = {
        tuple(np.argwhere(target[0])[0])
        for step in range(150)
        for target in read_step(sampler, **{**STEP, "step": step})[1]
    }
    found = np.array(sorted(seen))
    assert found.min() == 2
    assert found.max() == 5
    assert len(seen) == 4**3


def test_particles_at_the_border_are_in_their_crop(tmp_path):
    sampler = sampler_over(
        tmp_path, [volume_with(k1=(0, 31, 0), k2=(23, 0, 31))], center_jitter=1.0
    )
    for step in range(20):
        _, targets = read_step(sampler, **{**STEP, "step": step})
        assert (targets.reshape(4, -1).max(axis=1) > 0).all()


def test_classes_are_drawn_in_equal_shares_however_many_voxels_they_have(tmp_path):
    target = np.ones(GRID.shape, np.uint8)
    target[4, 4, 4], target[20, 20, 20] = 2, 3
    sampler = sampler_over(tmp_path, [target], crops_per_step=3)
    for step in range(10):
        _, targets = read_step(sampler, **{**STEP, "step": step})
        assert sorted(targets[:, 0, 4, 4, 4].tolist()) == [1, 2, 3]


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_background_share_is_the_share_of_crops_centred_on_background(tmp_path, share):
    target = np.zeros(GRID.shape, np.uint8)
    target[:8] = 1
    sampler = sampler_over(tmp_path, [target], background_fraction=share, crop_size=(1, 1, 1))
    drawn = [read_step(sampler, **{**STEP, "step": step})[1].ravel() for step in range(150)]
    assert np.mean(np.concatenate(drawn) == 0) == pytest.approx(share, abs=0.06)


def test_a_step_takes_its_crops_from_different_runs(tmp_path):
    sampler = sampler_over(tmp_path, [volume_with(k1=(9, 9, 9), k2=(9, 9, 20))] * 5)
    for step in range(20):
        runs = {crop.variant.volume for crop in sampler.draw_crops(epoch=0, step=step)}
        assert len(runs) == 4


def test_a_class_of_a_single_run_does_not_crowd_the_step_into_it(tmp_path):
    common = {"k1": (9, 9, 9), "k2": (9, 9, 20), "k3": (9, 20, 20)}
    targets = [volume_with(**common, k4=(9, 20, 9))] + [volume_with(**common)] * 3
    sampler = sampler_over(tmp_path, targets)
    for step in range(20):
        crops = sampler.draw_crops(epoch=0, step=step)
        assert len({crop.variant.volume for crop in crops}) == 4


def test_every_tomogram_type_of_a_run_is_used(tmp_path):
    sampler = sampler_over(tmp_path, [volume_with(k1=(9, 9, 9))], num_types=3)
    drawn = [c.variant.volume for s in range(50) for c in sampler.draw_crops(epoch=0, step=s)]
    counts = collections.Counter(drawn)
    assert len(counts) == 3
    assert min(counts.values()) > 40


def test_thin_volumes_are_padded_images_by_reflection_and_targets_by_background():
    volume = np.arange(3 * 4 * 4).reshape(3, 4, 4) + 1
    image = read_crop(volume, (0, 0, 0), (8, 4, 4), "reflect")
    target = read_crop(volume, (0, 0, 0), (8, 4, 4), "constant")
    assert np.array_equal(image[:, 0, 0], volume[[2, 1, 0, 1, 2, 1, 0, 1], 0, 0])
    assert np.array_equal(target[2:5], volume)
    assert not target[[0, 1, 5, 6, 7]].any()


def test_a_volume_of_one_slice_can_be_cropped():
    assert read_crop(np.ones((1, 4, 4)), (0, 0, 0), (6, 4, 4), "reflect").shape == (6, 4, 4)


def test_thin_runs_train_beside_thick_ones(tmp_path):
    thin = np.zeros((4, 32, 32), np.uint8)
    thin[2, 9, 9] = 1
    sampler = sampler_over(tmp_path, [thin, volume_with(k1=(9, 9, 9))])
    images, targets = read_step(sampler, **STEP)
    assert images.shape == targets.shape == (4, 1, 8, 8, 8)
    assert (targets.reshape(4, -1).max(axis=1) == 1).all()


def test_positions_are_voxels_of_their_label_and_no_more_than_needed():
    target = np.zeros(GRID.shape, np.uint8)
    target[5:], target[0, 0, 0] = 2, 9
    positions = find_positions(target)
    assert set(positions) == {0, 2, 9}
    assert all((target.ravel()[found] == k).all() for k, found in positions.items())
    assert positions[9].tolist() == [0]
    assert len(positions[2]) == len(set(positions[2].tolist())) == MAX_POSITIONS
    assert positions[2].dtype == np.int32


def test_a_target_without_background_can_be_sampled(tmp_path):
    sampler = sampler_over(tmp_path, [np.ones(GRID.shape, np.uint8)], background_fraction=0.9)
    assert (read_step(sampler, **STEP)[1] == 1).all()


def test_no_crop_is_centred_on_an_unknown_voxel_however_little_is_known(tmp_path):
    target = np.full(GRID.shape, UNKNOWN, np.uint8)
    target[11:13, 16, 16] = 0, 1
    positions = find_positions(target)
    assert {label: voxels.size for label, voxels in positions.items()} == {0: 1, 1: 1}
    assert not find_positions(np.full(GRID.shape, UNKNOWN, np.uint8))


def test_a_crop_says_which_classes_are_not_annotated_in_its_run(tmp_path):
    sampler = sampler_over(tmp_path, [volume_with(k1=(9, 9, 9)), volume_with(k2=(9, 9, 9))])
    first = dataclasses.replace(sampler.runs[0][0], not_annotated=frozenset({2}))
    sampler.runs[0][0] = first
    crops = sampler.draw_crops(**STEP)
    expected = [[False, False, crop.variant is first] for crop in crops]
    assert sampler.not_annotated(crops).tolist() == expected
    assert [False, False, True] in expected


def test_rejected_places_have_a_share_of_the_crops_like_one_more_label(tmp_path):
    target = volume_with(k1=(9, 9, 9), k2=(9, 20, 20))
    target[20, 9, 9], target[20, 20, 20] = rejected_value(1), rejected_value(2)
    sampler = sampler_over(
        tmp_path, [target], crops_per_step=300, background_fraction=0, center_jitter=0
    )
    targets = read_step(sampler, **STEP)[1]
    middle = targets[:, 0, 4, 4, 4]
    assert [(middle == label).sum() for label in (1, 2)] == [100, 100]
    rejected = [(middle == rejected_value(label)).sum() for label in (1, 2)]
    assert sum(rejected) == 100
    assert min(rejected) > 25
    assert sampler.not_annotated(sampler.draw_crops(**STEP)).shape == (300, 3)


def test_few_rejected_places_have_a_smaller_share(tmp_path):
    target = volume_with(k1=(9, 9, 9))
    target[20, :20, 9] = 1
    target[20, 9, 20] = rejected_value(1, else_unknown=True)
    sampler = sampler_over(
        tmp_path, [target] * 2, crops_per_step=2100, background_fraction=0, crop_size=(1, 1, 1)
    )
    expected = 2100 / 2 / 21  # a place for 21 particles
    assert np.sum(read_step(sampler, **STEP)[1] != 1) == pytest.approx(expected, rel=0.3)


def test_rejected_places_of_one_run_change_no_draw_where_there_are_none(tmp_path):
    target = volume_with(k1=(9, 9, 9), k2=(9, 20, 20))
    positions = find_positions(target)
    assert pool_rejected(positions, [1, 2]) == positions
    sampler = sampler_over(tmp_path, [target])
    assert sampler.labels.tolist() == [1, 2]


def test_the_users_sampler_chooses_the_middles_of_crops(tmp_path):
    def choose(runs, num_crops, rng):
        return [(runs[k % 2][0], (12, 16, 4 + int(rng.integers(8)))) for k in range(num_crops)]

    sampler = sampler_over(tmp_path, [volume_with(k1=(1, 1, 1))] * 2)
    sampler.choose = choose
    crops = sampler.draw_crops(**STEP)
    assert [crop.variant.name for crop in crops] == ["image 0 0", "image 1 0"] * 2
    assert {crop.start[:2] for crop in crops} == {(8, 12)}
    assert len({crop.start[2] for crop in crops}) > 1
    assert crops == sampler.draw_crops(**STEP)
    other_step = {**STEP, "step": 6}
    assert crops != sampler.draw_crops(**other_step)


@pytest.mark.parametrize(
    "chosen", [[], [("TS_01", (1, 2, 3))] * 4, None], ids=["too few", "a name", "two numbers"]
)
def test_a_sampler_that_chooses_something_else_is_refused(tmp_path, chosen):
    def choose(runs, num_crops, rng):
        return [(runs[0][0], (1, 2))] * num_crops if chosen is None else chosen

    sampler = sampler_over(tmp_path, [volume_with(k1=(1, 1, 1))])
    sampler.choose = choose
    with pytest.raises(SettingError, match=r"sampler: .*test_crops.py, line \d+ must return 4"):
        sampler.draw_crops(**STEP)
