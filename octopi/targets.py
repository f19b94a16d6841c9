"""Targets: spheres around picks and masks of structures become the label volume we train on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from octopi.errors import DataError
from octopi.geometry import Grid

MAX_LABEL = 255  # labels are stored as uint8


@dataclass(frozen=True)
class _Spheres:
    """All spheres of a volume: centres (n, 3) in voxels z y x, squared radii in Å², labels."""

    centres: NDArray[np.float64]
    squared_radii: NDArray[np.float64]
    labels: NDArray[np.uint8]


def target_labels(object_names: Sequence[str]) -> dict[str, int]:
    """Labels from 1 upwards, in the order of the names; 0 stays background."""
    twice = sorted({name for name in object_names if object_names.count(name) > 1})
    if twice:
        raise ValueError(f"Each object has one label, but these are named twice: {twice}.")
    if not 0 < len(object_names) <= MAX_LABEL:
        raise ValueError(f"A target holds 1 to {MAX_LABEL} objects, not {len(object_names)}.")
    return {name: label for label, name in enumerate(object_names, start=1)}


def paint(grid: Grid, spheres: Mapping[int, tuple[ArrayLike, float]]) -> NDArray[np.uint8]:
    """A label volume in which every voxel inside a sphere bears the label of its nearest centre.

    Centres keep their sub-voxel place. A centre inside the volume paints at least its nearest
    voxel; a sphere centred outside paints the part that reaches in. Where two centres are
    equally near, the smaller label wins, whatever the order of the spheres.

    Args:
        grid: the volume to paint on.
        spheres: label -> (positions (n, 3) in Å, x y z; radius in Å).
    """
    target = np.zeros(grid.shape, dtype=np.uint8)
    every = _gather(grid, spheres)
    rivals = _rivals(grid, every)
    for index, label in enumerate(every.labels):
        box = _box(grid, every, index)
        if box is None:
            continue
        mine = _squared_distances(grid, every, index, box)
        won = mine < np.inf
        for rival in rivals.get(index, ()):
            theirs = _squared_distances(grid, every, rival, box)
            won &= ~(theirs <= mine if every.labels[rival] < label else theirs < mine)
        target[box][won] = label
    return target


def _gather(grid: Grid, spheres: Mapping[int, tuple[ArrayLike, float]]) -> _Spheres:
    """The spheres as flat arrays, each radius long enough to reach the nearest voxel."""
    centres, squared_radii, labels = [np.zeros((0, 3))], [np.zeros(0)], [np.zeros(0, np.uint8)]
    for label, (positions, radius) in spheres.items():
        if not 0 < label <= MAX_LABEL:
            raise ValueError(f"A label lies in 1 to {MAX_LABEL}, not {label}.")
        if not 0 < radius < np.inf:
            raise ValueError(f"The radius of label {label} must be positive, not {radius} Å.")
        voxels = grid.to_voxels(positions)
        if not np.isfinite(voxels).all():
            raise ValueError(f"Label {label} has positions that are not numbers.")
        nearest = np.clip(np.rint(voxels), 0, np.asarray(grid.shape) - 1)
        to_nearest = (((nearest - voxels) * grid.spacing) ** 2).sum(axis=1) * (1 + 1e-9)
        within = grid.contains(positions)
        centres.append(voxels)
        squared_radii.append(np.maximum(radius**2, np.where(within, to_nearest, 0)))
        labels.append(np.full(len(voxels), label, dtype=np.uint8))
    return _Spheres(np.concatenate(centres), np.concatenate(squared_radii), np.concatenate(labels))


def _rivals(grid: Grid, every: _Spheres) -> dict[int, list[int]]:
    """For each sphere, those of another label that share space with it."""
    rivals: dict[int, list[int]] = {}
    if len(every.labels) < 2:
        return rivals
    centres = every.centres * grid.spacing
    radii = np.sqrt(every.squared_radii)
    pairs = KDTree(centres).query_pairs(2 * radii.max(), output_type="ndarray")
    first, second = pairs[:, 0], pairs[:, 1]
    distances = np.linalg.norm(centres[first] - centres[second], axis=1)
    meet = distances <= radii[first] + radii[second]
    meet &= every.labels[first] != every.labels[second]
    for one, other in pairs[meet].tolist():
        rivals.setdefault(one, []).append(other)
        rivals.setdefault(other, []).append(one)
    return rivals


def _box(grid: Grid, every: _Spheres, index: int) -> tuple[slice, ...] | None:
    """The part of the volume a sphere can touch; None where it lies wholly outside."""
    reach = np.sqrt(every.squared_radii[index]) / np.asarray(grid.spacing)
    low = np.maximum(np.ceil(every.centres[index] - reach), 0).astype(int)
    high = np.minimum(np.floor(every.centres[index] + reach) + 1, grid.shape).astype(int)
    return tuple(map(slice, low, high)) if (low < high).all() else None


def _squared_distances(
    grid: Grid, every: _Spheres, index: int, box: tuple[slice, ...]
) -> NDArray[np.float64]:
    """Squared distances in Å² from a sphere's centre to the voxels of a box; outside it, inf."""
    z, y, x = (
        ((np.arange(part.start, part.stop) - c) * s) ** 2
        for part, c, s in zip(box, every.centres[index], grid.spacing, strict=True)
    )
    squared = z[:, None, None] + y[None, :, None] + x[None, None, :]
    squared[squared > every.squared_radii[index]] = np.inf
    return squared


def align_mask(mask: NDArray, shape: Sequence[int], *, max_offset: int = 2) -> NDArray:
    """The mask on a shape that differs by a voxel or two, cut or padded with 0 at the far ends.

    The first voxel stays where it is: grids of one run share their first voxel's centre.

    Args:
        mask: (z, y, x) labels or booleans.
        shape: the shape wanted, (z, y, x).
        max_offset: the largest difference in voxels, along any axis, that is mended.
    """
    offsets = [wanted - held for wanted, held in zip(shape, mask.shape, strict=True)]
    if max(map(abs, offsets)) > max_offset:
        raise DataError(
            f"A mask of {_by(mask.shape)} voxels does not fit a tomogram of {_by(shape)}: they "
            f"differ by more than {max_offset} voxels. Use the mask made for this tomogram "
            "and voxel spacing."
        )
    kept = mask[tuple(slice(0, wanted) for wanted in shape)]
    return np.pad(kept, [(0, max(0, offset)) for offset in offsets])


def coarsen_mask(mask: NDArray, shape: Sequence[int]) -> NDArray[np.bool_]:
    """The mask on a coarser shape of the same box: set wherever one of its voxels lands.

    Nearest sampling would lose sheets thinner than a coarse voxel; this keeps them.
    """
    coarse = np.zeros(tuple(shape), dtype=bool)
    voxels = np.nonzero(mask)
    scales = [n / m for n, m in zip(shape, mask.shape, strict=True)]
    coarse[
        tuple(
            np.minimum(np.rint(index * scale).astype(np.intp), n - 1)
            for index, scale, n in zip(voxels, scales, shape, strict=True)
        )
    ] = True
    return coarse


def add_masks(target: NDArray[np.uint8], masks: Mapping[int, NDArray]) -> NDArray[np.uint8]:
    """The target with each mask's label on voxels that nothing else had claimed, in order."""
    if not masks:
        return target
    painted = target.copy()
    for label, mask in masks.items():
        painted[(mask != 0) & (painted == 0)] = label
    return painted


def _by(shape: Sequence[int]) -> str:
    """A shape as 184×630×630."""
    return "×".join(map(str, shape))
