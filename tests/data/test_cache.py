"""The cache: made once, complete or absent, the same numbers as the tomogram's."""

import multiprocessing
import threading

import numpy as np
import pytest

from octopi.data.cache import (
    VolumeCache,
    normalise,
    prepare_volume,
    resample_labels,
)
from octopi.errors import DataError, ResourceError
from octopi.geometry import Grid


def test_a_volume_is_made_once_and_then_mapped(tmp_path):
    cache = VolumeCache(tmp_path / "new" / "folder")
    calls = []

    def make():
        calls.append(1)
        return np.arange(8, dtype=np.float16).reshape(2, 2, 2)

    for _ in range(2):
        cache.fill({"volume": make, "other": make}, num_threads=2)
    assert len(calls) == 2
    assert isinstance(cache.open("volume"), np.memmap)
    assert np.array_equal(cache.open("volume"), make())
    assert not cache.open("volume").flags.writeable


def test_threads_that_want_the_same_volume_do_not_both_make_it(tmp_path):
    calls = []

    def fill():
        VolumeCache(tmp_path).fill({"a": make}, num_threads=1)

    def make():
        calls.append(1)
        return np.zeros((50, 50, 50), np.float16)

    threads = [threading.Thread(target=fill) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def _fill_and_die(directory):
    def make():
        multiprocessing.current_process().kill()
        return np.zeros(1)

    VolumeCache(directory).fill({"volume": make}, num_threads=1)


def test_a_killed_process_leaves_neither_a_volume_nor_a_lock(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=_fill_and_die, args=(tmp_path,))
    process.start()
    process.join()
    cache = VolumeCache(tmp_path)
    assert "volume" not in cache
    cache.fill({"volume": lambda: np.ones((1, 1, 1))}, num_threads=1)
    assert cache.open("volume").sum() == 1


def test_what_fails_while_made_is_absent_and_the_error_arrives(tmp_path):
    cache = VolumeCache(tmp_path)
    with pytest.raises(ZeroDivisionError):
        cache.fill({"a": lambda: np.full(1, 1 // 0)}, num_threads=2)
    assert "a" not in cache


def test_a_folder_that_cannot_be_used_names_the_setting(tmp_path):
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises(ResourceError, match=r"data\.cache_dir"):
        VolumeCache(tmp_path / "file").fill({"a": lambda: np.zeros(1)}, num_threads=1)


@pytest.mark.parametrize("num_bytes", [0, 20, 200])
def test_a_cached_volume_that_was_cut_off_is_named(tmp_path, num_bytes):
    cache = VolumeCache(tmp_path)
    cache.get("volume", lambda: np.ones((8, 8, 8), np.float32))
    (path,) = tmp_path.glob("*.npy")
    path.write_bytes(path.read_bytes()[:num_bytes])
    with pytest.raises(ResourceError, match=rf"{path.name} is damaged.*Delete it"):
        cache.open("volume")


def test_a_cached_volume_that_somebody_deleted_is_named(tmp_path):
    cache = VolumeCache(tmp_path)
    cache.fill({"volume": lambda: np.zeros((2, 2, 2), np.float16)}, num_threads=1)
    (path,) = tmp_path.glob("*.npy")
    path.unlink()
    with pytest.raises(ResourceError, match=rf"{path.name} was deleted.*The same command"):
        cache.open("volume")


def test_normalised_volumes_have_zero_mean_and_unit_std_far_from_zero():
    rng = np.random.default_rng(0)
    volume = (1e4 + rng.standard_normal((20, 30, 40))).astype(np.float32)
    done = normalise(volume)
    assert done.dtype == np.float32
    assert abs(done.mean(dtype=np.float64)) < 1e-3
    assert done.std(dtype=np.float64) == pytest.approx(1, abs=1e-3)


def test_a_wave_survives_cropping_to_a_coarser_grid_in_place():
    grid = Grid.cubic((16, 32, 32), 10.0)
    wave = np.sin(2 * np.pi * 3 * np.arange(32) / 32).astype(np.float32)
    coarse = grid.at_spacing(20.0)
    done = prepare_volume(np.broadcast_to(wave, grid.shape).copy(), coarse)
    assert done.shape == (8, 16, 16)
    assert np.allclose(done[4, 5], np.sqrt(2) * wave[::2], atol=1e-4)


def test_labels_on_a_coarser_grid_are_those_of_the_nearest_voxels():
    grid = Grid.cubic((4, 6, 8), 10.0)
    labels = np.random.default_rng(0).integers(0, 7, grid.shape).astype(np.uint8)
    assert np.array_equal(resample_labels(labels, grid, grid.at_spacing(20)), labels[::2, ::2, ::2])
    assert resample_labels(labels, grid, grid) is labels


def test_labels_stay_where_particles_are_at_any_working_spacing():
    grid = Grid.cubic((40, 60, 60), 10.0)
    labels = np.zeros(grid.shape, np.uint8)
    labels[10:17, 30:37, 40:47] = 4  # its middle is at 130, 330, 430 Å
    for spacing in (13.0, 17.0, 20.0):
        coarse = grid.at_spacing(spacing)
        found = np.argwhere(resample_labels(labels, grid, coarse) == 4).mean(axis=0)
        assert np.allclose(found * coarse.spacing, (130, 330, 430), atol=spacing / 2)


@pytest.mark.parametrize(
    "wanted",
    [
        Grid.cubic((8, 8, 16), 10.0),  # another box
        Grid.cubic((16, 16, 16), 5.0),  # finer than the target
    ],
)
def test_targets_that_do_not_fit_are_refused_with_both_grids(wanted):
    labelled = Grid.cubic((8, 8, 8), 10.0)
    with pytest.raises(DataError, match=r"8×8×8 voxels of 10\.000.*create_targets"):
        resample_labels(np.zeros(labelled.shape, np.uint8), labelled, wanted)


def test_hot_voxels_change_nothing_but_themselves(caplog):
    grid = Grid.cubic((16, 32, 32), 10.0)
    sound = np.random.default_rng(0).normal(1e4, 1, grid.shape).astype(np.float32)
    hot = sound.copy()
    hot[3, 4, 5] = 1e6
    hot[9, 9, 9] = -1e7
    done = prepare_volume(hot, grid, where="Run TS_1: tomogram wbp@10.0")
    elsewhere = np.abs(hot - 1e4) < 1e3
    np.testing.assert_allclose(done[elsewhere], prepare_volume(sound, grid)[elsewhere], atol=0.01)
    assert "Run TS_1: tomogram wbp@10.0: 2 voxels" in caplog.text
    assert caplog.text.count("WARNING") == 1
