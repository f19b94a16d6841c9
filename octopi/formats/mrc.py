"""MRC files: the header, whether it can be right, and the voxels.

A header may be wrong or incomplete: a voxel size of 0 was never set, one of exactly 1 Å is written
by programs that do not know it, and voxels of a copick project are cubes.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from numpy.typing import NDArray

from octopi.errors import DataError
from octopi.geometry import NEARLY_EXACT, format_shape, same_spacing
from octopi.project.value_range import ValueRange

PLAUSIBLE = (0.5, 100.0)  # Å
HEADER_BYTES = 1024
_MODES = {0: 1, 1: 2, 2: 4, 6: 2, 12: 2}  # of real numbers -> bytes of a voxel


@dataclass(frozen=True)
class Header:
    """The header of an MRC file.

    Args:
        path: of the file.
        shape: voxels z y x.
        voxel_size: edges of a voxel in Å, z y x; 0 where they were never set.
    """

    path: Path
    shape: tuple[int, int, int]
    voxel_size: tuple[float, float, float]

    def spacing(self, given_spacing: float | None, *, ignore_header: bool) -> float:
        """Return the voxel spacing in Å.

        Args:
            given_spacing: the user's, Å; None = take the header's.
            ignore_header: take the user's even if the header's differs.

        Raises:
            DataError: the header's is unknown, implausible, of no cube, or not the user's.
        """
        if given_spacing is not None and ignore_header:
            return given_spacing
        edges = ", ".join(f"{edge:g}" for edge in reversed(self.voxel_size))
        was_set = all(math.isfinite(edge) and edge > 0 for edge in self.voxel_size)
        if not was_set or set(self.voxel_size) == {1.0}:
            if given_spacing is not None:
                return given_spacing
            raise DataError(
                f"The voxel size of {self.path.name} is unknown (its header says {edges} Å). "
                "Give it: voxel_spacing=…"
            )
        mean = round(float(np.mean(self.voxel_size)), 5)
        if not all(same_spacing(edge, mean, tolerance=NEARLY_EXACT) for edge in self.voxel_size):
            raise DataError(
                f"{self.path.name} has voxels of {edges} Å (x, y, z), which are no cubes. Correct "
                "its header, or give voxel_spacing=… ignore_header=true."
            )
        if given_spacing is not None:
            if same_spacing(mean, given_spacing):
                return given_spacing
            raise DataError(
                f"{self.path.name} has voxels of {mean:g} Å by its header, not "
                f"{given_spacing:g} Å. Leave out voxel_spacing, or overrule the header with "
                "ignore_header=true."
            )
        if not PLAUSIBLE[0] <= mean <= PLAUSIBLE[1]:
            raise DataError(
                f"{self.path.name} has voxels of {mean:g} Å by its header, which no tomogram has. "
                "Give voxel_spacing=… ignore_header=true."
            )
        return mean


def read_header(path: Path) -> Header:
    """Read the header, and no voxel.

    Raises:
        DataError: the file is no MRC file, no volume, truncated, or stored in another order.
    """
    with _open_mrc(path, header_only=True) as mrc:
        header = mrc.header
        shape = tuple(int(header[key]) for key in ("nz", "ny", "nx"))
        axes = tuple(int(header[key]) for key in ("maps", "mapr", "mapc"))
        mode, extended = int(header.mode), int(header.nsymbt)
        size = mrc.voxel_size
        edges = tuple(float(np.nan_to_num(size[axis], posinf=0)) for axis in "zyx")
    if mode not in _MODES:
        raise DataError(
            f"{path.name} is of MRC mode {mode}; a tomogram is of mode 0, 1, 2, 6 or 12."
        )
    if min(shape) < 2:
        raise DataError(f"{path.name} is no volume: it has {format_shape(shape)} voxels (z, y, x).")
    if axes not in ((3, 2, 1), (0, 0, 0)):
        raise DataError(
            f"{path.name} stores its axes in the order {axes[::-1]} (mapc, mapr, maps), not x, y, "
            "z. Reorder it first, for instance with clip or trimvol of IMOD."
        )
    needed = HEADER_BYTES + extended + math.prod(shape) * _MODES[mode]
    file_size = path.stat().st_size
    if file_size < needed:
        raise DataError(
            f"{path.name} is truncated: {format_shape(shape)} voxels need {needed} bytes, it has "
            f"{file_size}. Copy it again."
        )
    return Header(path, shape, edges)  # type: ignore[arg-type]  three of each


def check_voxels(path: Path) -> None:
    """Raise DataError if a voxel is not a finite number, or all are the same; read by section."""
    values = ValueRange()
    with _open_mrc(path, mapped=True) as mrc:
        for section in mrc.data:
            values.add(np.asarray(section, dtype=np.float32))
    values.check(path.name)


def read_voxels(path: Path) -> NDArray[np.float32]:
    """Read the voxels as float32 (z, y, x)."""
    with _open_mrc(path) as mrc:
        return np.array(mrc.data, dtype=np.float32)


@contextmanager
def _open_mrc(path: Path, *, header_only: bool = False, mapped: bool = False) -> Iterator[Any]:
    """Open the file without mrcfile's warnings: `read_header` raises errors in their place."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            if mapped:
                mrc = mrcfile.mmap(path, permissive=True)
            else:
                mrc = mrcfile.open(path, permissive=True, header_only=header_only)
    except ValueError as error:
        raise DataError(f"{path.name} is no MRC file: {error}.") from error
    with mrc:
        if mrc.header is None:
            raise DataError(f"{path.name} is no MRC file: its header is incomplete.")
        yield mrc
