"""Read volumes: metadata first, then chunk by chunk, so that damage is detected and named."""

import functools
import gzip
import hashlib
import json
import math
import operator
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.errors import MetadataError

from octopi.errors import DataError, ResourceError, shorten_list
from octopi.geometry import Grid, same_spacing
from octopi.project.copick_api import UNITFACTOR
from octopi.project.label_values import LabelValues
from octopi.project.storage import storage_errors_as_data_error, with_retries
from octopi.project.value_range import ValueRange
from octopi.system import resources

COMPLETE = "octopi_complete"
MAX_CHUNKS = 1_000_000  # of an array; with more its shape or chunks are wrong
DAMAGED_METADATA = (
    *(AttributeError, KeyError, IndexError, TypeError, ValueError, ArithmeticError),
    *(RecursionError, MetadataError),
)
UNDECODABLE = (RuntimeError, ValueError, EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True)
class StoredVolume:
    """The finest level of an OME-Zarr store, opened but not read yet.

    Args:
        where: the volume in words, for messages.
        separator: between the numbers in a chunk's name, "/" or ".".
        attributes: everything in the store's `.zattrs`.
        mask_of: the object of a binary mask; None for other volumes.
    """

    where: str
    store: Any
    level: str
    array: zarr.Array
    separator: str
    grid: Grid
    attributes: dict[str, Any]
    mask_of: str | None = None

    @property
    def by_octopi(self) -> bool:
        """Whether octopi wrote it, which leaves out no chunk."""
        return bool(self.attributes.get(COMPLETE))


@dataclass(frozen=True)
class Level:
    """The finest level of a store, as OME-NGFF 0.1 to 0.5 describe it.

    Args:
        path: of its array in the store.
        axes: names of the axes; empty before NGFF 0.3.
        scale: voxel spacing in Å (z, y, x); None before NGFF 0.4.
        translation: place of the first voxel in Å (z, y, x).
    """

    path: str
    axes: list[str]
    scale: tuple[float, float, float] | None
    translation: tuple[float, float, float]


def open_volume(
    item: Any,
    where: str,
    voxel_spacing: float,
    *,
    warn: Callable[[str], None],
    channels: bool = False,
    mask_of: str | None = None,
) -> StoredVolume:
    """Open the volume of a copick item; read only its metadata.

    Args:
        item: copick tomogram, segmentation or features.
        where: the volume in words, for messages.
        voxel_spacing: Å, the one copick lists it under.
        warn: logs what the metadata say and octopi does not follow.
        channels: whether it may have several.
        mask_of: the object of a binary mask.

    Raises:
        DataError: the metadata are unfinished, damaged or not of a volume.
    """
    with storage_errors_as_data_error(where):
        store = item.zarr()
        # copick's stores take any I/O error for a missing chunk, which zarr then fills with zeros.
        store.exceptions = (KeyError,)
        # An array that does not name its separator has dots, whatever copick's stores take.
        store._dimension_separator = None
        attributes = _read_attributes(store, where)
        try:
            level = _finest_level(attributes)
            array = zarr.open_array(store=store, path=level.path, mode="r")
            _check_metadata(array)
        except DAMAGED_METADATA as error:
            raise DataError(
                f"{where} has damaged or unfinished metadata in {store.path} ({error!r}). "
                "Restore it or write the volume again."
            ) from error
        separator = _chunk_separator(array, f"{store.path.rstrip('/')}/{level.path}", store.fs)
        store.key_separator = separator
    _check_array(array, level.axes, f"{where} in {store.path}", channels=channels)
    # octopi's own volumes may be on a coarser grid than the tomogram they are listed with
    spacing = level.scale or (voxel_spacing, voxel_spacing, voxel_spacing)
    if not attributes.get(COMPLETE, False):
        spacing = _trusted_spacing(spacing, voxel_spacing, where, warn)
    if any(abs(shift) > 0.5 * edge for shift, edge in zip(level.translation, spacing, strict=True)):
        z, y, x = level.translation
        warn(
            f"{where} begins at x, y, z = {x:g}, {y:g}, {z:g} Å in its OME metadata; octopi, as "
            "copick, counts from its first voxel. Picks made in a larger volume need that shift."
        )
    z, y, x = array.shape[-3:]
    grid = Grid((z, y, x), spacing)
    return StoredVolume(where, store, level.path, array, separator, grid, attributes, mask_of)


def is_finished(item: Any, *, by_octopi: bool = False) -> bool:
    """Return whether the writer of a copick item has finished, and with `by_octopi` was octopi.

    Every writer stores OME metadata last; octopi's own say so explicitly, since on remote storage
    a rewrite could stop half-way.
    """
    with storage_errors_as_data_error(item.path):
        store = item.zarr()
        store.exceptions = (KeyError,)
        try:
            attributes = json.loads(store[".zattrs"])
            level = _finest_level(attributes)
            finished = bool(attributes.get(COMPLETE, not by_octopi))
            return finished and f"{level.path}/.zarray" in store
        except KeyError:  # no metadata, but for those of zarr 3, which are refused when opened
            return not by_octopi and "zarr.json" in store
        except DAMAGED_METADATA:
            return not by_octopi  # others' metadata of another kind are refused when opened


def read_tomogram(volume: StoredVolume) -> NDArray[np.float32]:
    """Read a tomogram as float32 (z, y, x).

    Raises:
        DataError: a chunk is missing or damaged, a voxel is not finite, or all are the same.
    """
    check_memory(volume, np.dtype(np.float32))
    out = np.empty(volume.array.shape, dtype=np.float32)
    values = ValueRange()
    for region, chunk in _chunks(volume, all_required=True):
        with np.errstate(over="ignore"):
            out[region] = chunk
        values.add(chunk)
    values.check(volume.where)
    return out.reshape(volume.grid.shape)


def read_labels(volume: StoredVolume) -> NDArray[Any]:
    """Read a label volume as unsigned integers (z, y, x); a binary mask holds 0 and 1.

    Raises:
        DataError: a chunk is damaged, or a value is no label.
    """
    if volume.mask_of is not None:
        return read_mask(volume)[0].astype(np.uint8)
    if volume.array.dtype.kind in "bu":  # any of these is a label
        labels = read_array(volume)
        dtype = np.dtype(np.uint8) if labels.dtype == bool else labels.dtype.newbyteorder("=")
    else:
        values = LabelValues()
        labels = read_array(volume, values)
        values.check_labels(volume.where)
        dtype = np.min_scalar_type(int(values.range.high))
    return labels.reshape(volume.grid.shape).astype(dtype, copy=False)


def read_mask(
    volume: StoredVolume, *, may_be_full: bool = False
) -> tuple[NDArray[np.bool_], float]:
    """Read the mask of one object, or with `may_be_full` of a region.

    Returns:
        Whether each voxel (z, y, x) is inside, and the value stored there; 0 where none is.

    Raises:
        DataError: a chunk is damaged, or there are other values than 0 and one other.
    """
    values = LabelValues()
    mask = read_array(volume, values).reshape(volume.grid.shape) != 0
    return mask, values.check_mask(volume.where, may_be_full=may_be_full)


def read_array(volume: StoredVolume, values: LabelValues | None = None) -> NDArray[Any]:
    """Read a label volume or score map as stored; one that octopi wrote must have all chunks.

    Args:
        volume: to read.
        values: to add its voxels to.
    """
    array = volume.array
    check_memory(volume, array.dtype)
    out = np.zeros(array.shape, dtype=array.dtype)  # takes memory only where written
    if array.fill_value:
        out[...] = array.fill_value
    num_read = 0
    # Other writers may leave out chunks of background (zarr's write_empty_chunks=False): every
    # chunk is required only of our label volumes, and of tomograms, which are hardly ever exactly
    # zero in a whole chunk.
    for region, chunk in _chunks(volume, all_required=volume.by_octopi):
        out[region] = chunk
        num_read += chunk.size
        if values is not None:
            values.add(chunk)
    if values is not None and num_read < array.size:
        values.add(background(array))
    return out


def check_memory(volume: StoredVolume, dtype: np.dtype | None = None) -> None:
    """Raise ResourceError unless a chunk, and with a dtype all voxels, fit into the memory."""
    array, free = volume.array, resources.memory()
    needed = math.prod(array.chunks) * array.dtype.itemsize
    needed += math.prod(array.shape) * dtype.itemsize if dtype else 0
    if needed > free:
        raise ResourceError(
            f"{volume.where} needs {resources.format_bytes(needed)} of memory, of which "
            f"{resources.format_bytes(free)} are free: its metadata say {array.shape} voxels in "
            f"chunks of {array.chunks}. If they are right, use a machine with more memory."
        )


def background(array: zarr.Array) -> NDArray[Any]:
    """Return one voxel with the value of chunks that are left out."""
    return np.full(1, array.fill_value or 0, array.dtype)


def fingerprint(volume: StoredVolume) -> str:
    """Hash (sha256, hex) the metadata and each chunk's name, size and time; read no chunk."""
    with storage_errors_as_data_error(volume.where):
        digest = hashlib.sha256(volume.store[f"{volume.level}/.zarray"])
        files = stored_files(volume)
    digest.update(json.dumps(volume.attributes, sort_keys=True).encode())
    for name, info in sorted(files.items()):
        stamps = (info.get(key) for key in ("ETag", "mtime", "LastModified", "created"))
        stamp = next((value for value in stamps if value is not None), "")
        digest.update(f"{name} {info.get('size')} {stamp}\n".encode())
    return digest.hexdigest()


def _chunks(
    volume: StoredVolume, *, all_required: bool
) -> Iterator[tuple[tuple[slice, ...], NDArray[Any]]]:
    """Yield the region and voxels of each chunk; the voxels are overwritten by the next chunk.

    We decode them ourselves: zarr reads a missing chunk as zeros, and blosc reads beyond the end of
    a truncated one.

    Args:
        volume: to read.
        all_required: whether a missing chunk is an error.

    Raises:
        DataError: after the last chunk, if any cannot be decoded or is missing; it names them.
    """
    array = volume.array
    check_memory(volume)
    missing, damaged = [], []
    buffer = np.empty(array.chunks, dtype=array.dtype)  # reused: new memory each time is slow
    for name, region in chunk_regions(volume):
        fetch = functools.partial(operator.getitem, volume.store, f"{volume.level}/{name}")
        try:
            with storage_errors_as_data_error(volume.where):
                raw = with_retries(fetch, volume.store.fs)
            chunk = decode_chunk(array, raw, buffer)
        except KeyError:
            missing.append(name)
        except UNDECODABLE:
            damaged.append(name)
        else:
            yield region, chunk[tuple(slice(s.stop - s.start) for s in region)]
    check_chunks(volume, missing if all_required else [], damaged)


def check_chunks(volume: StoredVolume, missing: Sequence[str], damaged: Sequence[str]) -> None:
    """Raise DataError if required chunks of a volume are missing, or any cannot be decoded."""
    faults = [f"lacks {_list_chunks(missing)}"] if missing else []
    faults += [f"cannot decode {_list_chunks(damaged)}, truncated or damaged,"] if damaged else []
    if faults:
        raise DataError(
            f"{volume.where} {' and '.join(faults)} of array {volume.level} in "
            f"{volume.store.path}. Copy or write it again."
        )


def chunk_regions(volume: StoredVolume) -> Iterator[tuple[str, tuple[slice, ...]]]:
    """Yield the name of each chunk of the volume's array, and its region in the array."""
    array = volume.array
    for index in np.ndindex(array.cdata_shape):
        starts = [i * chunk for i, chunk in zip(index, array.chunks, strict=True)]
        sizes = map(min, array.chunks, np.subtract(array.shape, starts))
        region = tuple(slice(a, a + int(n)) for a, n in zip(starts, sizes, strict=True))
        yield volume.separator.join(map(str, index)), region


def decode_chunk(array: zarr.Array, raw: bytes, buffer: NDArray | None = None) -> NDArray[Any]:
    """Decode a chunk; it has the full chunk shape also at the border of the array.

    Args:
        array: to which the chunk belongs.
        raw: bytes as stored.
        buffer: array of the chunk's shape that may be overwritten.

    Raises:
        one of UNDECODABLE: the bytes are damaged.
    """
    content: Any = raw
    if array.compressor is not None:
        if array.compressor.codec_id == "blosc":
            _check_blosc(raw, None if array.filters else math.prod(array.chunks) * array.itemsize)
        fits = buffer is not None and not array.filters and array.order == "C"
        content = array.compressor.decode(raw, out=buffer if fits else None)
    for codec in reversed(array.filters or []):
        content = codec.decode(content)
    return np.frombuffer(content, dtype=array.dtype).reshape(array.chunks, order=array.order)


def _check_blosc(raw: bytes, num_bytes: int | None) -> None:
    """Raise ValueError unless the header of a blosc buffer fits it, and the bytes it must give."""
    decoded, _, encoded = struct.unpack_from("<III", raw.ljust(16, b"\0"), 4)
    if len(raw) < max(16, encoded):
        raise ValueError("The chunk is shorter than its own header says.")
    if num_bytes is not None and decoded != num_bytes:
        raise ValueError(f"The chunk holds {decoded} bytes, not {num_bytes}.")


def stored_files(volume: StoredVolume) -> dict[str, dict[str, Any]]:
    """List the files of the level, with fsspec's information, by their name inside it."""
    root = f"{volume.store.path.rstrip('/')}/{volume.level}/"
    files = volume.store.fs.find(root, detail=True)
    return {path.split(root, 1)[-1]: info for path, info in files.items()}


def _list_chunks(chunks: Sequence[str]) -> str:
    """Say how many chunks there are, and name the first."""
    return f"{len(chunks)} chunk{'s' * (len(chunks) > 1)} ({shorten_list(chunks)})"


def _read_attributes(store: Any, where: str) -> dict[str, Any]:
    try:
        return json.loads(store[".zattrs"])
    except KeyError as error:
        if store.fs.exists(f"{store.path}/zarr.json"):
            raise DataError(
                f"{where} is stored in zarr 3, which copick 1 cannot read. Convert {store.path} "
                "to zarr 2 (OME-Zarr 0.4)."
            ) from error
        raise DataError(
            f"{where} has no .zattrs in {store.path}: it is unfinished or damaged. Write it again."
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} has a damaged .zattrs in {store.path}: {error}.") from error


def _finest_level(attributes: dict[str, Any]) -> Level:
    """Read the path, axes, scale and translation of the finest array, in OME-NGFF 0.1 to 0.5."""
    multiscale = attributes.get("ome", attributes)["multiscales"][0]
    dataset = multiscale["datasets"][0]
    # 0.3 has only the names of the axes
    axes = [{"name": a} if isinstance(a, str) else a for a in multiscale.get("axes", [])]
    unit = np.array(
        [UNITFACTOR.get(a.get("unit", "angstrom"), 1.0) for a in axes[-3:]] or [1.0] * 3
    )
    scale, translation = None, np.zeros(3)
    for owner in (dataset, multiscale):
        for step in owner.get("coordinateTransformations", []):
            kind = step.get("type", "scale")
            if kind == "scale":
                factors = np.array(step["scale"][-3:], dtype=float)
                scale, translation = (
                    factors * (1 if scale is None else scale),
                    translation * factors,
                )
            elif kind == "translation":
                translation = translation + np.array(step["translation"][-3:], dtype=float)
    z, y, x = translation * unit
    if scale is not None:
        sz, sy, sx = (scale * unit).tolist()
    return Level(
        dataset["path"],
        [str(axis["name"]) for axis in axes],
        None if scale is None else (sz, sy, sx),
        (float(z), float(y), float(x)),
    )


def _chunk_separator(array: zarr.Array, folder: str, fs: Any) -> str:
    """Return what lies between the numbers in the names of an array's chunks.

    Before zarr 2.8, an array with nested folders did not name its separator either.
    """
    if array._dimension_separator == "/":
        return "/"
    names = [str(path).rstrip("/").rsplit("/", 1)[-1] for path in fs.ls(folder, detail=False)]
    return "/" if any(map(str.isdecimal, names)) else "."


def _check_metadata(array: zarr.Array) -> None:
    """Raise ValueError unless an array's shape, chunks, order and fill value make sense."""
    sizes = [*array.shape, *array.chunks]
    if len(array.chunks) != array.ndim or not all(isinstance(n, int) and n > 0 for n in sizes):
        raise ValueError(f"shape {array.shape} in chunks of {array.chunks}")
    if math.prod(array.cdata_shape) > MAX_CHUNKS:
        raise ValueError(f"shape {array.shape} in {math.prod(array.cdata_shape)} chunks")
    if array.order not in ("C", "F"):
        raise ValueError(f"order {array.order}")
    background(array)


def _check_array(array: zarr.Array, axes: list[str], where: str, *, channels: bool) -> None:
    """Raise DataError unless an array holds numbers on z, y and x, and, if allowed, channels."""
    names = [name.lower() for name in axes]
    has_channels = max(array.shape[:-3], default=1) > 1
    if array.ndim < 3 or 0 in array.shape or (has_channels and not channels):
        raise DataError(
            f"{where} is not a volume: its shape is {array.shape}. octopi reads one volume of "
            "three axes, z, y, x; save that alone."
        )
    if names and (len(names) != array.ndim or names[-3:] != ["z", "y", "x"]):
        raise DataError(
            f"{where} has the shape {array.shape} but the axes {', '.join(names)} in its OME "
            "metadata; octopi reads axes that end in z, y, x. Write it again in that order."
        )
    if array.dtype.kind not in "biuf":
        raise DataError(f"{where} holds values of type {array.dtype}; octopi reads plain numbers.")


def _trusted_spacing(
    scale: tuple[float, float, float],
    voxel_spacing: float,
    where: str,
    warn: Callable[[str], None],
) -> tuple[float, float, float]:
    """Return the stored scale, which has more digits, unless it contradicts what copick lists."""
    if all(same_spacing(s, voxel_spacing) for s in scale):
        return scale
    warn(
        f"{where} is listed with {voxel_spacing} Å but its OME metadata says {scale} Å; taking "
        f"{voxel_spacing} Å."
    )
    return voxel_spacing, voxel_spacing, voxel_spacing
