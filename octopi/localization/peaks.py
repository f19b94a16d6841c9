"""Picks as the summits of a smoothed score map: the default way from scores to particles."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from octopi.geometry import Grid, Points
from octopi.localization.channels import Channel, Localizer, lowest_stored
from octopi.localization.summits import (
    Box,
    grown,
    merge_plateaus,
    thin,
    tiles,
    tops,
    within,
)

_TRUNCATE = 3.0  # sigmas; where the smoothing kernel ends
_REFINEMENTS = 3  # steps; the centroid moves less than a tenth of a voxel in the third
_ROUNDING = 1e-5  # of scores in float32
_GATHERED = 2**18  # voxels held at once while centroids are taken

Kernel = NDArray[np.float64]  # weights, as many on either side of the middle; their sum is 1
Tops = tuple[NDArray[np.intp], NDArray[np.float32]]


class Peaks(Localizer):
    """Finds each object's summits on its smoothed channel, the stronger one where two are close.

    A summit's score is the smoothed score there, over the part of the kernel inside the volume,
    so that a particle at the border is not worth less. A flat top is one summit, at its middle.

    Args:
        separation: least distance of two picks of an object, parts of its radius.
        smoothing: sigma of the Gaussian on the object's channel, parts of its radius; 0 is none.
        min_score: summits below are not returned.
        refine: reach of the score-weighted centroid around a summit, parts of the object's
            radius; 0 leaves picks on voxels.
        exclusion: a pick closer than this to a stronger one of another object is dropped, parts
            of the larger radius; 0 is never.
    """

    def __init__(
        self,
        *,
        separation: float,
        smoothing: float,
        min_score: float,
        refine: float,
        exclusion: float,
    ) -> None:
        lengths = {"smoothing": smoothing, "refine": refine, "exclusion": exclusion}
        for key, value in lengths.items():
            if not 0 <= value < np.inf:
                raise ValueError(f"{key} must be 0 or more, not {value}.")
        if not 0 < separation < np.inf:
            raise ValueError(f"separation must be above 0, not {separation}.")
        if not 0 < min_score <= 1:
            raise ValueError(f"min_score must be above 0 and at most 1, not {min_score}.")
        self.separation = separation
        self.smoothing = smoothing
        self.min_score = min_score
        self.refine = refine
        self.exclusion = exclusion
        self.find_tops: Callable[[NDArray, Sequence[Kernel], float], Tops] = find_tops

    def __call__(
        self,
        scores: NDArray,
        *,
        grid: Grid,
        radii: Mapping[str, float],
        floors: Mapping[str, float] | None = None,
    ) -> dict[str, Points]:
        """Every object's candidates in Å, best first, each with its score; see `Localizer`."""
        if self.exclusion and floors:  # one below its own floor may be the stronger neighbour
            floors = dict.fromkeys(radii, min(floors.get(name, 0.0) for name in radii))
        found = super().__call__(scores, grid=grid, radii=radii, floors=floors)
        return self._exclude(found, radii) if self.exclusion else found

    def _find(self, channel: Channel) -> Points:
        """One object's picks, best first."""
        kernels = [_gaussian(sigma) for sigma in channel.in_voxels(self.smoothing)]
        # a weaker summit never takes anything from a stronger one: none below the floor is needed
        lowest = max(self.min_score, channel.floor * (1 - _ROUNDING))
        found = self.find_tops(channel.values, kernels, lowest * channel.one)
        voxels, heights = merge_plateaus(*found, channel.grid.shape)
        scores = np.minimum(heights / np.float32(channel.one), np.float32(1))
        order = np.lexsort((*voxels.T[::-1], -scores))
        found = Points(channel.grid.to_angstrom(voxels[order]), scores[order])
        found = self._thin(found, channel.radius)
        if not self.refine or not len(found):
            return found
        reach = channel.in_voxels(self.refine)
        voxels = _centroids(channel.values, channel.grid.to_voxels(found.positions), reach)
        refined = Points(channel.grid.to_angstrom(voxels), found.scores)
        return self._thin(refined, channel.radius)  # two centroids may have met

    def _thin(self, points: Points, radius: float) -> Points:
        reach = np.full(len(points), self.separation * radius)
        return points[thin(points.positions, reach)]

    def _exclude(self, found: dict[str, Points], radii: Mapping[str, float]) -> dict[str, Points]:
        """The picks without those too close to a stronger pick of another object."""
        owner = np.repeat(np.arange(len(found)), [len(points) for points in found.values()])
        positions = np.concatenate([points.positions for points in found.values()])
        scores = np.concatenate([_scores(points) for points in found.values()])
        order = np.argsort(-scores, kind="stable")
        reach = self.exclusion * np.array([radii[name] for name in found])[owner]
        kept = np.zeros(len(order), dtype=bool)
        kept[order[thin(positions[order], reach[order], owner[order])]] = True
        return {name: points[kept[owner == i]] for i, (name, points) in enumerate(found.items())}


def _scores(points: Points) -> NDArray[np.float32]:
    assert points.scores is not None, "Peaks scores every pick."
    return points.scores


def find_tops(values: NDArray, kernels: Sequence[Kernel], least: float) -> Tops:
    """The voxels (n, 3) that no neighbour exceeds after smoothing, and how high they are.

    Args:
        values: (z, y, x) of a channel; heights are in their unit.
        kernels: that smooth along z, y, x.
        least: height that tops have.
    """
    halo = [len(kernel) // 2 for kernel in kernels]
    weights = [
        _blur(np.ones(n, np.float32), k, 0) for n, k in zip(values.shape, kernels, strict=True)
    ]
    none: tuple[NDArray, NDArray] = np.zeros((0, 3), np.intp), np.zeros(0, np.float32)
    found = [none]
    for box in _busy_boxes(values, lowest_stored(values, least), halo):
        around = grown(box, (1, 1, 1), values.shape)
        field = _smoothed(values, around, kernels, halo)
        inner = within(box, around)
        z, y, x = (w[s] for w, s in zip(weights, box, strict=True))
        height = field[inner] / (z[:, None, None] * y[:, None] * x)
        allowed = np.zeros(field.shape, dtype=bool)
        allowed[inner] = height >= np.float32(least)
        at = tops(field, allowed)
        corner = [s.start for s in around]
        found.append((at + corner, height[tuple((at + corner - [s.start for s in box]).T)]))
    voxels, heights = zip(*found, strict=True)
    return np.concatenate(voxels), np.concatenate(heights)


def _busy_boxes(values: NDArray, level: float, halo: list[int]) -> Iterator[Box]:
    """Disjoint boxes with all voxels whose smoothed value can reach the level.

    A weighted mean reaches it only where some voxel under the kernel does.
    """
    for tile in tiles(values.shape):
        around = grown(tile, halo, values.shape)
        busy = values[around] >= level
        if busy.any():
            plane = np.any(busy, axis=0)
            found = (
                np.any(busy.reshape(len(busy), -1), axis=1),
                *(np.any(plane, a) for a in (1, 0)),
            )
            z, y, x = map(_reached, found, around, tile, halo)
            yield z, y, x


def _reached(busy: NDArray[np.bool_], outer: slice, inner: slice, reach: int) -> slice:
    """The part of `inner` within reach of the first to the last busy place of `outer`."""
    first, last = outer.start + np.flatnonzero(busy)[[0, -1]]
    return slice(max(int(first) - reach, inner.start), min(int(last) + reach + 1, inner.stop))


def _smoothed(
    values: NDArray, box: Box, kernels: Sequence[Kernel], halo: list[int]
) -> NDArray[np.float32]:
    """The box of the volume after smoothing, with zeros beyond the volume's edges."""
    wide = grown(box, halo, values.shape)
    out = values[wide].astype(np.float32)
    for axis, part in enumerate(within(box, wide)):
        out = _blur(out, kernels[axis], axis)[(slice(None),) * axis + (part,)]
    return out


def _gaussian(sigma: float) -> Kernel:
    """The kernel of a Gaussian; a single 1 where that smooths nothing."""
    reach = int(_TRUNCATE * sigma + 0.5)
    if not reach:
        return np.ones(1)
    weights = np.exp(-0.5 / (sigma * sigma) * np.arange(-reach, reach + 1) ** 2)
    return weights / weights.sum()


def _blur(values: NDArray[np.float32], kernel: Kernel, axis: int) -> NDArray[np.float32]:
    if len(kernel) == 1:
        return values
    out = np.empty_like(values)
    correlate1d(values, kernel, axis, output=out, mode="constant")
    return out


def _centroids(
    values: NDArray, voxels: NDArray[np.float64], reach: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Voxel coordinates moved to the score-weighted centroid of what lies within `reach` voxels.

    The weight falls off smoothly, and beside an edge of the volume only as much is looked at on
    the inner side as there is on the outer, so that no pick drifts inwards.
    """
    width = np.minimum(2 * np.ceil(reach + 0.5).astype(int) + 1, values.shape)
    boxes = sliding_window_view(values, tuple(width))
    chunk = max(1, _GATHERED // int(np.prod(width)))
    out = voxels.copy()
    for start in range(0, len(out), chunk):
        part = slice(start, start + chunk)
        for _ in range(_REFINEMENTS):
            out[part] += _shift(boxes, out[part], reach)
    return out


def _shift(
    boxes: NDArray, voxels: NDArray[np.float64], reach: NDArray[np.float64]
) -> NDArray[np.float64]:
    """From each location, the way (voxels) to the centroid of what lies within reach of it.

    Args:
        boxes: of the volume (z, y, x, ...), one at each place where it begins.
        voxels: (n, 3), the locations.
        reach: voxels along z, y, x.
    """
    starts, away, far = [], [], []
    for axis, at in enumerate(voxels.T):
        width, last = boxes.shape[3 + axis], boxes.shape[axis] - 1
        start = np.clip(np.rint(at).astype(np.intp) - width // 2, 0, last)
        step = start[:, None] + np.arange(width) - at[:, None]
        balanced = np.abs(step) <= np.minimum(at, last + width - 1 - at)[:, None] + 0.5
        starts.append(start)
        away.append(step)
        far.append(np.where(balanced, (step / reach[axis]) ** 2, 1).astype(np.float32))
    z, y, x = far
    weight = z[:, :, None, None] + y[:, None, :, None] + x[:, None, None, :]
    np.maximum(np.subtract(1, weight, out=weight), 0, out=weight)
    weight *= boxes[tuple(starts)]
    column = weight.sum(axis=1)
    shares = weight.sum(axis=(2, 3)), column.sum(axis=2), column.sum(axis=1)
    total = shares[0].sum(axis=1)
    moved = np.stack([(w * d).sum(axis=1) for w, d in zip(shares, away, strict=True)], axis=1)
    return moved / np.where(total > 0, total, 1)[:, None]
