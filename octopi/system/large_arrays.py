"""Arrays that may be larger than the memory: those live in a temporary file."""

import math
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from octopi.errors import ResourceError
from octopi.system import resources

MAX_SHARE = 1 / 8  # of the free memory that one array may take; a larger one lives in a file
SLAB_VOXELS = 1 << 27  # worked on at once where a step needs copies


def allocate(shape: Sequence[int], dtype: DTypeLike, *, purpose: str) -> NDArray[Any]:
    """Make an array with undefined values, of a large one in a file that ends with the array.

    The file is in the folder of `TMPDIR`. The operating system keeps of it in memory what fits.

    Args:
        shape: of the array.
        dtype: of the array.
        purpose: what it is for, as the beginning of an error.

    Raises:
        ResourceError: the file does not fit on the disk.
    """
    num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    free = resources.memory()
    if num_bytes <= MAX_SHARE * free:
        return np.empty(tuple(shape), dtype)
    folder = tempfile.gettempdir()
    on_disk = resources.free_space(folder)
    if num_bytes > on_disk:
        raise ResourceError(
            f"{purpose} needs {resources.format_bytes(num_bytes)} for {list(shape)} values, of "
            f"which {resources.format_bytes(free)} of memory are free, and "
            f"{resources.format_bytes(on_disk)} in {folder}. Set TMPDIR to a folder with room."
        )
    with tempfile.TemporaryFile(dir=folder, prefix="octopi-") as file:
        return np.memmap(file, dtype, mode="w+", shape=tuple(shape))


def slabs(shape: Sequence[int]) -> list[slice]:
    """Divide the first axis of an array into parts of at most `SLAB_VOXELS` values, or a layer."""
    layers = max(1, SLAB_VOXELS * shape[0] // math.prod(shape))
    return [slice(start, start + layers) for start in range(0, shape[0], layers)]
