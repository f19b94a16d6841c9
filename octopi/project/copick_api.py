"""Import copick without letting it change the logging setup."""

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any


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
    from copick.models import CopickLocation, CopickPicksFile, CopickPoint
    from copick.util.ome import UNITFACTOR
    from copick.util.segmentation import parse_segmentation_store_name

__all__ = [
    "UNITFACTOR",
    "CopickLocation",
    "CopickPicksFile",
    "CopickPoint",
    "keep_log_handlers",
    "open_root",
    "parse_segmentation_store_name",
]


def open_root(path: Path) -> Any:
    """Open the copick root of a config, with the backend that the config names."""
    with keep_log_handlers():  # the backends are imported on the first call
        config = json.loads(path.read_text(encoding="utf-8"))
        if config.get("config_type", "filesystem") != "filesystem":
            return copick.from_file(str(path))
        # from_file would import the data portal's client too, which takes half a second
        from copick.impl.filesystem import CopickRootFSSpec  # noqa: PLC0415  logging, see above

        return CopickRootFSSpec.from_file(str(path))
