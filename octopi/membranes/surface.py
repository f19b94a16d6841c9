"""The surface of a mask, as it is between the voxels: how far points are from it, and its normals.

A mask is a staircase. Around any point its average, weighted by a Gaussian, is smooth: it is one
half where a flat surface lies, and its gradient is the surface's normal. The nearest place of the
surface is found with these two, starting from the nearest step of the staircase.
"""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray
from scipy.spatial import KDTree

from octopi.geometry import Grid

Vectors = NDArray[np.float64]  # (n, 3), Å, z y x as in the mask

_REACH = 3.0  # widths of the Gaussian to where it is taken for zero
_NUM_STEPS = 8  # on the surface towards the nearest place, at most; a sphere needs three
_STRIDE = 2.0  # voxels, the longest of these steps
_CLOSE = 0.1  # voxels along the surface from the nearest place that are near enough
_BATCH = 512  # points averaged around at once
# Of the largest average inside a sheet, the part that marks its surface where it is too thin to
# reach one half: right for one voxel, and above one half for two and more.
_THIN = 0.8
_NARROWEST = 1.5  # voxels, the least width of the Gaussian for normals


@dataclass(frozen=True)
class Places:
    """Where points are by a surface.

    Args:
        distances: (n,) in Å to the nearest place of the surface, negative inside.
        normals: (n, 3) of the surface there, outward, unit length, x y z.
        labels: (n,) of the mask there.
    """

    distances: NDArray[np.float64]
    normals: NDArray[np.float64]
    labels: NDArray[np.int64]


class Surface:
    """The border between what a mask holds and what it does not.

    The border of the volume is not part of it: what is cut off there is not known to end there.

    Args:
        mask: (z, y, x), 0 = outside; labels tell parts that touch apart, as organelles.
        grid: of the mask.
        smoothing: Å, the width of the Gaussian for normals; at least 1.5 voxels, and at most half
            the mask's thickness. Four voxels know normals within a degree; where the surface bends
            within twice that, less is more exact.
    """

    def __init__(self, mask: NDArray, grid: Grid, *, smoothing: float) -> None:
        if mask.shape != grid.shape:
            raise ValueError(f"A mask of shape {mask.shape} is not on a grid of {grid.shape}.")
        if not 0 <= smoothing < np.inf:
            raise ValueError(f"smoothing must be 0 Å or more, not {smoothing}.")
        self._spacing = np.asarray(grid.spacing)
        self._voxel = float(self._spacing.max())
        self._smoothing = max(smoothing, _NARROWEST * self._voxel)
        self._mask = mask != 0
        steps, held = _steps(self._mask)
        self._labels = mask[tuple(held.T)]
        self._steps = steps * self._spacing
        self._tree = KDTree(self._steps)

    def places(self, positions: NDArray[np.float64]) -> Places:
        """Where positions (n, 3), Å, x y z, are by the surface.

        Of a mask that is empty, or full, all are infinitely far outside, or inside.
        """
        points = np.asarray(positions, dtype=np.float64).reshape(-1, 3)[:, ::-1]
        if not len(self._steps):
            far = np.full(len(points), -np.inf if self._mask.any() else np.inf)
            return Places(far, np.zeros_like(points), np.zeros(len(points), dtype=np.int64))
        parts: list[list[NDArray]] = [[np.zeros(0), np.zeros((0, 3)), np.zeros(0, dtype=np.int64)]]
        for start in range(0, len(points), _BATCH):
            parts.append(self._nearest(points[start : start + _BATCH]))
        distances, normals, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Places(distances, normals[:, ::-1], labels)

    def _nearest(self, points: Vectors) -> list[NDArray]:
        """Distances, normals (z y x) and labels of some points."""
        reach, index = self._tree.query(points)
        start = self._steps[index]
        place, normal = self._settled(start)
        # Where nothing better is found it is the step itself, seen from the point.
        outward = np.where(self._holds(points), -1.0, 1.0)[:, None]
        best = start, outward * (points - start) / np.maximum(reach, 1e-12)[:, None]
        least = np.full(len(points), np.inf)
        share = np.full((len(points), 1), 0.5)
        before = np.zeros_like(place), np.zeros_like(place)
        for number in range(_NUM_STEPS):
            offset = points - place
            along = offset - _dot(offset, normal) * normal  # 0 at the nearest place
            rest = np.linalg.norm(along, axis=1)
            known = np.abs(np.linalg.norm(offset, axis=1) - reach) <= self._voxel
            known &= np.linalg.norm(normal, axis=1) > 0.5
            better = (known & (rest < least))[:, None]
            best = np.where(better, place, best[0]), np.where(better, normal, best[1])
            least = np.where(better[:, 0], rest, least)
            if least.max(initial=0) < _CLOSE * self._voxel:
                break
            if number:  # how much of the way to go: all where the surface is flat, as last told
                share = _share(place - before[0], before[1] - along, share)
            before = place, along
            place, normal = self._settled(place + _short(share * along, self._voxel))
        # At a rim, where the surface ends, the way to a point does not go along the normal.
        offset = points - best[0]
        straight = _dot(offset, best[1])[:, 0]
        slanted = outward[:, 0] * np.linalg.norm(offset, axis=1)
        distances = np.where(least <= self._voxel, straight, slanted)
        return [distances, best[1], self._labels[index].astype(np.int64)]

    def _settled(self, places: Vectors) -> tuple[Vectors, Vectors]:
        """The places moved along the normal onto the surface, and the normals there."""
        narrow = np.full((len(places), 1), self._voxel)
        normal = self._normals(places, _NARROWEST * narrow)
        # A sheet's two faces look apart, and an average over both would tell neither's normal.
        half_thickness = 0.5 * self._thickness(places, normal)
        width = np.clip(half_thickness, _NARROWEST * self._voxel, self._smoothing)
        normal = self._normals(places, width)
        depths = np.linspace(0, 1.5, 4) * self._voxel
        inside = [self._average(places - depth * normal, narrow)[0] for depth in depths]
        level = np.minimum(0.5, _THIN * np.max(inside, axis=0))
        for _ in range(3):
            value, gradient = self._average(places, narrow)
            slope = np.maximum(-_dot(gradient, normal)[:, 0], 0.1 / self._voxel)
            step = np.clip((value - level) / slope, -self._voxel, self._voxel)
            places = places + step[:, None] * normal
        return places, self._normals(places, width)

    def _thickness(self, places: Vectors, normal: Vectors) -> NDArray[np.float64]:
        """How far (n, 1) the mask goes on inward from places, as far as it matters."""
        depths = np.arange(0.5, 2 * self._smoothing / self._voxel + 1, 0.5) * self._voxel
        line = places[:, None] - depths[:, None] * normal[:, None]
        held = self._holds(line)
        held[:, 0] = True  # the place itself may be half a voxel off
        ends = np.where(held.all(axis=1), len(depths) - 1, np.argmin(held, axis=1))
        return depths[ends][:, None]

    def _holds(self, places: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether the nearest voxels of places (…, 3) are in the mask."""
        nearest = np.rint(places / self._spacing).astype(int)
        z, y, x = np.moveaxis(np.clip(nearest, 0, np.array(self._mask.shape) - 1), -1, 0)
        return self._mask[z, y, x]

    def _normals(self, places: Vectors, width: NDArray[np.float64]) -> Vectors:
        gradient = self._average(places, width)[1]
        return -gradient / np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-12)

    def _average(
        self, places: Vectors, width: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], Vectors]:
        """The mask's average around places, weighted by a Gaussian, and its gradient (1/Å).

        Args:
            places: (n, 3).
            width: (n, 1) of the Gaussian, Å.
        """
        half = np.ceil(_REACH * width.max(initial=0) / self._spacing).astype(int)
        nearest = np.rint(places / self._spacing).astype(int)
        indices, weights, slopes = [], [], []
        for axis in range(3):
            index = nearest[:, axis, None] + np.arange(-half[axis], half[axis] + 1)
            away = index * self._spacing[axis] - places[:, axis, None]
            weight = np.exp(-0.5 * (away / width) ** 2)
            weight /= weight.sum(axis=1, keepdims=True)
            indices.append(np.clip(index, 0, self._mask.shape[axis] - 1))  # goes on beyond the rim
            weights.append(weight)
            slopes.append(weight * away / width**2)
        z, y, x = indices
        held = self._mask[z[:, :, None, None], y[:, None, :, None], x[:, None, None, :]]
        flat = [np.einsum("nzyx,nx->nzy", held, w) for w in (weights[2], slopes[2])]
        sheet = [np.einsum("nzy,ny->nz", flat[0], w) for w in (weights[1], slopes[1])]
        across = np.einsum("nzy,ny->nz", flat[1], weights[1])
        value = np.einsum("nz,nz->n", sheet[0], weights[0])
        gradient = [
            np.einsum("nz,nz->n", sheet[0], slopes[0]),
            np.einsum("nz,nz->n", sheet[1], weights[0]),
            np.einsum("nz,nz->n", across, weights[0]),
        ]
        return value, np.stack(gradient, axis=1)


def filled(mask: NDArray) -> NDArray:
    """The mask with what it encloses: every part of the background but the largest.

    A part is enclosed too if the volume's rim closes it, as of a vesicle that is cut off there. It
    gets the label of what lies nearest.
    """
    parts, number = scipy.ndimage.label(mask == 0)  # pyright: ignore[reportGeneralTypeIssues]
    if number < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    holes = (parts > 0) & (parts != sizes.argmax())
    voxels = np.argwhere(mask)
    _, index = KDTree(voxels).query(np.argwhere(holes))
    out = mask.copy()
    out[holes] = mask[tuple(voxels[index].T)]
    return out


def turned_to(normals: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shortest rotations (n, 3, 3) that turn the z axis to the normals (n, 3), all x y z.

    So the object's z axis, the third column, lies along the normal; the turn around it is not
    known, and 0. Opposite to z, x stays and y is turned over.
    """
    x, y, z = np.asarray(normals, dtype=np.float64).reshape(-1, 3).T
    below = z < -1 + 1e-9
    part = 1 / np.where(below, 1.0, 1 + z)
    turns = np.stack(
        [
            np.stack([1 - x * x * part, -x * y * part, x], axis=1),
            np.stack([-x * y * part, 1 - y * y * part, y], axis=1),
            np.stack([-x, -y, z], axis=1),
        ],
        axis=1,
    )
    turns[below] = np.diag([1.0, -1.0, -1.0])
    return turns


def _steps(mask: NDArray[np.bool_]) -> tuple[Vectors, NDArray[np.int64]]:
    """The faces between voxels inside and outside: centres (voxels), and the voxels inside."""
    centres, held = [np.zeros((0, 3))], [np.zeros((0, 3), dtype=np.int64)]
    for axis in range(3):
        low = np.moveaxis(mask, axis, 0)[:-1]
        high = np.moveaxis(mask, axis, 0)[1:]
        first = np.argwhere(low != high)
        first[:, : axis + 1] = np.roll(first[:, : axis + 1], -1, axis=1)
        step = np.eye(3, dtype=np.int64)[axis]
        inside = mask[tuple(first.T)]
        centres.append(first + 0.5 * step)
        held.append(np.where(inside[:, None], first, first + step))
    return np.concatenate(centres), np.concatenate(held)


def _share(moved: Vectors, gained: Vectors, share: NDArray[np.float64]) -> NDArray[np.float64]:
    """The step of Barzilai and Borwein: the move that would have gained the whole way."""
    gain = _dot(moved, gained)
    told = np.where(gain > 0, _dot(moved, moved) / np.maximum(gain, 1e-12), share)
    return np.clip(told, 0.05, 1.0)


def _short(moves: Vectors, voxel: float) -> Vectors:
    """The moves, none so long that it would lose a surface that bends."""
    lengths = np.linalg.norm(moves, axis=1, keepdims=True)
    return moves * np.minimum(1.0, _STRIDE * voxel / np.maximum(lengths, 1e-12))


def _dot(first: Vectors, second: Vectors) -> NDArray[np.float64]:
    return np.sum(first * second, axis=1, keepdims=True)
