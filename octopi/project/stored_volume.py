"""Stored volumes: what their metadata say, read and checked before any voxel is."""

import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs.errors import UnknownCodecError
from numpy.typing import NDArray
from zarr.errors import MetadataError
from zarr.storage import FSStore

from octopi.errors import DataError, shorten, shorten_list
from octopi.geometry import Grid, same_spacing
from octopi.project.copick_api import UNITFACTOR
from octopi.project.storage import is_local, storage_errors_as_data_error, with_retries
from octopi.system.files import read_bytes

COMPLETE = "octopi_complete"
RUNS_CODE = "pickle"  # codec of numcodecs that runs what the bytes say
MAX_CHUNKS = 1_000_000  # of an array; with more its shape or chunks are wrong
DAMAGED_METADATA = (
    *(AttributeError, KeyError, IndexError, TypeError, ValueError, ArithmeticError),
    *(RecursionError, MetadataError),
)


class LocalStore(FSStore):
    """A store on a disk, in which only a file that is absent is a missing key.

    FSStore waits for ever for a named pipe, and takes what is not a file for a missing one.
    """

    def __getitem__(self, key: str) -> bytes:
        """Read a file; raise KeyError where there is none, OSError for something else."""
        path = Path(self.path, key)
        try:
            return read_bytes(path)
        except FileNotFoundError as error:
            if path.is_symlink():  # as of a dataset whose files were not fetched yet
                raise
            raise KeyError(key) from error


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
        store = _open_store(item)
        attributes = _read_attributes(store, where)
        try:
            level = _finest_level(attributes)
            # zarr.open_array asks first whether it exists, and takes an error for "no"
            metadata = f"{level.path}/.zarray"
            raw = with_retries(functools.partial(store.__getitem__, metadata), store.fs)
            _check_codecs(json.loads(raw))
            array = zarr.Array({metadata: raw}, path=level.path, read_only=True)
            _check_metadata(array)
        except UnknownCodecError as error:
            raise DataError(
                f"{where} is compressed with the codec {shorten(error.codec_id)} (array "
                f"{level.path} of {store.path}), which is not installed or not to be trusted. "
                "Install the Python package that provides it to zarr 2, or write the volume "
                "again with one of numcodecs, such as blosc."
            ) from error
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


def _open_store(item: Any) -> Any:
    """Open the store of a copick item to read; copick would first look whether it exists."""
    run = item.voxel_spacing.run if hasattr(item, "voxel_spacing") else getattr(item, "run", None)
    run = item.tomogram.voxel_spacing.run if run is None else run
    part = "static" if item.read_only else "overlay"
    fs = getattr(run, f"fs_{part}", None)
    if getattr(run, "fs_static", None) is None or fs is None:
        store = item.zarr()  # of the data portal
    else:
        path = item.path if hasattr(item, "path") else getattr(item, f"{part}_path")
        kind = LocalStore if is_local(fs) else FSStore
        store = kind(path, fs=fs, mode="r", dimension_separator="/")
    # copick's stores take any I/O error for a missing chunk, which zarr then fills with zeros.
    store.exceptions = (KeyError,)
    return store


def is_finished(item: Any, *, by_octopi: bool = False) -> bool:
    """Return whether the writer of a copick item has finished, and with `by_octopi` was octopi.

    Every writer stores OME metadata last; octopi's own say so explicitly, since on remote storage
    a rewrite could stop half-way.
    """
    with storage_errors_as_data_error(str(getattr(item, "path", item))):
        store = _open_store(item)
        try:
            attributes = json.loads(store[".zattrs"])
            level = _finest_level(attributes)
            finished = bool(attributes.get(COMPLETE, not by_octopi))
            return finished and bool(store[f"{level.path}/.zarray"])
        except KeyError:  # no metadata, but for those of zarr 3, which are refused when opened
            return not by_octopi and "zarr.json" in store
        except DAMAGED_METADATA:
            return not by_octopi  # others' metadata of another kind are refused when opened


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


def stored_files(volume: StoredVolume) -> dict[str, dict[str, Any]]:
    """List the files of the level, with fsspec's information, by their name inside it."""
    root = f"{volume.store.path.rstrip('/')}/{volume.level}/"
    files = volume.store.fs.find(root, detail=True)
    return {path.split(root, 1)[-1]: info for path, info in files.items()}


def chunk_regions(volume: StoredVolume) -> Iterator[tuple[str, tuple[slice, ...]]]:
    """Yield the name of each chunk of the volume's array, and its region in the array."""
    array = volume.array
    for index in np.ndindex(array.cdata_shape):
        starts = [i * chunk for i, chunk in zip(index, array.chunks, strict=True)]
        sizes = map(min, array.chunks, np.subtract(array.shape, starts))
        region = tuple(slice(a, a + int(n)) for a, n in zip(starts, sizes, strict=True))
        yield volume.separator.join(map(str, index)), region


def background(array: zarr.Array) -> NDArray[Any]:
    """Return one voxel with the value of chunks that are left out."""
    return np.full(1, array.fill_value or 0, array.dtype)


def _read_attributes(store: Any, where: str) -> dict[str, Any]:
    fetch = functools.partial(store.__getitem__, ".zattrs")
    try:
        attributes = json.loads(with_retries(fetch, store.fs))
    except KeyError as error:
        if store.fs.exists(f"{store.path}/zarr.json"):
            raise DataError(
                f"{where} is stored in zarr 3, which copick 1 cannot read. Convert {store.path} "
                "to zarr 2 (OME-Zarr 0.4)."
            ) from error
        reason = "it is unfinished or damaged"
        if ".zarray" in store:
            reason = "it is a zarr array alone, without a group and OME metadata"
        raise DataError(
            f"{where} has no .zattrs in {store.path}: {reason}. Write it again, as OME-Zarr 0.4."
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} has a damaged .zattrs in {store.path}: {error}.") from error
    if isinstance(attributes, dict) and not {"multiscales", "ome"} & attributes.keys():
        raise DataError(
            f"{where} is no OME-Zarr image: {store.path}/.zattrs has no multiscales, but "
            f"{shorten_list(attributes) or 'nothing'}. Write the volume again, as OME-Zarr 0.4."
        )
    return attributes


def _finest_level(attributes: dict[str, Any]) -> Level:
    """Read the path, axes, scale and translation of the finest array, in OME-NGFF 0.1 to 0.5."""
    multiscale = attributes.get("ome", attributes)["multiscales"][0]
    dataset = min(multiscale["datasets"], key=_voxel_size)  # NGFF asks for it to be the first
    # 0.3 has only the names of the axes
    axes = [{"name": a} if isinstance(a, str) else a for a in multiscale.get("axes", [])]
    units = [UNITFACTOR.get(a.get("unit", "angstrom"), 1.0) for a in axes[-3:]] or [1.0] * 3
    edges, origin, has_scale = np.ones(3), np.zeros(3), False
    for owner in (dataset, multiscale):
        for step in owner.get("coordinateTransformations", []):
            kind = step.get("type", "scale")
            if kind == "scale":
                factors = np.array(step["scale"][-3:], dtype=float)
                edges, origin, has_scale = edges * factors, origin * factors, True
            elif kind == "translation":
                origin = origin + np.array(step["translation"][-3:], dtype=float)
    sz, sy, sx = (edges * units).tolist()
    z, y, x = (origin * units).tolist()
    names = [str(axis["name"]) for axis in axes]
    return Level(dataset["path"], names, (sz, sy, sx) if has_scale else None, (z, y, x))


def _check_codecs(metadata: dict[str, Any]) -> None:
    """Raise UnknownCodecError if an array would be decoded by code that its own bytes contain."""
    codecs = [metadata.get("compressor"), *(metadata.get("filters") or [])]
    if any(codec and codec["id"] == RUNS_CODE for codec in codecs):
        raise UnknownCodecError(RUNS_CODE)


def _voxel_size(dataset: dict[str, Any]) -> float:
    """Return the product of a level's scales; 1 where it has none, as before NGFF 0.4."""
    steps = dataset.get("coordinateTransformations", [])
    return math.prod(math.prod(map(float, s["scale"][-3:])) for s in steps if "scale" in s)


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
