"""Sliding windows, and the part of each whose output is kept."""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any


@dataclass(frozen=True)
class Window:
    """A window and the part of its output that is kept.

    Args:
        input_region: the window; its end may lie beyond that of a shorter volume.
        valid_region: the part that is kept, counted from the window's corner.
        output_region: the same part in the volume.
    """

    input_region: tuple[slice, ...]
    valid_region: tuple[slice, ...]
    output_region: tuple[slice, ...]


def fit_window(
    shape: Sequence[int],
    window_size: Sequence[int] | None,
    *,
    divisor: int,
    halo: Sequence[int],
) -> list[int]:
    """Return the size of the windows for a volume; along a shorter axis they reach beyond its end.

    Of the windows with no more voxels than `window_size`, and edges of half to twice of its, these
    are the ones of which the fewest voxels cover the volume.

    Args:
        shape: of the volume, voxels z y x.
        window_size: voxels z y x; None = the whole volume in one window.
        divisor: voxels of which every edge of a window must be a multiple.
        halo: voxels z y x that are discarded at inner borders.
    """
    if window_size is None:
        return [-(-n // divisor) * divisor for n in shape]
    return list(_best_size(tuple(shape), tuple(window_size), divisor, tuple(halo)))


def num_windows(
    shape: Sequence[int],
    window_size: Sequence[int] | None,
    *,
    divisor: int,
    halo: Sequence[int],
) -> tuple[int, list[int]]:
    """Return how many windows cover a volume, and their size; arguments as in `fit_window`."""
    size = fit_window(shape, window_size, divisor=divisor, halo=halo)
    return sum(1 for _ in windows(shape, size, halo=halo)), size


@functools.cache
def _best_size(
    shape: tuple[int, ...], limit: tuple[int, ...], divisor: int, halo: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the size of the windows that cover a volume best, see `fit_window`."""
    axes = zip(shape, limit, halo, strict=True)
    options = [_edges(length, edge, h, divisor) for length, edge, h in axes]
    sizes = [size for size in product(*options) if math.prod(size) <= math.prod(limit)]

    def computed_voxels(size: tuple[int, ...]) -> tuple[int, int]:
        """Count the voxels of all windows; of equal numbers larger windows are better."""
        counts = map(_count, shape, size, halo)
        return math.prod(counts) * math.prod(size), -math.prod(size)

    return min(sizes, key=computed_voxels)


def _edges(length: int, limit: int, halo: int, divisor: int) -> set[int]:
    """Return the edges of windows to choose from, each the shortest of which as many suffice."""
    shortest = max(limit // 2, 2 * halo + 1)
    lengths = {limit, *range(-(-shortest // divisor) * divisor, 2 * limit + 1, divisor)}
    return {_shortest_window(length, n, halo, divisor) for n in lengths}


def _shortest_window(length: int, size: int, halo: int, divisor: int) -> int:
    """Return the shortest legal window of which as few cover the length as of this size."""
    padded = -(-length // divisor) * divisor
    count = _count(length, min(size, padded), halo)
    needed = length if count == 1 else 2 * halo + -(-(length - 2 * halo) // count)
    return min(size, padded, -(-needed // divisor) * divisor)


def windows(shape: Sequence[int], size: Sequence[int], *, halo: Sequence[int]) -> Iterator[Window]:
    """Yield windows whose kept parts cover each voxel of a volume once.

    A border of `halo` voxels is discarded where windows meet inside the volume, not at the volume's
    own border, beyond which there is nothing more to predict from.

    Args:
        shape: of the volume, voxels z y x.
        size: of a window, voxels z y x.
        halo: voxels z y x.
    """
    axes = [_axis(n, w, h) for n, w, h in zip(shape, size, halo, strict=True)]
    for along_axes in product(*axes):
        yield Window(*zip(*along_axes, strict=True))


def _axis(length: int, size: int, halo: int) -> list[tuple[slice, slice, slice]]:
    """Return the regions of every window along one axis, in the order of `Window`."""
    count = _count(length, size, halo)
    starts = [round(i * (length - size) / (count - 1)) for i in range(count)] if count > 1 else [0]
    borders = [(a + size + b) // 2 for a, b in pairwise(starts)]
    return [
        (slice(start, start + size), slice(low - start, high - start), slice(low, high))
        for start, (low, high) in zip(starts, pairwise([0, *borders, length]), strict=True)
    ]


def _count(length: int, size: int, halo: int) -> int:
    """Count the windows that cover a length when each loses its halo at inner borders."""
    return 1 if length <= size else -(-(length - 2 * halo) // (size - 2 * halo))


def take(volume: Any, box: Sequence[slice]) -> Any:
    """Take a box of the last three axes of an array or tensor."""
    return volume[(..., *box)]
