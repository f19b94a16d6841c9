"""MRC files: the header, whether it can be right, and the voxels.

A header may be wrong or incomplete: a voxel size of 0 was never set, one of exactly 1 Å is written
by programs that do not know it, an extended header may be announced but absent, and bytes may be
signed or not. What the file itself makes certain is read; what it leaves open is an error.
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from numpy.typing import NDArray

from octopi.errors import DataError
from octopi.geometry import NEARLY_EXACT, format_shape, same_spacing
from octopi.project.voxel_values import ValueRange
from octopi.ranges import PLAUSIBLE_SPACING

logger = logging.getLogger(__name__)

HEADER_BYTES = HEADER_DTYPE.itemsize
MAX_PADDING = 1024  # bytes that a program may append to fill its last block
IMOD_STAMP = 1146047817  # in a header that tells by its flags whether bytes are signed
_MAX_EDGE = 1 << 20  # voxels; a longer one is a number read in the wrong byte order
_PACKED = 101  # the mode of two voxels of 4 bits a byte; rows begin at a byte
_MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2", _PACKED: "u1"}
_STACKS_OF_VOLUMES = range(401, 631)  # space groups that stand for several volumes
_OTHER_FORMATS = {
    b"\x1f\x8b": "compressed by gzip; unpack it first, for instance with gunzip",
    b"BZh": "compressed by bzip2; unpack it first, for instance with bunzip2",
    b"\xfd7zXZ": "compressed by xz; unpack it first, for instance with unxz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it first, for instance with unzstd",
    b"PK\x03\x04": "compressed in a zip archive; unpack it first, for instance with unzip",
    b"\x89HDF": "an HDF5 file; convert it to MRC first",
    b"II*\x00": "a TIFF file; convert it to MRC first, for instance with tif2mrc of IMOD",
    b"MM\x00*": "a TIFF file; convert it to MRC first, for instance with tif2mrc of IMOD",
    b"version https://git-lfs": "only a pointer of Git LFS; fetch the file with git lfs pull",
}


@dataclass(frozen=True)
class Header:
    """The header of an MRC file.

    Args:
        path: of the file.
        shape: voxels z y x.
        voxel_size: edges of a voxel in Å, z y x; 0 where they were never set.
        mode: number of the voxels' type.
        dtype: of the voxels as stored; signed where it is unknown whether bytes are.
        offset: bytes before the first voxel.
        space_group: 0 in stacks of images, 1 in volumes; many programs write 0 in volumes too.
        certain_range: voxels outside it leave open whether bytes are signed.
        begins_elsewhere: whether its first voxel has another place than 0, as in a part of a
            larger volume.
    """

    path: Path
    shape: tuple[int, int, int]
    voxel_size: tuple[float, float, float]
    mode: int
    dtype: np.dtype
    offset: int
    space_group: int
    certain_range: tuple[float, float]
    begins_elsewhere: bool

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
        if not PLAUSIBLE_SPACING[0] <= mean <= PLAUSIBLE_SPACING[1]:
            raise DataError(
                f"{self.path.name} has voxels of {mean:g} Å by its header, which no tomogram has. "
                "Give voxel_spacing=… ignore_header=true."
            )
        return mean


def read_header(path: Path) -> Header:
    """Read the header, and no voxel.

    Raises:
        DataError: the file is no MRC file, no single volume, of another size than its header says,
            or stored in another order.
    """
    header = _read_fields(path)
    shape = tuple(int(header[key]) for key in ("nz", "ny", "nx"))
    axes = tuple(int(header[key]) for key in ("maps", "mapr", "mapc"))
    mode = int(header["mode"])
    if mode not in _MODES:
        raise DataError(
            f"{path.name} is of MRC mode {mode}; a tomogram is of mode 0, 1, 2, 6, 12 or 101."
        )
    if min(shape) < 2:
        raise DataError(f"{path.name} is no volume: it has {format_shape(shape)} voxels (z, y, x).")
    if axes not in ((3, 2, 1), (0, 0, 0)):
        raise DataError(
            f"{path.name} stores its axes in the order {axes[::-1]} (mapc, mapr, maps), not x, y, "
            "z. Reorder it first, for instance with clip or trimvol of IMOD."
        )
    _check_single_volume(path, header)
    num_bytes = shape[0] * shape[1] * _row_bytes(shape[2], mode)
    offset = _voxel_offset(path, int(header["nsymbt"]), num_bytes, shape, mode)
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = (np.float32(header["cella"][a]) / np.float32(header[f"m{a}"]) for a in "zyx")
        edges = tuple(float(np.nan_to_num(size, posinf=0, neginf=0)) for size in sizes)
    dtype = np.dtype(_MODES[mode]).newbyteorder(header.dtype["mode"].byteorder)
    certain_range = (-math.inf, math.inf)
    if mode == 0:
        dtype, certain_range = _type_of_bytes(header)
    group = int(header["ispg"])
    elsewhere = any(header[f"n{a}start"] or header["origin"][a] for a in "xyz")
    return Header(path, shape, edges, mode, dtype, offset, group, certain_range, elsewhere)  # type: ignore[arg-type]  three of each


def check_voxels(header: Header) -> None:
    """Check the voxels section by section.

    Raises:
        DataError: a voxel is not a finite number, all are the same, or bytes may be signed or not.
    """
    values = ValueRange()
    for section in _sections(header):
        values.add(section)
    low, high = header.certain_range
    if header.mode == 0 and not (low <= values.low and values.high <= high):
        raise DataError(
            f"{header.path.name} is of MRC mode 0, and the minimum and maximum in its header do "
            "not tell whether its bytes are signed. Convert it to mode 1 or 2 with the program "
            "that wrote it, for instance newstack -mode 1 of IMOD."
        )
    values.check(header.path.name)


def read_voxels(header: Header) -> NDArray[np.float32]:
    """Read the voxels as float32 (z, y, x)."""
    out = np.empty(header.shape, dtype=np.float32)
    for section, voxels in zip(out, _sections(header), strict=True):
        section[...] = voxels
    return out


def _sections(header: Header) -> Iterator[NDArray[np.float32]]:
    """Yield the sections of the file as float32 (y, x)."""
    _, num_rows, num_columns = header.shape
    row = _row_bytes(num_columns, header.mode) // header.dtype.itemsize
    stored = np.memmap(
        header.path, header.dtype, "r", header.offset, (header.shape[0], num_rows, row)
    )
    for section in stored:
        voxels = np.asarray(section)
        if header.mode == _PACKED:  # the first voxel in the lower four bits
            voxels = np.stack([voxels & 15, voxels >> 4], axis=-1).reshape(num_rows, -1)
            voxels = voxels[:, :num_columns]
        yield voxels.astype(np.float32)


def _row_bytes(num_columns: int, mode: int) -> int:
    if mode == _PACKED:
        return (num_columns + 1) // 2
    return num_columns * np.dtype(_MODES[mode]).itemsize


def _read_fields(path: Path) -> Any:
    """Read the fields of the header in the byte order in which they make sense."""
    with path.open("rb") as file:
        raw = file.read(HEADER_BYTES)
    for beginning, description in _OTHER_FORMATS.items():
        if raw.startswith(beginning):
            raise DataError(f"{path.name} is {description}.")
    if len(raw) < HEADER_BYTES:
        raise DataError(
            f"{path.name} is no MRC file: its header is incomplete ({len(raw)} bytes of "
            f"{HEADER_BYTES})."
        )
    little = np.frombuffer(raw, HEADER_DTYPE.newbyteorder("<"))[0]
    big = np.frombuffer(raw, HEADER_DTYPE.newbyteorder(">"))[0]
    orders = [big, little] if little["machst"][0] == 0x11 else [little, big]
    for header in orders:
        edges_fit = all(0 < header[key] <= _MAX_EDGE for key in ("nx", "ny", "nz"))
        if edges_fit and 0 <= header["mode"] <= _PACKED and 0 <= header["mapc"] <= 3:
            return header
    raise DataError(
        f"{path.name} is no MRC file: no volume has the size and mode of its first bytes "
        f"({raw[:16].hex(' ', 4)})."
    )


def _check_single_volume(path: Path, header: Any) -> None:
    """Raise DataError if the header says that the sections are images, or several volumes."""
    num_sections, depth, group = int(header["nz"]), int(header["mz"]), int(header["ispg"])
    if group in _STACKS_OF_VOLUMES and depth != num_sections:
        number = f"{num_sections // depth} volumes" if depth > 0 else "volumes"
        raise DataError(
            f"{path.name} is a stack of {number} by its header (ispg {group}, mz {depth}). "
            "Write each to a file of its own, or leave it out with files=…"
        )
    if group == 0 and depth == 1:
        raise DataError(
            f"{path.name} is a stack of {num_sections} images by its header (ispg 0, mz 1), such "
            "as a tilt series, and no tomogram. Leave it out with files=…, or correct its header."
        )


def _voxel_offset(
    path: Path, extended: int, num_bytes: int, shape: tuple[int, ...], mode: int
) -> int:
    """Return where the voxels begin, if the file has as many bytes as its header says.

    Args:
        path: of the file.
        extended: bytes of the extended header.
        num_bytes: of the voxels.
        shape: voxels z y x, for messages.
        mode: for messages.
    """
    size = path.stat().st_size
    needed = HEADER_BYTES + extended + num_bytes
    what = f"{format_shape(shape)} voxels of mode {mode}"
    if extended > 0 and size == HEADER_BYTES + num_bytes:
        logger.warning(
            "%s has no extended header, though its header speaks of one of %d bytes: its voxels "
            "are read from behind the main header.",
            path.name,
            extended,
        )
        return HEADER_BYTES
    if extended < 0:
        raise DataError(
            f"{path.name} has a damaged header: an extended header of {extended} bytes."
        )
    if size < needed:
        header = f" and an extended header of {extended} bytes" if extended else ""
        raise DataError(
            f"{path.name} is truncated: {what}{header} need {needed} bytes, it has {size}. "
            "Copy it again."
        )
    if size - needed >= MAX_PADDING:
        raise DataError(
            f"{path.name} has {size - needed} bytes more than its header says: {what} need "
            f"{needed}, it has {size}. Correct the size or mode in its header, or write it again."
        )
    return HEADER_BYTES + extended


def _type_of_bytes(header: Any) -> tuple[np.dtype, tuple[float, float]]:
    """Return the type of the bytes of mode 0, and the range of values for which it is certain.

    The standard says signed; older programs wrote unsigned ones, as the statistics then show.
    """
    low, high, mean = (float(header[key]) for key in ("dmin", "dmax", "dmean"))
    if low <= high:  # otherwise they were never set
        if -128 <= low < 0 and max(high, mean) <= 127:
            return np.dtype("i1"), (low - 1, high + 1)
        if low >= 0 and 127 < max(high, mean) <= 255:
            return np.dtype("u1"), (low - 1, max(high, mean) + 1)
    stamp, flags = np.frombuffer(header["extra2"].tobytes()[40:48], header.dtype["mode"])
    if stamp == IMOD_STAMP:
        return np.dtype("i1" if flags & 1 else "u1"), (-math.inf, math.inf)
    return np.dtype("i1"), (0, 127)
