"""Targets: paint spheres around picks and masks of structures into the label volume to learn."""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from octopi.errors import DataError, SettingError, shorten_list
from octopi.geometry import Grid, Points

Label = TypeVar("Label")  # int, or an array or tensor of integers
UNKNOWN = 255  # in place of a label, where nobody says which objects are there
MAX_LABEL = 254  # labels are stored as uint8
MAX_REJECTED_LABEL = 84  # of objects that have rejected places; see `rejected_value`


@dataclass(frozen=True)
class _Spheres:
    """All spheres of a volume: centres (n, 3) in voxels z y x, squared radii (n,) in Å², labels."""

    centres: NDArray[np.float64]
    squared_radii: NDArray[np.float64]
    labels: NDArray[np.uint8]


def target_labels(object_names: Sequence[str]) -> dict[str, int]:
    """Number the objects from 1, in the order of their names; 0 stays background.

    Raises:
        SettingError: a name is given twice, or there are none or more than MAX_LABEL.
    """
    repeated = sorted({name for name in object_names if object_names.count(name) > 1})
    if repeated:
        raise SettingError(
            f"Each object has one label, but these are named twice: {shorten_list(repeated)}."
        )
    if not 0 < len(object_names) <= MAX_LABEL:
        raise SettingError(
            f"A target holds 1 to {MAX_LABEL} objects, not {len(object_names)}. Choose some of "
            "them: targets.objects=[NAME,…]."
        )
    return {name: label for label, name in enumerate(object_names, start=1)}


def rejected_value(label: Label, *, else_unknown: bool = False) -> Label:
    """Return what a target holds where somebody found no particle of the object of this label.

    Args:
        label: of the object.
        else_unknown: outside of what is annotated, where it may be any other object.
    """
    return UNKNOWN - else_unknown * MAX_REJECTED_LABEL - label  # type: ignore[operator]


def marks_outside(labels: Mapping[str, int]) -> dict[str, int]:
    """Return object name -> its mark outside of what is annotated; {} for too many objects."""
    if max(labels.values()) > MAX_REJECTED_LABEL:
        return {}
    return {name: rejected_value(label, else_unknown=True) for name, label in labels.items()}


def check_has_marks(labels: Collection[str], rejected: Collection[str]) -> None:
    """Raise SettingError if there are too many objects to mark the rejected places of one."""
    if rejected and len(labels) > MAX_REJECTED_LABEL:
        raise SettingError(
            f"A target with rejected places holds up to {MAX_REJECTED_LABEL} objects, not "
            f"{len(labels)}. Choose some of them: targets.objects=[NAME,…]."
        )


def mark_rejected(
    target: NDArray[np.uint8], grid: Grid, spheres: Mapping[int, tuple[ArrayLike, float]]
) -> NDArray[np.uint8]:
    """Return a target in which the background around rejected places is marked as such.

    Outside of what is annotated a mark says that the object is not there, and no more.

    Args:
        target: (z, y, x), 0 = background, UNKNOWN = not annotated.
        grid: of the target.
        spheres: label of an object -> (positions (n, 3) in Å of what is none of it; radius in Å).
    """
    if not any(len(np.asarray(positions)) for positions, _ in spheres.values()):
        return target
    labels = paint(grid, spheres)
    marked = np.where((labels > 0) & (target == 0), rejected_value(labels), target)
    is_outside = (labels > 0) & (target == UNKNOWN)
    return np.where(is_outside, rejected_value(labels, else_unknown=True), marked)


def partial_objects(
    annotation: str | Mapping[str, str], object_names: Collection[str]
) -> list[str]:
    """Return the objects of which not every particle is annotated, sorted.

    Args:
        annotation: "complete" or "partial" of all objects, or by object; complete where not named.
        object_names: of the targets.

    Raises:
        SettingError: an object is unknown.
    """
    if isinstance(annotation, str):
        annotation = dict.fromkeys(object_names, annotation)
    if unknown := sorted(annotation.keys() - set(object_names)):
        raise SettingError(
            f"targets.annotation names {shorten_list(unknown)}, of which there are no picks or "
            f"masks. Objects: {shorten_list(object_names)}."
        )
    return sorted(name for name, state in annotation.items() if state == "partial")


def drop_unknown(
    points: Mapping[str, Points],
    target: NDArray[np.uint8],
    grid: Grid,
    labels: Mapping[str, int] | None = None,
) -> dict[str, Points]:
    """Leave out the points in voxels of a target that are unknown; outside, the nearest counts.

    Args:
        points: object name -> points.
        target: (z, y, x) labels.
        grid: of the target.
        labels: of the objects; None where the target has no marks of rejected places.
    """
    last = np.asarray(grid.shape) - 1
    known_picks, marks = {}, marks_outside(labels) if labels else {}
    for name, of_object in points.items():
        voxels = np.clip(np.rint(grid.to_voxels(of_object.positions)), 0, last).astype(np.intp)
        unknown = [UNKNOWN, *(mark for other, mark in marks.items() if other != name)]
        known_picks[name] = of_object[~np.isin(target[tuple(voxels.T)], unknown)]
    return known_picks


def mark_unknown(mask: NDArray, where: str) -> NDArray[np.uint8]:
    """Return the region that a mask calls annotated (z, y, x): 0 inside, UNKNOWN outside.

    Args:
        mask: (z, y, x), 0 = outside.
        where: run and mask, for errors.

    Raises:
        DataError: the mask is empty.
    """
    if not mask.any():
        raise DataError(
            f"{where}, the mask of what is annotated, is empty, so that nothing is known there. "
            "Draw it, or delete it: runs without it are left out."
        )
    return np.where(mask, 0, UNKNOWN).astype(np.uint8)


def check_any_inside(num_inside: int, num_outside: int) -> None:
    """Raise DataError if no pick of any run lies inside its tomogram.

    Args:
        num_inside: picks of all objects in all runs.
        num_outside: the same, outside.
    """
    if not num_inside:
        raise DataError(
            f"There is no pick inside a tomogram; {num_outside} lie outside. Nothing would be "
            "painted. Picks are in Å from the first voxel: are they in voxels, or of other "
            "tomograms?"
        )


def paint(grid: Grid, spheres: Mapping[int, tuple[ArrayLike, float]]) -> NDArray[np.uint8]:
    """Paint spheres: every voxel inside one gets the label of its nearest centre.

    Centres keep their sub-voxel place. A centre inside the volume paints at least its nearest
    voxel; a sphere centred outside paints the part that reaches in. Where two centres are
    equally near, the smaller label wins, whatever the order of the spheres.

    Args:
        grid: the volume to paint on.
        spheres: label -> (positions (n, 3) in Å, x y z; radius in Å).

    Returns:
        (z, y, x) of the grid, uint8, 0 = background.

    Raises:
        ValueError: a label, a radius or a position is out of its range.
    """
    target = np.zeros(grid.shape, dtype=np.uint8)
    all_spheres = _gather(grid, spheres)
    overlaps = _find_overlaps(grid, all_spheres)
    for index, box in _boxes(grid, all_spheres):
        label = all_spheres.labels[index]
        distances = _squared_distances(grid, all_spheres, index, box)
        is_nearest = distances < np.inf
        for other in overlaps.get(index, ()):
            others = _squared_distances(grid, all_spheres, other, box)
            wins_ties = all_spheres.labels[other] < label
            is_nearest &= ~(others <= distances if wins_ties else others < distances)
        target[box][is_nearest] = label
    return target


def _gather(grid: Grid, spheres: Mapping[int, tuple[ArrayLike, float]]) -> _Spheres:
    """Flatten the spheres to arrays; make each radius long enough to reach the nearest voxel."""
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
        is_inside = grid.contains(positions)
        centres.append(voxels)
        squared_radii.append(np.maximum(radius**2, np.where(is_inside, to_nearest, 0)))
        labels.append(np.full(len(voxels), label, dtype=np.uint8))
    return _Spheres(np.concatenate(centres), np.concatenate(squared_radii), np.concatenate(labels))


def _find_overlaps(grid: Grid, spheres: _Spheres) -> dict[int, list[int]]:
    """For each sphere, list those of another label that it overlaps."""
    overlaps: dict[int, list[int]] = {}
    centres = spheres.centres * grid.spacing
    radii = np.sqrt(spheres.squared_radii)
    members = [np.flatnonzero(spheres.labels == label) for label in np.unique(spheres.labels)]
    for ours, theirs in itertools.combinations(members, 2):
        reach = radii[ours].max() + radii[theirs].max()
        trees = KDTree(centres[ours]), KDTree(centres[theirs])
        near = trees[0].sparse_distance_matrix(trees[1], reach, output_type="ndarray")
        pairs = np.stack([ours[near["i"]], theirs[near["j"]]])
        for one, other in pairs[:, near["v"] <= radii[pairs].sum(axis=0)].T.tolist():
            overlaps.setdefault(one, []).append(other)
            overlaps.setdefault(other, []).append(one)
    return overlaps


def _boxes(grid: Grid, spheres: _Spheres) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """Yield the index of each sphere that touches the volume, and the box that it can touch."""
    reach = np.sqrt(spheres.squared_radii)[:, None] / np.asarray(grid.spacing)
    low = np.maximum(np.ceil(spheres.centres - reach), 0).astype(int)
    high = np.minimum(np.floor(spheres.centres + reach) + 1, grid.shape).astype(int)
    for index in np.flatnonzero((low < high).all(axis=1)).tolist():
        yield index, tuple(map(slice, low[index].tolist(), high[index].tolist()))


def _squared_distances(
    grid: Grid, spheres: _Spheres, index: int, box: tuple[slice, ...]
) -> NDArray[np.float64]:
    """Return squared distances (Å²) from a centre to a box's voxels, inf outside the sphere."""
    z, y, x = (
        ((np.arange(part.start, part.stop) - c) * s) ** 2
        for part, c, s in zip(box, spheres.centres[index], grid.spacing, strict=True)
    )
    squared = z[:, None, None] + y[None, :, None] + x[None, None, :]
    squared[squared > spheres.squared_radii[index]] = np.inf
    return squared


def add_masks(target: NDArray[np.uint8], masks: Mapping[int, NDArray]) -> NDArray[np.uint8]:
    """Return the target with masks painted, in order, on voxels that are still background.

    Args:
        target: (z, y, x), 0 = background.
        masks: label -> mask (z, y, x), 0 = outside.
    """
    if not masks:
        return target
    painted = target.copy()
    for label, mask in masks.items():
        painted[(mask != 0) & (painted == 0)] = label
    return painted
