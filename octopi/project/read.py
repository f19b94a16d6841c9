"""Reading volumes: metadata first, then chunk by chunk, so that damage is found and named."""

import functools
import gzip
import hashlib
import json
import logging
import math
import operator
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from octopi.errors import DataError
from octopi.geometry import Grid, same_spacing
from octopi.project.door import UNITFACTOR
from octopi.project.storage import patiently

logger = logging.getLogger(__name__)

COMPLETE = "octopi_complete"
UNDECODABLE = (RuntimeError, ValueError, EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True)
class StoredVolume:
    """The finest level of an OME-Zarr store, opened but not read.

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
    """The volume of a copick item, with its grid; only metadata has been read.

    Args:
        item: copick tomogram, segmentation or features.
        where: the volume in words, for messages.
        voxel_spacing: Å, the one copick lists it under.
    """
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
    ours = attributes.get(COMPLETE, False)  # may be on a coarser grid than listed with
    spacing = scale if ours else _trusted_spacing(scale, voxel_spacing, where)
    if array.ndim < 3:
        raise DataError(f"{where} is not a volume: its shape is {array.shape}.")
    z, y, x = array.shape[-3:]
    return StoredVolume(where, store, level, array, Grid((z, y, x), spacing), attributes)


def finished_attributes(item: Any) -> dict[str, Any] | None:
    """The item's `.zattrs` if its writer has finished, else None.

    Every writer stores OME metadata last; octopi's own say so explicitly, since on remote storage
    a rewrite could stop half-way.
    """
    store = item.zarr()
    store.exceptions = (KeyError,)
    try:
        attributes = json.loads(store[".zattrs"])
        level, _ = _first_level(attributes)
        finished = attributes.get(COMPLETE, True) and f"{level}/.zarray" in store
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return attributes if finished else None


def read_tomogram(volume: StoredVolume) -> NDArray[np.float32]:
    """The voxels as float32 (z, y, x), all there, all finite, and not all the same."""
    if volume.array.ndim != 3:
        raise DataError(f"{volume.where} is not a volume: its shape is {volume.array.shape}.")
    out = np.empty(volume.array.shape, dtype=np.float32)
    low, high, num_bad = math.inf, -math.inf, 0
    for region, block in _chunks(volume, whole=True):
        out[region] = block
        smallest, largest = float(block.min()), float(block.max())
        if math.isfinite(smallest) and math.isfinite(largest):
            low, high = min(low, smallest), max(high, largest)
        else:
            num_bad += int(np.count_nonzero(~np.isfinite(block)))
    if num_bad:
        raise DataError(
            f"{volume.where} holds {num_bad} voxels of {out.size} that are NaN or infinite. "
            "Reconstruct it again or leave the run out."
        )
    if low == high:
        raise DataError(
            f"{volume.where} is constant: every voxel is {low:g}. "
            "Reconstruct it again or leave the run out."
        )
    return out


def read_labels(volume: StoredVolume) -> NDArray[Any]:
    """The voxels as they are stored; volumes that octopi wrote are known to be whole."""
    array = volume.array
    out = np.zeros(array.shape, dtype=array.dtype)  # no page is touched before a chunk needs it
    if array.fill_value:
        out[...] = array.fill_value
    # Other writers may leave out chunks of background (zarr's write_empty_chunks=False), so only
    # our own label volumes, and tomograms of anyone, which are hardly ever exactly zero in a whole
    # chunk, are held to have every chunk.
    for region, chunk in _chunks(volume, whole=bool(volume.attributes.get(COMPLETE))):
        out[region] = chunk
    return out


def fingerprint(volume: StoredVolume) -> str:
    """A sha256 (hex) of the metadata and of each chunk's name, size and time; no chunk is read."""
    digest = hashlib.sha256(volume.store[f"{volume.level}/.zarray"])
    digest.update(json.dumps(volume.attributes, sort_keys=True).encode())
    for name, info in sorted(stored_files(volume).items()):
        stamps = (info.get(key) for key in ("ETag", "mtime", "LastModified", "created"))
        stamp = next((value for value in stamps if value is not None), "")
        digest.update(f"{name} {info.get('size')} {stamp}\n".encode())
    return digest.hexdigest()


def _chunks(
    volume: StoredVolume, *, whole: bool
) -> Iterator[tuple[tuple[slice, ...], NDArray[Any]]]:
    """Each chunk (good until the next) with its place; at the end, an error that names bad ones.

    We decode them ourselves: zarr reads a missing chunk as zeros, and blosc reads beyond the end of
    a truncated one. Where the volume is to be whole, a missing chunk is damage too.
    """
    array = volume.array
    missing, damaged = [], []
    buffer = np.empty(array.chunks, dtype=array.dtype)  # fresh memory for each costs a second
    for name, region in chunk_places(array):
        fetch = functools.partial(operator.getitem, volume.store, f"{volume.level}/{name}")
        try:
            chunk = decode_chunk(array, patiently(fetch, volume.store.fs), buffer)
        except KeyError:
            missing.append(name)
        except UNDECODABLE:
            damaged.append(name)
        else:
            yield region, chunk[tuple(slice(s.stop - s.start) for s in region)]
    faults = [f"lacks {_some(missing)}"] if whole and missing else []
    faults += [f"cannot decode {_some(damaged)}, truncated or damaged,"] if damaged else []
    if faults:
        raise DataError(
            f"{volume.where} {' and '.join(faults)} of array {volume.level} in "
            f"{volume.store.path}. Copy or write it again."
        )


def chunk_places(array: zarr.Array) -> Iterator[tuple[str, tuple[slice, ...]]]:
    """The name of each chunk that the array's shape wants, and its place in the array."""
    for index in np.ndindex(array.cdata_shape):
        starts = [i * chunk for i, chunk in zip(index, array.chunks, strict=True)]
        sizes = map(min, array.chunks, np.subtract(array.shape, starts))
        region = tuple(slice(a, a + int(n)) for a, n in zip(starts, sizes, strict=True))
        yield "/".join(map(str, index)), region


def decode_chunk(array: zarr.Array, raw: bytes, buffer: NDArray | None = None) -> NDArray[Any]:
    """A chunk from its stored bytes, of the full chunk shape also at the border.

    Args:
        array: that it is a chunk of.
        raw: as stored.
        buffer: of the chunk's shape, that it may be decoded into.
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
    """The length that a blosc buffer's header, itself 16 bytes, says the buffer has."""
    return int.from_bytes(raw[12:16], "little") if len(raw) >= 16 else 16


def stored_files(volume: StoredVolume) -> dict[str, dict[str, Any]]:
    """The files of the level, by their name inside it."""
    root = f"{volume.store.path.rstrip('/')}/{volume.level}/"
    found = volume.store.fs.find(root, detail=True)
    return {path.split(root, 1)[-1]: info for path, info in found.items()}


def _some(chunks: list[str]) -> str:
    """How many chunks, and which are the first of them."""
    more = ", …" if len(chunks) > 3 else ""
    return f"{len(chunks)} chunk{'s' * (len(chunks) > 1)} ({', '.join(chunks[:3])}{more})"


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
    """The path of the finest array and its voxel spacing in Å (z, y, x), from OME metadata."""
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
    """The stored scale, which has more digits, unless it contradicts what copick lists."""
    if all(same_spacing(s, voxel_spacing) for s in scale):
        return scale
    logger.warning(
        "%s is listed with %s Å but its OME metadata says %s Å; taking %s Å.",
        where, voxel_spacing, scale, voxel_spacing,
    )  # fmt: skip
    return voxel_spacing, voxel_spacing, voxel_spacing
