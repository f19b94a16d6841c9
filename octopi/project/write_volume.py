"""Write volumes as OME-Zarr: one level, every chunk, metadata last."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zarr
from numcodecs import Blosc
from numpy.typing import NDArray
from zarr.storage import FSStore

from octopi.geometry import Grid
from octopi.project.storage import is_local, write_file
from octopi.project.stored_volume import COMPLETE
from octopi.system.files import staged

_CHUNK = (64, 128, 128)
_LEVEL, _BESIDE = "0", "0-new"  # names of the array


def write_volume(
    fs: Any,
    path: str,
    volume: NDArray[Any],
    *,
    grid: Grid,
    attributes: Mapping[str, Any],
) -> None:
    """Write a volume as OME-Zarr of one level, replacing an older store at the path.

    Args:
        fs: the filesystem of the path.
        path: of the store.
        volume: (z, y, x), or (c, z, y, x), of which each channel has chunks of its own.
        grid: of the volume.
        attributes: stored under `octopi` in its `.zattrs`.
    """
    if volume.shape[-3:] != grid.shape:
        raise ValueError(f"A volume of shape {volume.shape} is not on a grid of {grid.shape}.")
    if not is_local(fs):
        _write_remotely(fs, path, volume, grid, attributes)
        return
    metadata = _ome_metadata(_LEVEL, volume.ndim, grid, attributes)
    with staged(Path(path)) as stage:
        _fill(zarr.DirectoryStore(stage, dimension_separator="/"), _LEVEL, volume)
        (stage / ".zattrs").write_bytes(metadata)


def _write_remotely(
    fs: Any, path: str, volume: NDArray[Any], grid: Grid, attributes: Mapping[str, Any]
) -> None:
    """Write a volume where no folder can be renamed at once; see `write_volume`.

    A store is what its metadata say, and those are one file, which is replaced whole. A new array
    is written beside the old one before they name it, then again under the level that all
    programs read: of a writer killed anywhere, the old volume or the new one stays.
    """
    current = _stored_level(fs, path)
    try:
        if current is None:
            _remove(fs, path)
        for level in (_LEVEL,) if current in (None, _BESIDE) else (_BESIDE, _LEVEL):
            metadata = _ome_metadata(level, volume.ndim, grid, attributes)
            _remove(fs, f"{path}/{level}")
            _fill(FSStore(path, fs=fs, dimension_separator="/", exceptions=()), level, volume)
            write_file(fs, f"{path}/.zattrs", metadata)
    except BaseException:
        current = _stored_level(fs, path)  # a write may arrive although it fails
        unfinished = f"/{_LEVEL if current == _BESIDE else _BESIDE}"
        _remove(fs, path if current is None else path + unfinished)
        raise
    _remove_others(fs, path)


def _stored_level(fs: Any, path: str) -> str | None:
    """Return the level that the metadata of a store name; None where they are missing."""
    fs.invalidate_cache()
    try:
        attributes = json.loads(fs.cat_file(f"{path}/.zattrs"))
        return str(attributes["multiscales"][0]["datasets"][0]["path"])
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return None


def _remove_others(fs: Any, path: str) -> None:
    """Remove from a store what does not belong to its only level."""
    fs.invalidate_cache()
    for child in fs.ls(path, detail=False):
        if child.rstrip("/").rpartition("/")[2] not in (_LEVEL, ".zattrs", ".zgroup"):
            _remove(fs, child)


def _remove(fs: Any, path: str) -> None:
    fs.invalidate_cache()
    if fs.exists(path):
        fs.rm(path, recursive=True)
        fs.invalidate_cache()


def _fill(store: Any, level: str, volume: NDArray[Any]) -> None:
    """Write the array; the store is not finished before it has its `.zattrs`."""
    chunks = (1,) * (volume.ndim - 3) + tuple(map(min, _CHUNK, volume.shape[-3:]))
    zarr.group(store).create_dataset(
        level,
        data=volume,
        shape=volume.shape,
        chunks=chunks,
        dtype=volume.dtype,
        compressor=Blosc(cname="zstd", clevel=1, shuffle=Blosc.NOSHUFFLE),
        dimension_separator="/",
        write_empty_chunks=True,  # so that a missing chunk is a damaged one
    )


def _ome_metadata(level: str, ndim: int, grid: Grid, attributes: Mapping[str, Any]) -> bytes:
    """Return the `.zattrs` of a volume; the scale keeps every digit of the grid's spacing."""
    axes = [{"name": name, "type": "space", "unit": "angstrom"} for name in "zyx"]
    channel = [{"name": "c", "type": "channel"}] * (ndim - 3)
    scale = [1.0] * (ndim - 3) + list(grid.spacing)
    steps = [{"type": "scale", "scale": scale}]
    dataset = {"path": level, "coordinateTransformations": steps}
    content = {
        "multiscales": [
            {"version": "0.4", "name": "/", "axes": channel + axes, "datasets": [dataset]}
        ],
        "octopi": dict(attributes),
        COMPLETE: True,
    }
    return json.dumps(content).encode()
