"""Read the voxels of stored volumes chunk by chunk, so that damage is detected and named."""

import functools
import lzma
import math
import operator
import struct
import zlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from octopi.errors import DataError, ResourceError, shorten_list
from octopi.project.storage import storage_errors_as_data_error, with_retries
from octopi.project.stored_volume import StoredVolume, background, chunk_regions
from octopi.project.voxel_values import LabelValues, ValueRange
from octopi.system import resources
from octopi.system.large_arrays import allocate

# A codec reads beyond the end, or calls the bytes corrupt, in words of its own library.
UNDECODABLE = (RuntimeError, ValueError, EOFError, OSError, zlib.error, lzma.LZMAError)


def read_tomogram(volume: StoredVolume) -> NDArray[np.float32]:
    """Read a tomogram as float32 (z, y, x).

    Raises:
        DataError: a chunk is missing or damaged, a voxel is not finite, or all are the same.
        ResourceError: it fits neither into the memory nor on the disk, see `allocate`.
    """
    check_memory(volume)
    out = allocate(volume.array.shape, np.float32, purpose=volume.where)
    values = ValueRange()
    for region, chunk in _required_chunks(volume, all_required=True):
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


def read_scores(volume: StoredVolume, objects: Collection[str] | None) -> NDArray[Any]:
    """Read a score map (c, z, y, x), bytes of 0..255 or floats of 0..1.

    Raises:
        DataError: it has not a channel for each object, or holds values that are no scores.
    """
    scores = read_array(volume)
    if objects is not None and (scores.ndim != 4 or len(scores) != len(objects)):
        raise DataError(
            f"{volume.where} of shape {list(scores.shape)} has {len(scores)} channels for "
            f"{len(objects)} objects. Write it again."
        )
    if scores.dtype == np.uint8:
        return scores
    lowest, highest = scores.min(), scores.max()  # NaN if any value is
    if scores.dtype.kind != "f" or not (lowest >= 0 and highest <= 1):
        raise DataError(
            f"{volume.where} holds {scores.dtype} values from {lowest:g} to {highest:g}: scores "
            "are bytes of 0 to 255 or floats of 0 to 1. Did another program change it? Compute "
            "it again: octopi segment overwrite=true."
        )
    return scores


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
    for region, chunk in _required_chunks(volume, all_required=volume.by_octopi):
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


def _required_chunks(
    volume: StoredVolume, *, all_required: bool
) -> Iterator[tuple[tuple[slice, ...], NDArray[Any]]]:
    """Yield the region and voxels of each chunk, see `read_chunks`.

    Args:
        volume: to read.
        all_required: whether a missing chunk is an error.

    Raises:
        DataError: after the last chunk, if any cannot be decoded or is missing; it names them.
    """
    missing: list[str] = []
    damaged: list[str] = []
    for _, region, chunk in read_chunks(volume, missing, damaged):
        yield region, chunk
    check_chunks(volume, missing if all_required else [], damaged)


def read_chunks(
    volume: StoredVolume, missing: list[str], damaged: list[str], digest: Any = None
) -> Iterator[tuple[str, tuple[slice, ...], NDArray[Any]]]:
    """Yield the name, region and voxels of each chunk; the next one overwrites the voxels.

    We decode them ourselves: zarr reads a missing chunk as zeros, and blosc reads beyond the end of
    a truncated one.

    Args:
        volume: to read.
        missing: to which the names of chunks are added that are not there.
        damaged: to which those are added that cannot be decoded.
        digest: hash of hashlib that is updated with all that is read.

    Raises:
        ResourceError: a chunk does not fit into the memory.
    """
    array = volume.array
    check_memory(volume)
    buffer = np.empty(array.chunks, dtype=array.dtype)  # reused: new memory each time is slow
    for name, region in chunk_regions(volume):
        fetch = functools.partial(operator.getitem, volume.store, f"{volume.level}/{name}")
        try:
            with storage_errors_as_data_error(volume.where):
                raw = with_retries(fetch, volume.store.fs)
            if digest is not None:
                digest.update(name.encode() + raw)
            chunk = decode_chunk(array, raw, buffer)
        except KeyError:
            missing.append(name)
        except UNDECODABLE:
            damaged.append(name)
        else:
            yield name, region, chunk[tuple(slice(s.stop - s.start) for s in region)]


def check_chunks(volume: StoredVolume, missing: Sequence[str], damaged: Sequence[str]) -> None:
    """Raise DataError if required chunks of a volume are missing, or any cannot be decoded."""
    faults = [f"lacks {_list_chunks(missing)}"] if missing else []
    faults += [f"cannot decode {_list_chunks(damaged)}, truncated or damaged,"] if damaged else []
    if faults:
        raise DataError(
            f"{volume.where} {' and '.join(faults)} of array {volume.level} in "
            f"{volume.store.path}. Copy or write it again."
        )


def decode_chunk(array: zarr.Array, raw: bytes, buffer: NDArray) -> NDArray[Any]:
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
        is_final = not array.filters and array.order == "C"
        content = array.compressor.decode(raw, out=buffer if is_final else None)
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


def _list_chunks(chunks: Sequence[str]) -> str:
    """Say how many chunks there are, and name the first."""
    return f"{len(chunks)} chunk{'s' * (len(chunks) > 1)} ({shorten_list(chunks)})"
