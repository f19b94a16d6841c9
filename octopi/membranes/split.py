"""Groups of picks: inside, near and outside a surface, and pairs with their middles."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from octopi.geometry import Points
from octopi.membranes.pairs import find_middles, find_pairs
from octopi.membranes.surface import Surface

SIDES = ("inside", "near", "outside")
PAIR_GROUPS = ("middle", "ends")


@dataclass(frozen=True)
class PickGroup:
    """Picks of one object.

    Args:
        points: their positions and scores.
        orientations: rotations (n, 3, 3) from the object's frame to the tomogram's; None = unknown.
        labels: (n,) of the nearest part of the membrane's mask; None = without a membrane.
    """

    points: Points
    orientations: NDArray[np.float64] | None
    labels: NDArray[np.int64] | None = None

    def __getitem__(self, keep: NDArray) -> "PickGroup":
        """Return the picks that a mask or index array selects."""
        orientations = None if self.orientations is None else self.orientations[keep]
        labels = None if self.labels is None else self.labels[keep]
        return PickGroup(self.points[keep], orientations, labels)


def split_picks(
    picks: PickGroup, surface: Surface, near_distance: Sequence[float], *, orient: bool
) -> dict[str, PickGroup]:
    """Split picks by their distance to a surface.

    Args:
        picks: to split.
        surface: of a membrane or organelle.
        near_distance: least and greatest distance of a pick that is near, Å, negative inside.
        orient: turn the near picks: their z axis along the surface's outward normal.

    Returns:
        side -> the picks on it, with labels.
    """
    nearest = surface.nearest(picks.points.positions)
    picks = replace(picks, labels=nearest.labels)
    is_on_side = split_by_distance(nearest.distances, near_distance)
    groups = {side: picks[is_on_side[side]] for side in SIDES}
    if orient:
        rotations = rotations_to_normals(nearest.normals[is_on_side["near"]])
        groups["near"] = replace(groups["near"], orientations=rotations)
    return groups


def split_by_distance(
    distances: NDArray[np.float64], near_distance: Sequence[float]
) -> dict[str, NDArray[np.bool_]]:
    """Find the picks inside, near and outside a surface; every pick is on one side.

    Args:
        distances: (n,) in Å from the surface, negative inside.
        near_distance: least and greatest distance of a pick that is near, Å, both included.

    Returns:
        side -> mask (n,) of the picks on it.

    Raises:
        ValueError: the range is reversed.
    """
    low, high = near_distance
    if not low <= high:
        raise ValueError(f"The smaller distance comes first, not {low} before {high}.")
    is_inside, is_outside = distances < low, distances > high
    return {"inside": is_inside, "near": ~is_inside & ~is_outside, "outside": is_outside}


def pair_picks(
    picks: PickGroup, distance_range: Sequence[float], surface: Surface | None
) -> dict[str, PickGroup]:
    """Pair picks, those with labels only with picks of the same label.

    Args:
        picks: to pair.
        distance_range: least and greatest distance of the two picks of a pair, Å.
        surface: turn the middles to its normals; None = leave them without orientations.

    Returns:
        "middle" -> a pick half-way between the two of each pair; "ends" -> the picks in pairs.
    """
    pairs = find_pairs(picks.points.positions, distance_range, picks.labels)
    middles, orientations = find_middles(picks.points, pairs), None
    if surface is not None:
        orientations = rotations_to_normals(surface.nearest(middles.positions).normals)
    return {"middle": PickGroup(middles, orientations), "ends": picks[pairs.ravel()]}


def rotations_to_normals(normals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shortest rotations (n, 3, 3) from the z axis to unit normals (n, 3), all x y z.

    The object's z axis, the third column, then lies along the normal; its rotation about the normal
    is unknown, and 0. For a normal opposite to z the rotation is by 180° about x.
    """
    x, y, z = np.asarray(normals, dtype=np.float64).reshape(-1, 3).T
    is_opposite = z < -1 + 1e-9
    scale = 1 / np.where(is_opposite, 1.0, 1 + z)
    rotations = np.stack(
        [
            np.stack([1 - x * x * scale, -x * y * scale, x], axis=1),
            np.stack([-x * y * scale, 1 - y * y * scale, y], axis=1),
            np.stack([-x, -y, z], axis=1),
        ],
        axis=1,
    )
    rotations[is_opposite] = np.diag([1.0, -1.0, -1.0])
    return rotations
