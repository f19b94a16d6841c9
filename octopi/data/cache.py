"""Cache: each tomogram is read, resampled and normalised once per machine, then memory-mapped."""

import fcntl
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from octopi.errors import DataError, ResourceError
from octopi.geometry import Grid, format_shape, fourier_resample, same_spacing
from octopi.project.value_range import ValueRange
from octopi.system.files import staged

Item = TypeVar("Item")
Result = TypeVar("Result")
CHUNK_VOXELS = 1 << 15  # voxels worked on at once: they stay in the processor's cache
NORMALISATION = "zero mean, unit std, v1"  # part of every key: change it with the arithmetic


class VolumeCache:
    """Volumes in a folder, one .npy file a key, shared by every process of a machine.

    The operating system keeps the pages in RAM once, however many ranks and workers read them.
    The folder may be deleted whenever no training runs.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)

    def __contains__(self, key: str) -> bool:
        return self._path(key).exists()

    def open(self, key: str) -> NDArray:
        """The volume of a key, memory-mapped and read-only."""
        return np.load(self._path(key), mmap_mode="r")

    def get(self, key: str, make: Callable[[], NDArray]) -> NDArray:
        """The volume of a key, made if it was not there."""
        self.fill({key: make}, num_threads=1)
        return self.open(key)

    def fill(self, makers: Mapping[str, Callable[[], NDArray]], *, num_threads: int) -> None:
        """Every key is there; a maker is called only where its key was not.

        Two processes that ask for the same key at once do not both make it.
        """
        missing = [item for item in makers.items() if item[0] not in self]
        map_in_threads(lambda item: self._make(*item), missing, num_threads=num_threads)

    def _make(self, key: str, make: Callable[[], NDArray]) -> None:
        with self._locked(key):
            if key not in self:
                self._write(key, make())

    def _write(self, key: str, volume: NDArray) -> None:
        """The file is complete or absent."""
        try:
            with staged(self._path(key), fsync=True) as stage, stage.open("wb") as file:
                np.save(file, volume)
        except OSError as error:
            raise ResourceError(
                f"Cannot write {volume.nbytes / 1e9:.2f} GB to the cache {self.directory}: "
                f"{error}. Free some space or set data.cache_dir to another folder."
            ) from error

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Nobody else on this machine makes this key meanwhile; a killed holder lets go."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = self._path(key).with_suffix(".lock").open("w", encoding="utf-8")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            raise ResourceError(
                f"Cannot use the cache {self.directory}: {error}. Set data.cache_dir to a local "
                "folder that can be written."
            ) from error
        with lock:
            yield

    def _path(self, key: str) -> Path:
        return self.directory / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npy"


class DryRunCache(VolumeCache):
    """A cache that seems full, so that nothing is made: for dry runs."""

    def __contains__(self, key: str) -> bool:
        return True

    def get(self, key: str, make: Callable[[], NDArray]) -> NDArray:
        """The volume of a key; what is made is not kept."""
        try:
            return self.open(key)
        except FileNotFoundError:
            return make()


def map_in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], *, num_threads: int
) -> list[Result]:
    """The results in order; after one failure nothing else is begun."""
    with ThreadPoolExecutor(max(1, num_threads)) as pool:
        try:
            return [future.result() for future in [pool.submit(work, item) for item in items]]
        finally:
            pool.shutdown(cancel_futures=True)


def working_grid(grid: Grid, working_spacing: float | None) -> Grid:
    """The grid a tomogram is worked on: its own, or the coarser one nearest to the spacing (Å)."""
    return grid if working_spacing is None else grid.at_spacing(working_spacing)


def prepare_volume(
    volume: NDArray[np.float32], grid: Grid, dtype: DTypeLike = np.float32
) -> NDArray[np.floating]:
    """The volume on the working grid with zero mean and unit standard deviation."""
    return normalise(fourier_resample(volume, grid.shape), dtype)


def normalise(volume: NDArray[np.float32], dtype: DTypeLike = np.float32) -> NDArray[np.floating]:
    """The volume with zero mean and unit standard deviation, both summed in float64.

    Unit variance bounds any voxel by the square root of their number: float16 cannot overflow.
    """
    values = ValueRange()
    values.add(volume)
    values.check("A tomogram")
    parts = [slice(start, start + CHUNK_VOXELS) for start in range(0, volume.size, CHUNK_VOXELS)]
    voxels, out = volume.reshape(-1), np.empty(volume.size, dtype)
    mean = voxels.mean(dtype=np.float64)
    squares = 0.0
    for part in parts:
        deviations = np.subtract(voxels[part], mean, dtype=np.float64)
        squares += np.square(deviations, out=deviations).sum()
    std = np.sqrt(squares / volume.size)
    for part in parts:
        normal = voxels[part] - np.float32(mean)
        normal /= np.float32(std)
        if out.dtype == np.float16:
            to_half(normal, out[part])
        else:
            out[part] = normal
    return out.reshape(volume.shape)


def to_half(values: NDArray[np.float32], out: NDArray[np.float16]) -> None:
    """`out[...] = values`, twice as fast, for values that are finite and below 65504.

    Scaled down by 2**112, a float32 has the exponent of a float16 and 13 digits more, which are
    rounded away, a tie to the even neighbour. Below 6e-5, where a float16 has steps of 6e-8, a
    value next to the middle of a step may go the other way.
    """
    bits = np.multiply(values, np.float32(2.0**-112)).view(np.uint32)
    sign = bits >> 16
    sign &= 0x8000
    bits &= 0x7FFFFFFF
    half = bits >> 13
    half &= 1
    half += 0xFFF
    bits += half
    bits >>= 13
    bits |= sign
    out.view(np.uint16)[...] = bits


def resample_labels(
    labels: NDArray[np.uint8], stored_grid: Grid, wanted: Grid
) -> NDArray[np.uint8]:
    """The labels on a coarser grid of the same box, each voxel the nearest one's label.

    Raises:
        DataError: the grids span different boxes, or the labels are coarser than what is wanted.
    """
    if labels.shape != stored_grid.shape:
        raise DataError(f"A target of {labels.shape} voxels claims a grid of {stored_grid.shape}.")
    check_target_fits(stored_grid, wanted)
    if stored_grid.shape == wanted.shape and all(
        map(same_spacing, stored_grid.spacing, wanted.spacing)
    ):
        return labels
    z, y, x = (
        np.minimum(np.rint(np.arange(n) * to / of).astype(np.intp), limit - 1)
        for n, to, of, limit in zip(
            wanted.shape, wanted.spacing, stored_grid.spacing, stored_grid.shape, strict=True
        )
    )
    return np.ascontiguousarray(labels[np.ix_(z, y, x)])


def check_target_fits(stored_grid: Grid, wanted: Grid) -> None:
    """Raise DataError unless a target on one grid can be used on another.

    Args:
        stored_grid: the target's grid.
        wanted: the grid that its tomogram is worked on.
    """
    sizes = (
        np.asarray(stored_grid.shape) * stored_grid.spacing,
        np.asarray(wanted.shape) * wanted.spacing,
    )
    same_box = np.abs(sizes[0] - sizes[1]) <= np.maximum(stored_grid.spacing, wanted.spacing)
    pairs = zip(stored_grid.spacing, wanted.spacing, strict=True)
    coarser = any(own > other and not same_spacing(own, other) for own, other in pairs)
    if coarser or not same_box.all():
        raise DataError(
            f"The target has {_describe(stored_grid)}, the tomogram is worked on at "
            f"{_describe(wanted)}. "
            "Make the target again for this tomogram and working spacing (create_targets)."
        )


def _describe(grid: Grid) -> str:
    spacing = " × ".join(f"{s:.3f}" for s in grid.spacing)
    return f"{format_shape(grid.shape)} voxels of {spacing} Å"
