"""Write volumes as OME-Zarr: one level, every chunk, metadata last."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import zarr
from numcodecs import Blosc
from numpy.typing import NDArray

from octopi.geometry import Grid
from octopi.project.storage import can_rename, filesystem_inside, is_local, read_file, write_file
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
        _fill(zarr.DirectoryStore(stage, dimension_separator="/"), volume)
        (stage / ".zattrs").write_bytes(metadata)


def _write_remotely(
    fs: Any, path: str, volume: NDArray[Any], grid: Grid, attributes: Mapping[str, Any]
) -> None:
    """Write a volume where no folder can be renamed at once; see `write_volume`.

    A store is what its metadata say, and those are one file, which is replaced whole. A new array
    is written beside the old one before they name it, then again under the level that all
    programs read: of a writer killed anywhere, the old volume or the new one stays.
    """
    current, old_files = _stored_level(fs, path), _files_below(fs, path)
    files: dict[str, bytes] = {}
    _fill(files, volume)
    try:
        if current is None:
            _remove(fs, path, old_files)
        for level in (_LEVEL,) if current in (None, _BESIDE) else (_BESIDE, _LEVEL):
            if current is not None:
                _remove(fs, f"{path}/{level}", old_files)
            of_level = {re.sub(f"^{_LEVEL}/", f"{level}/", name): files[name] for name in files}
            _upload(fs, {f"{path}/{name}": content for name, content in of_level.items()})
            old_files += [f"{path}/{name}" for name in of_level]
            write_file(fs, f"{path}/.zattrs", _ome_metadata(level, volume.ndim, grid, attributes))
    except BaseException:
        current = _stored_level(fs, path)  # a write may arrive although it fails
        unfinished = f"/{_LEVEL if current == _BESIDE else _BESIDE}" if current else ""
        _remove(fs, path + unfinished, _files_below(fs, path))
        raise
    children = {file.removeprefix(f"{path}/").partition("/")[0] for file in old_files}
    for child in children - {_LEVEL, ".zattrs", ".zgroup"}:
        _remove(fs, f"{path}/{child}", old_files)


def _stored_level(fs: Any, path: str) -> str | None:
    """Return the level that the metadata of a store name; None where they are missing."""
    try:
        attributes = json.loads(read_file(fs, f"{path}/.zattrs"))
        return str(attributes["multiscales"][0]["datasets"][0]["path"])
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return None


def _files_below(fs: Any, path: str) -> list[str]:
    """List the files of a store."""
    fs.invalidate_cache(path)
    if can_rename(filesystem_inside(fs)):
        return list(fs.find(path))
    folder, _, name = path.rpartition("/")  # one request, even if there is nothing
    files = fs.find(folder, prefix=f"{name}/")
    return [file for file in files if file.startswith(f"{path}/")]


def _remove(fs: Any, path: str, files: Sequence[str]) -> None:
    """Remove those of the files that are a path or below it."""
    removed = [file for file in files if file == path or file.startswith(f"{path}/")]
    if can_rename(filesystem_inside(fs)):
        if removed and fs.exists(path):
            fs.rm(path, recursive=True)  # with its folders
    elif removed:
        fs.rm(removed)
    fs.invalidate_cache(path)


def _upload(fs: Any, files: Mapping[str, bytes]) -> None:
    """Write files; an object store takes many at once."""
    if can_rename(filesystem_inside(fs)):
        for folder in sorted({path.rpartition("/")[0] for path in files}):
            fs.makedirs(folder, exist_ok=True)
        fs.pipe(dict(files))
    else:
        filesystem_inside(fs).pipe(dict(files))


def _fill(store: Any, volume: NDArray[Any]) -> None:
    """Write the array; the store is not finished before it has its `.zattrs`."""
    chunks = (1,) * (volume.ndim - 3) + tuple(map(min, _CHUNK, volume.shape[-3:]))
    try:
        zarr.group(store).create_dataset(
            _LEVEL,
            data=volume,
            shape=volume.shape,
            chunks=chunks,
            dtype=volume.dtype,
            compressor=Blosc(cname="zstd", clevel=1, shuffle=Blosc.NOSHUFFLE),
            dimension_separator="/",
            write_empty_chunks=True,  # so that a missing chunk is a damaged one
        )
    except KeyError as error:
        hidden = error.__cause__  # by zarr: why a folder cannot be made
        if not isinstance(hidden, OSError):
            raise
    else:
        return
    raise hidden  # out of the block, where it would have the KeyError for a context


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
