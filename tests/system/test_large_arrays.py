"""Arrays larger than the memory live in a file, and nothing else changes."""

import numpy as np
import pytest

from octopi.errors import ResourceError
from octopi.geometry import fourier_resample
from octopi.system import large_arrays, resources


@pytest.fixture
def little_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "memory", lambda: 8000)
    monkeypatch.setattr(large_arrays.tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path


def test_a_small_array_is_in_memory_a_large_one_in_a_file_without_a_name(little_memory):
    small = large_arrays.allocate((10, 25), np.float32, purpose="It")
    assert type(small) is np.ndarray
    large = large_arrays.allocate((10, 26), np.float32, purpose="It")
    assert isinstance(large, np.memmap)
    large[...] = 7
    assert large.sum() == 7 * 260
    assert not list(little_memory.iterdir())


def test_what_the_disk_cannot_hold_is_refused_with_both_rooms(little_memory, monkeypatch):
    monkeypatch.setattr(resources, "free_space", lambda folder: 1_500_000)
    with pytest.raises(ResourceError, match=r"^It needs 4 MB for \[1000, 1000\].*TMPDIR") as error:
        large_arrays.allocate((1000, 1000), np.float32, purpose="It")
    assert "8 kB of memory are free, and 1.5 MB in" in str(error.value)


def test_slabs_cover_an_axis_once(monkeypatch):
    monkeypatch.setattr(large_arrays, "SLAB_VOXELS", 100)
    parts = large_arrays.slabs((7, 5, 10))
    assert [range(7)[part] for part in parts] == [
        range(0, 2),
        range(2, 4),
        range(4, 6),
        range(6, 7),
    ]
    assert large_arrays.slabs((3, 50, 50)) == [slice(0, 1), slice(1, 2), slice(2, 3)]


@pytest.mark.parametrize("shape", [(10, 12, 14), (20, 12, 9), (20, 31, 40), (33, 31, 14)])
def test_a_volume_is_resampled_slab_by_slab_as_at_once(shape):
    volume = np.random.default_rng(0).normal(size=(20, 31, 28)).astype(np.float32)
    whole = fourier_resample(volume, shape)
    parts = fourier_resample(volume, shape, max_voxels=2000)
    assert parts.shape == shape
    np.testing.assert_allclose(parts, whole, atol=1e-6)
