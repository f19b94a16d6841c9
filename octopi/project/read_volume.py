"""Read volumes: metadata first, then chunk by chunk, so that damage is detected and named."""

import functools
import gzip
import hashlib
import json
import logging
import operator
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from octopi.errors import DataError, shorten_list
from octopi.geometry import Grid, same_spacing
from octopi.project.copick_api import UNITFACTOR
from octopi.project.storage import storage_errors_as_data_error, with_retries
from octopi.project.value_range import ValueRange

logger = logging.getLogger(__name__)

COMPLETE = "octopi_complete"
UNDECODABLE = (RuntimeError, ValueError, EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True)
class StoredVolume:
    """The finest level of an OME-Zarr store, opened but not read yet.

    Args:
        where: the volume in words, for messages.
        attributes: everything in the store's `.zattrs`.
    """

    where: str
    store: Any
    level: str
    array: zarr.Array
    grid: Grid
    attributes: dict[str, Any]


def open_volume(item: Any, where: str, voxel_spacing: float) -> StoredVolume:
    """Open the volume of a copick item; read only its metadata.

    Args:
        item: copick tomogram, segmentation or features.
        where: the volume in words, for messages.
        voxel_spacing: Å, the one copick lists it under.

    Raises:
        DataError: the metadata are unfinished, damaged or not of a volume.
    """
    with storage_errors_as_data_error(where):
        store = item.zarr()
        # copick's stores take any I/O error for a missing chunk, which zarr then fills with zeros.
        store.exceptions = (KeyError,)
        attributes = _read_attributes(store, where)
        try:
            level, scale = _first_level(attributes)
            array = zarr.open_array(store=store, path=level, mode="r")
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise DataError(
                f"{where} has damaged or unfinished metadata in {store.path} ({error!r}). "
                "Restore it or write the volume again."
            ) from error
    # octopi's own volumes may be on a coarser grid than the tomogram they are listed with
    by_octopi = attributes.get(COMPLETE, False)
    spacing = scale if by_octopi else _trusted_spacing(scale, voxel_spacing, where)
    if array.ndim < 3:
        raise DataError(f"{where} is not a volume: its shape is {array.shape}.")
    z, y, x = array.shape[-3:]
    return StoredVolume(where, store, level, array, Grid((z, y, x), spacing), attributes)


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
            level, _ = _first_level(attributes)
            return bool(attributes.get(COMPLETE, not by_octopi)) and f"{level}/.zarray" in store
        except (KeyError, IndexError, TypeError, ValueError):
            return False


def read_tomogram(volume: StoredVolume) -> NDArray[np.float32]:
    """Read a tomogram as float32 (z, y, x).

    Raises:
        DataError: a chunk is missing or damaged, a voxel is not finite, or all are the same.
    """
    if volume.array.ndim != 3:
        raise DataError(f"{volume.where} is not a volume: its shape is {volume.array.shape}.")
    out = np.empty(volume.array.shape, dtype=np.float32)
    values = ValueRange()
    for region, chunk in _chunks(volume, all_required=True):
        with np.errstate(over="ignore"):
            out[region] = chunk
        values.add(chunk)
    values.check(volume.where)
    return out


def read_labels(volume: StoredVolume) -> NDArray[Any]:
    """Read a label volume or score map as stored; one that octopi wrote must have all chunks."""
    array = volume.array
    out = np.zeros(array.shape, dtype=array.dtype)  # takes memory only where written
    if array.fill_value:
        out[...] = array.fill_value
    # Other writers may leave out chunks of background (zarr's write_empty_chunks=False): every
    # chunk is required only of our label volumes, and of tomograms, which are hardly ever exactly
    # zero in a whole chunk.
    for region, chunk in _chunks(volume, all_required=bool(volume.attributes.get(COMPLETE))):
        out[region] = chunk
    return out


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
    missing, damaged = [], []
    buffer = np.empty(array.chunks, dtype=array.dtype)  # reused: new memory each time is slow
    for name, region in chunk_regions(array):
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
    faults = [f"lacks {_list_chunks(missing)}"] if all_required and missing else []
    faults += [f"cannot decode {_list_chunks(damaged)}, truncated or damaged,"] if damaged else []
    if faults:
        raise DataError(
            f"{volume.where} {' and '.join(faults)} of array {volume.level} in "
            f"{volume.store.path}. Copy or write it again."
        )


def chunk_regions(array: zarr.Array) -> Iterator[tuple[str, tuple[slice, ...]]]:
    """Yield the name of each chunk of the array, and its region in the array."""
    for index in np.ndindex(array.cdata_shape):
        starts = [i * chunk for i, chunk in zip(index, array.chunks, strict=True)]
        sizes = map(min, array.chunks, np.subtract(array.shape, starts))
        region = tuple(slice(a, a + int(n)) for a, n in zip(starts, sizes, strict=True))
        yield "/".join(map(str, index)), region


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
        if array.compressor.codec_id == "blosc" and len(raw) < _blosc_size(raw):
            raise ValueError("The chunk is shorter than its own header says.")
        fits = buffer is not None and not array.filters and array.order == "C"
        content = array.compressor.decode(raw, out=buffer if fits else None)
    for codec in reversed(array.filters or []):
        content = codec.decode(content)
    return np.frombuffer(content, dtype=array.dtype).reshape(array.chunks, order=array.order)


def _blosc_size(raw: bytes) -> int:
    """Read the length of a blosc buffer from its header, which takes 16 bytes itself."""
    return int.from_bytes(raw[12:16], "little") if len(raw) >= 16 else 16


def stored_files(volume: StoredVolume) -> dict[str, dict[str, Any]]:
    """List the files of the level, with fsspec's information, by their name inside it."""
    root = f"{volume.store.path.rstrip('/')}/{volume.level}/"
    files = volume.store.fs.find(root, detail=True)
    return {path.split(root, 1)[-1]: info for path, info in files.items()}


def _list_chunks(chunks: list[str]) -> str:
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
    except ValueError as error:
        raise DataError(f"{where} has a damaged .zattrs in {store.path}: {error}.") from error


def _first_level(attributes: dict[str, Any]) -> tuple[str, tuple[float, float, float]]:
    """Read the path of the finest array and its voxel spacing in Å (z, y, x)."""
    multiscale = attributes["multiscales"][0]
    dataset = multiscale["datasets"][0]
    steps = dataset["coordinateTransformations"]
    scale = next(step["scale"] for step in [*steps, {}] if step.get("type", "scale") == "scale")
    units = [axis.get("unit", "angstrom") for axis in multiscale["axes"]][-3:]
    z, y, x = (float(s) * UNITFACTOR.get(u, 1.0) for s, u in zip(scale[-3:], units, strict=True))
    return dataset["path"], (z, y, x)


def _trusted_spacing(
    scale: tuple[float, float, float], voxel_spacing: float, where: str
) -> tuple[float, float, float]:
    """Return the stored scale, which has more digits, unless it contradicts what copick lists."""
    if all(same_spacing(s, voxel_spacing) for s in scale):
        return scale
    logger.warning(
        "%s is listed with %s Å but its OME metadata says %s Å; taking %s Å.",
        where, voxel_spacing, scale, voxel_spacing,
    )  # fmt: skip
    return voxel_spacing, voxel_spacing, voxel_spacing
