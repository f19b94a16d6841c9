"""Import copick and open its roots: its logging setup is undone, failed listings raise errors."""

import contextlib
import functools
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fsspec.asyn import AsyncFileSystem


@contextlib.contextmanager
def keep_log_handlers() -> Iterator[None]:
    """Restore the root logger's handlers and level after the block.

    Each copick module calls `basicConfig(force=True)` on import, which would close the log file of
    a job and print to the console in its place.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


with keep_log_handlers():
    import copick
    from copick.models import CopickPicksFile
    from copick.util.ome import UNITFACTOR
    from copick.util.segmentation import parse_segmentation_store_name

__all__ = [
    "UNITFACTOR",
    "CopickPicksFile",
    "keep_log_handlers",
    "open_root",
    "parse_segmentation_store_name",
]


def open_root(path: Path) -> Any:
    """Open the copick root of a config, with the backend that the config names."""
    with keep_log_handlers():  # the backends are imported on the first call
        config = json.loads(path.read_text(encoding="utf-8"))
        if config.get("config_type", "filesystem") != "filesystem":
            return _with_listing_errors(copick.from_file(str(path)))
        # from_file would import the data portal's client too, which takes half a second
        from copick.impl.filesystem import CopickRootFSSpec  # noqa: PLC0415  logging, see above

        return _with_listing_errors(CopickRootFSSpec.from_file(str(path)))


def _with_listing_errors(root: Any) -> Any:
    """Return a root whose filesystems raise what goes wrong while they list a folder.

    fsspec's own `glob`, by which copick lists, takes a folder that it cannot list for an empty one.
    """
    for name in ("fs_overlay", "fs_static"):
        fs = getattr(root, name, None)
        if fs is None:  # the data portal has no folder of static data
            continue
        _raise_listing_errors(fs)
        if hasattr(fs, "_reconnect"):  # copick's wrapper, which makes the one inside again
            fs._reconnect = functools.partial(_reconnect, fs, fs._reconnect)
    return root


def _reconnect(fs: Any, reconnect: Callable[[], None]) -> None:
    reconnect()
    _raise_listing_errors(fs)


def _raise_listing_errors(fs: Any) -> None:
    inner = getattr(fs, "_fs", fs)
    name = "_walk" if isinstance(inner, AsyncFileSystem) else "walk"
    method = getattr(type(inner), name).__get__(inner)
    setattr(inner, name, functools.partial(method, on_error=_raise_unless_absent))


def _raise_unless_absent(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
