"""Importing large libraries in three quarters of the time."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Nobody looks for garbage in the block, nor later among what it brings.

    Imports leave many objects and next to no garbage. For programs at their start: cycles that are
    garbage already would stay.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
