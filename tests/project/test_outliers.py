"""Outliers of tomograms: what is clipped, what is remarked on, and that sound voxels stay."""

import numpy as np
import pytest

from octopi.errors import DataError
from octopi.project.outliers import VoxelSample, clip_outliers, describe_spread, ordinary_range
from octopi.project.voxel_values import ValueRange
from octopi.system import large_arrays

SHAPE = (20, 32, 40)


def noise(mean=0.0, std=1.0):
    volume = np.random.default_rng(0).normal(size=SHAPE)
    return (mean + std * volume).astype(np.float32)


def with_rim(volume, value, width=2):
    rim = np.full_like(volume, value)
    inside = (slice(None), slice(width, -width), slice(width, -width))
    rim[inside] = volume[inside]
    return rim


@pytest.mark.parametrize("mean", [0, 1e4])
@pytest.mark.parametrize("gold", [0, -60])
def test_a_sound_tomogram_stays_the_same_array(mean, gold):
    volume = noise(mean)
    volume[3:6, 3:6, 3:6] += gold
    clipped, number = clip_outliers(volume)
    assert clipped is volume
    assert number == 0


@pytest.mark.parametrize("value", [1e6, -1e6, 1e3])
def test_hot_voxels_are_clipped_to_the_range_of_the_others(value):
    volume, expected = noise(5), noise(5)
    expected[2, 3, 4] = expected[0, 0, 0] = np.sign(value) * np.inf
    volume[2, 3, 4] = volume[0, 0, 0] = value
    others = volume[np.isfinite(expected)]
    clipped, number = clip_outliers(volume)
    assert number == 2
    np.testing.assert_array_equal(clipped, np.clip(expected, others.min(), others.max()))


def test_outliers_are_clipped_slab_by_slab_as_at_once(monkeypatch):
    volume = noise(5)
    volume[2, 3, 4], volume[-1, 0, 0] = 1e6, -1e6
    whole, number = clip_outliers(volume)
    monkeypatch.setattr(large_arrays, "SLAB_VOXELS", 1000)
    parts, same_number = clip_outliers(volume)
    np.testing.assert_array_equal(parts, whole)
    assert number == same_number == 2


@pytest.mark.parametrize("value", [0, 1e4])
def test_rims_and_padding_far_from_the_density_are_clipped(value):
    volume = with_rim(noise(1000), value)
    clipped, number = clip_outliers(volume)
    assert number == np.count_nonzero(volume == np.float32(value))
    assert clipped.std() < 3


def test_a_volume_of_one_value_and_some_structure_is_left_alone():
    volume = np.zeros(SHAPE, np.float32)
    volume[5:8, 5:8, 5:8] = 1e6
    assert clip_outliers(volume)[0] is volume


@pytest.mark.parametrize(
    ("volume", "remark"),
    [
        (noise(), None),
        (noise(1e4), None),
        ((noise() > 0).astype(np.float32), "holds 2 different values only"),
        (np.rint(noise(0, 5)), None),  # of whole numbers, each of which occurs often
        (with_rim(noise(), 0), "voxels are exactly 0"),
        (with_rim(noise(200), 0), "voxels are exactly 0"),
        (with_rim(noise(), 50) + 0.1 * noise(), "times that of its middle voxels"),
    ],
)
def test_padding_and_rims_are_remarked_on(volume, remark):
    remarks = describe_spread(volume.ravel())
    assert any(remark in r for r in remarks) if remark else not remarks


def test_a_sample_does_not_depend_on_the_parts_that_a_volume_comes_in(monkeypatch):
    monkeypatch.setattr("octopi.project.outliers._SAMPLE_VOXELS", 1000)
    volume = noise()
    whole, parts = VoxelSample(SHAPE), VoxelSample(SHAPE)
    whole.add(volume, [slice(0, n) for n in SHAPE])
    for z in range(0, 20, 7):
        for x in range(0, 40, 16):
            region = (slice(z, min(z + 7, 20)), slice(0, 32), slice(x, min(x + 16, 40)))
            parts.add(volume[region], region)
    assert 500 < len(whole.values) <= 2000
    np.testing.assert_array_equal(np.sort(whole.values), np.sort(parts.values))
    assert ordinary_range(parts.values) == ordinary_range(whole.values)


def test_numbers_beyond_float32_are_no_numbers():
    values = ValueRange()
    values.add(np.array([1.0, 2.0, 1e300, -1e39]))
    with pytest.raises(DataError, match="holds 2 voxels that are NaN or infinite"):
        values.check("A tomogram")
