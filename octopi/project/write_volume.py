"""Write volumes as OME-Zarr: one level, every chunk, metadata last."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zarr
from fsspec import AbstractFileSystem
from numcodecs import Blosc
from numpy.typing import NDArray
from zarr.storage import FSStore

from octopi.geometry import Grid
from octopi.project.storage import is_local
from octopi.project.stored_volume import COMPLETE
from octopi.system.files import staged

_CHUNK = (64, 128, 128)


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
    metadata = json.dumps(_ome_metadata(volume.ndim, grid, attributes)).encode()
    if is_local(fs):
        with staged(Path(path)) as stage:
            _fill(zarr.DirectoryStore(stage, dimension_separator="/"), volume)
            (stage / ".zattrs").write_bytes(metadata)
        return
    # Where there are no folders, none can be renamed at once: the metadata without which a store
    # does not count are removed first and written last. Of a killed writer the next one, which
    # uses the same name, removes what it left.
    stage = f"{path}.partial"
    try:
        _remove(fs, stage)
        _fill(FSStore(stage, fs=fs, dimension_separator="/", exceptions=()), volume)
        if fs.exists(f"{path}/.zattrs"):
            fs.rm_file(f"{path}/.zattrs")
        _remove(fs, path)
        backend = getattr(fs, "_fs", fs)
        if hasattr(backend, "_mv") or type(backend).mv is not AbstractFileSystem.mv:
            backend.mv(stage, path)
        else:  # it copies, and raises for the folders that S3 does not have
            backend.copy(stage, path, recursive=True)
        fs.pipe_file(f"{path}/.zattrs", metadata)
    finally:
        _remove(fs, stage)


def _remove(fs: Any, path: str) -> None:
    fs.invalidate_cache()
    if fs.exists(path):
        fs.rm(path, recursive=True)
        fs.invalidate_cache()


def _fill(store: Any, volume: NDArray[Any]) -> None:
    """Write the array; the store is not finished before it has its `.zattrs`."""
    chunks = (1,) * (volume.ndim - 3) + tuple(map(min, _CHUNK, volume.shape[-3:]))
    zarr.group(store).create_dataset(
        "0",
        data=volume,
        shape=volume.shape,
        chunks=chunks,
        dtype=volume.dtype,
        compressor=Blosc(cname="zstd", clevel=1, shuffle=Blosc.NOSHUFFLE),
        dimension_separator="/",
        write_empty_chunks=True,  # so that a missing chunk is a damaged one
    )


def _ome_metadata(ndim: int, grid: Grid, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `.zattrs` of a volume; the scale keeps every digit of the grid's spacing."""
    axes = [{"name": name, "type": "space", "unit": "angstrom"} for name in "zyx"]
    channel = [{"name": "c", "type": "channel"}] * (ndim - 3)
    scale = [1.0] * (ndim - 3) + list(grid.spacing)
    steps = [{"type": "scale", "scale": scale}]
    dataset = {"path": "0", "coordinateTransformations": steps}
    return {
        "multiscales": [
            {"version": "0.4", "name": "/", "axes": channel + axes, "datasets": [dataset]}
        ],
        "octopi": dict(attributes),
        COMPLETE: True,
    }
