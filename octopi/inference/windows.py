"""Which windows of a volume a network looks at, and which part of each it is believed in."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any


@dataclass(frozen=True)
class Window:
    """A cut of the (padded) volume and, inside it, the part that goes to the score map."""

    look: tuple[slice, slice, slice]
    inner: tuple[slice, slice, slice]
    target: tuple[slice, slice, slice]


def padded_shape(
    shape: Sequence[int],
    window_size: Sequence[int] | None,
    *,
    divisor: int,
    halo: Sequence[int],
) -> tuple[list[int], list[int]]:
    """The shape a volume must be padded to, and the window that then fits it.

    A window longer than the volume shrinks to the next multiple of `divisor`, a shorter one as far
    as no more of them are needed; None = the whole volume in one window.
    """
    whole = [-(-n // divisor) * divisor for n in shape]
    fits = zip(shape, window_size or whole, whole, halo, strict=True)
    size = [_shrunk(length, min(n, w), h, divisor) for length, n, w, h in fits]
    return [max(n, w) for n, w in zip(shape, size, strict=True)], size


def num_windows(
    shape: Sequence[int],
    window_size: Sequence[int] | None,
    *,
    divisor: int,
    halo: Sequence[int],
) -> tuple[int, list[int]]:
    """How many windows it takes to see a volume once, and their size."""
    _, size = padded_shape(shape, window_size, divisor=divisor, halo=halo)
    return sum(1 for _ in windows(shape, size, halo=halo)), size


def _shrunk(length: int, size: int, halo: int, divisor: int) -> int:
    """The shortest legal window of which no more tile the length than of this size."""
    count = _count(length, size, halo)
    needed = 2 * halo + -(-(length - 2 * halo) // count)
    return min(size, -(-needed // divisor) * divisor)


def windows(shape: Sequence[int], size: Sequence[int], *, halo: Sequence[int]) -> Iterator[Window]:
    """Windows that tile a volume: every voxel is believed once, `halo` voxels from any cut.

    Only cuts inside the volume need a halo: at the border there is nothing more to see.
    """
    axes = [_axis(n, w, h) for n, w, h in zip(shape, size, halo, strict=True)]
    for z, y, x in product(*axes):
        cuts = (z, y, x)
        yield Window(
            look=_three(slice(start, start + length) for start, length, _, _ in cuts),
            inner=_three(slice(low - start, high - start) for start, _, low, high in cuts),
            target=_three(slice(low, high) for _, _, low, high in cuts),
        )


def _three(slices: Iterator[slice]) -> tuple[slice, slice, slice]:
    z, y, x = slices
    return z, y, x


def _axis(length: int, size: int, halo: int) -> list[tuple[int, int, int, int]]:
    """(start, size, low, high) of every window along one axis; low..high is believed."""
    if length <= size:
        return [(0, size, 0, length)]
    count = _count(length, size, halo)
    starts = [round(i * (length - size) / (count - 1)) for i in range(count)]
    seams = [(a + size + b) // 2 for a, b in pairwise(starts)]
    inner = pairwise([0, *seams, length])
    return [(start, size, low, high) for start, (low, high) in zip(starts, inner, strict=True)]


def _count(length: int, size: int, halo: int) -> int:
    """How many windows tile a length; each is believed but for its halo at inner cuts."""
    return 1 if length <= size else -(-(length - 2 * halo) // (size - 2 * halo))


def crop(volume: Any, cut: Sequence[slice]) -> Any:
    """The part of an array's or tensor's last three axes that a cut names."""
    return volume[(..., *cut)]
