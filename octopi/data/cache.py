"""Cache of volumes: read, resampled and normalised once per machine, then memory-mapped."""

import contextlib
import functools
import hashlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from octopi.errors import WHAT_IS_KEPT, DataError, ResourceError
from octopi.geometry import Grid, format_shape, fourier_resample, same_spacing
from octopi.project.digests import digest_array
from octopi.project.outliers import clip_outliers, describe_outliers
from octopi.system.files import staged
from octopi.system.large_arrays import allocate
from octopi.system.locks import wait_for_lock
from octopi.system.resources import format_bytes, free_space
from octopi.system.worker_pool import run_in_threads

logger = logging.getLogger(__name__)

CHUNK_VOXELS = 1 << 15  # normalised at once: they fit into the processor's cache
IMAGE_BYTES, TARGET_BYTES, CODE_BYTES = 2, 1, 4  # of a cached voxel: float16, uint8, int32
NORMALISATION = (
    "zero mean, unit std, outliers clipped, v2"  # part of every key: change it with the arithmetic
)


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
        """Open the volume of a key, memory-mapped and read-only."""
        try:
            return np.load(self._path(key), mmap_mode="r")
        except FileNotFoundError as error:
            raise ResourceError(
                f"The cached volume {self._path(key)} was deleted while a training needed it, and "
                f"is made again by the next. {WHAT_IS_KEPT}"
            ) from error
        except (ValueError, EOFError) as error:
            raise ResourceError(
                f"The cached volume {self._path(key)} is damaged ({error}). Delete it: it is made "
                "again."
            ) from error

    def get(self, key: str, make: Callable[[], NDArray]) -> NDArray:
        """Open the volume of a key; make it if it is missing."""
        self.fill({key: make}, num_threads=1)
        return self.open(key)

    def digest(self, key: str) -> str:
        """Return a hash (sha256, hex) of a cached volume; it is computed once, and kept."""

        def compute() -> NDArray[np.uint8]:
            return np.frombuffer(bytes.fromhex(digest_array(self.open(key))), np.uint8)

        return self.get(f"digest {key}", compute).tobytes().hex()

    def fill(self, makers: Mapping[str, Callable[[], NDArray]], *, num_threads: int) -> None:
        """Make the volumes that are missing.

        Of two processes that need the same one at once only one makes it.
        """
        missing = [item for item in makers.items() if item[0] not in self]
        for _ in run_in_threads(lambda item: self._make(*item), missing, num_threads=num_threads):
            pass

    def _make(self, key: str, make: Callable[[], NDArray]) -> None:
        with contextlib.ExitStack() as stack:
            try:  # the kernel releases the lock if the process dies
                stack.enter_context(wait_for_lock(self._path(key).with_suffix(".lock")))
            except OSError as error:
                raise ResourceError(
                    f"Cannot use the cache {self.directory}: {error}. Set data.cache_dir to a "
                    "local folder that can be written."
                ) from error
            if key not in self:
                self._write(key, make())

    def _write(self, key: str, volume: NDArray) -> None:
        """Write a volume; its file is complete or absent."""
        try:
            with staged(self._path(key), fsync=True) as stage, stage.open("wb") as file:
                np.save(file, volume)
        except OSError as error:
            raise ResourceError(
                f"Cannot write {format_bytes(volume.nbytes)} to the cache {self.directory}, where "
                f"{format_bytes(free_space(self.directory))} are free: {error}. Free some space "
                "or set data.cache_dir to another folder."
            ) from error

    def _path(self, key: str) -> Path:
        return self.directory / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npy"


class DryRunCache(VolumeCache):
    """A cache for dry runs: it claims to have every volume, so that none is made."""

    def __contains__(self, key: str) -> bool:
        return True

    def get(self, key: str, make: Callable[[], NDArray]) -> NDArray:
        """Open the volume of a key or make it, without keeping it."""
        return self.open(key) if super().__contains__(key) else make()


def working_grid(grid: Grid, working_spacing: float | None) -> Grid:
    """Return the grid a tomogram is worked on: its own, or the one nearest to the spacing (Å)."""
    return grid if working_spacing is None else grid.at_spacing(working_spacing)


def prepare_volume(
    volume: NDArray[np.float32],
    grid: Grid,
    dtype: DTypeLike = np.float32,
    *,
    where: str = "A tomogram",
) -> NDArray[np.floating]:
    """Clip the outliers of a volume, resample it, give it zero mean and unit standard deviation.

    Args:
        volume: (z, y, x).
        grid: to resample it to.
        dtype: of the result.
        where: the volume in words, for a warning of outliers.
    """
    volume, num_outliers = clip_outliers(volume)
    if num_outliers:
        logger.warning("%s: %s.", where, describe_outliers(num_outliers, volume.size))
    empty = functools.partial(allocate, purpose=where)
    return normalise(fourier_resample(volume, grid.shape, empty=empty), dtype)


def normalise(volume: NDArray[np.float32], dtype: DTypeLike = np.float32) -> NDArray[np.floating]:
    """Give a volume zero mean and unit standard deviation, both summed in float64.

    Unit variance bounds any voxel by the square root of their number: float16 cannot overflow.
    """
    parts = [slice(start, start + CHUNK_VOXELS) for start in range(0, volume.size, CHUNK_VOXELS)]
    voxels, out = volume.reshape(-1), allocate([volume.size], dtype, purpose="A tomogram")
    mean = voxels.mean(dtype=np.float64)
    squares = 0.0
    for part in parts:
        deviations = np.subtract(voxels[part], mean, dtype=np.float64)
        squares += np.square(deviations, out=deviations).sum()
    std = np.sqrt(squares / volume.size)
    for part in parts:
        normal = voxels[part] - np.float32(mean)
        normal /= np.float32(std)
        out[part] = normal
    return out.reshape(volume.shape)


def resample_labels(labels: NDArray[np.uint8], stored_grid: Grid, grid: Grid) -> NDArray[np.uint8]:
    """Resample labels to a coarser grid of the same box; each voxel takes the nearest one's label.

    Raises:
        DataError: the grids span different boxes, or the labels are coarser than the grid.
    """
    check_target_fits(stored_grid, grid)
    if stored_grid.shape == grid.shape and all(
        map(same_spacing, stored_grid.spacing, grid.spacing)
    ):
        return labels
    z, y, x = (
        np.minimum(np.rint(np.arange(n) * to / of).astype(np.intp), limit - 1)
        for n, to, of, limit in zip(
            grid.shape, grid.spacing, stored_grid.spacing, stored_grid.shape, strict=True
        )
    )
    return np.ascontiguousarray(labels[np.ix_(z, y, x)])


def check_target_fits(stored_grid: Grid, grid: Grid) -> None:
    """Raise DataError unless a target on one grid can be used on another.

    Args:
        stored_grid: the target's grid.
        grid: that its tomogram is worked on.
    """
    pairs = zip(stored_grid.spacing, grid.spacing, strict=True)
    coarser = any(a > b and not same_spacing(a, b) for a, b in pairs)
    if coarser or not stored_grid.spans_box_of(grid, max_offset=1):
        raise DataError(
            f"The target has {_format_grid(stored_grid)}, the tomogram is worked on at "
            f"{_format_grid(grid)}. Make the target again for this tomogram and working spacing "
            "(create_targets)."
        )


def _format_grid(grid: Grid) -> str:
    spacing = " × ".join(f"{s:.3f}" for s in grid.spacing)
    return f"{format_shape(grid.shape)} voxels of {spacing} Å"
