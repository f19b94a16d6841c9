"""Groups of picks: inside, near and outside a surface, and pairs with their middles."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from octopi.geometry import Points
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
        near_distance: least and greatest distance of a pick that is near, Å, both included,
            negative inside.
        orient: turn the near picks: their z axis along the surface's outward normal.

    Returns:
        side -> the picks on it, with labels.
    """
    nearest = surface.nearest(picks.points.positions)
    picks = replace(picks, labels=nearest.labels)
    low, high = near_distance
    is_inside, is_outside = nearest.distances < low, nearest.distances > high
    is_near = ~is_inside & ~is_outside
    near = picks[is_near]
    if orient:
        near = replace(near, orientations=rotations_to_normals(nearest.normals[is_near]))
    return {"inside": picks[is_inside], "near": near, "outside": picks[is_outside]}


def pair_picks(
    picks: PickGroup, distance_range: Sequence[float], surface: Surface | None
) -> dict[str, PickGroup]:
    """Pair picks, those with labels only with picks of the same label.

    Args:
        picks: to pair.
        distance_range: least and greatest distance of the two picks of a pair, Å.
        surface: turn the middles to its normals; None = leave them without orientations.

    Returns:
        "middle" -> a pick half-way between the two of each pair, with their mean score; "ends" ->
        the picks in pairs.
    """
    positions, scores = picks.points.positions, picks.points.scores
    pairs = find_pairs(positions, distance_range, picks.labels)
    mean_scores = None if scores is None else scores[pairs].mean(axis=1)
    middles, orientations = Points(positions[pairs].mean(axis=1), mean_scores), None
    if surface is not None:
        orientations = rotations_to_normals(surface.nearest(middles.positions).normals)
    return {"middle": PickGroup(middles, orientations), "ends": picks[pairs.ravel()]}


def find_pairs(
    positions: NDArray[np.float64], distance_range: Sequence[float], labels: NDArray | None = None
) -> NDArray[np.intp]:
    """Pair positions whose distance lies in a range, nearest first; none is in two pairs.

    Args:
        positions: (n, 3) in Å.
        distance_range: least and greatest distance (Å) of a pair, both included.
        labels: (n,); only positions with the same label make pairs. None = all do.

    Returns:
        The indices (m, 2) of the pairs.
    """
    low, high = distance_range
    candidates = KDTree(positions).query_pairs(high, output_type="ndarray")
    if labels is not None:
        candidates = candidates[labels[candidates[:, 0]] == labels[candidates[:, 1]]]
    first, second = candidates.T
    distances = np.linalg.norm(positions[first] - positions[second], axis=1)
    order = np.lexsort((second, first, distances))
    is_free, pairs = np.ones(len(positions), dtype=bool), []
    for pair in candidates[order[distances[order] >= low]]:
        if is_free[pair].all():
            is_free[pair] = False
            pairs.append(pair)
    return np.array(pairs, dtype=np.intp).reshape(-1, 2)


def rotations_to_normals(normals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shortest rotations (n, 3, 3) from the z axis to unit normals (n, 3), all x y z.

    The object's z axis, the third column, then lies along the normal; its rotation about the normal
    is unknown, and 0. For a normal opposite to z the rotation is by 180° about x.
    """
    x, y, z = np.asarray(normals, dtype=np.float64).reshape(-1, 3).T
    axes, sine = np.stack([-y, x, np.zeros_like(x)], axis=1), np.hypot(x, y)
    axes[sine < 1e-9] = [1.0, 0.0, 0.0]  # any will do along z
    axes *= (np.arctan2(sine, z) / np.linalg.norm(axes, axis=1))[:, None]
    return Rotation.from_rotvec(axes).as_matrix()
