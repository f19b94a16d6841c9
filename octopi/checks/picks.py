"""What is odd about picks: outside, on top of one another, or in voxels rather than ångström."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from octopi.geometry import Grid, Points

FEWEST = 3  # picks from which their unit can be guessed
COARSEST_PIXEL = 2.0  # Å: with smaller voxels, picks in voxels look like picks in Å


@dataclass(frozen=True)
class PicksHealth:
    """What is odd about the picks of one object in one run.

    Args:
        num_picks: in all.
        outside: indices of picks that lie in no voxel of the tomogram.
        num_duplicates: picks that have another of the same object nearer than allowed.
        look_like_voxels: whether all of them would be inside if they were voxel indices, and crowd
            into a corner if they are ångström.
    """

    num_picks: int
    outside: list[int]
    num_duplicates: int
    look_like_voxels: bool


def examine_picks(points: Points, grid: Grid, *, min_distance: float | None) -> PicksHealth:
    """What is odd about picks.

    Args:
        points: of one object.
        grid: of the tomogram they are in.
        min_distance: Å, nearer than which two picks cannot be two particles; None = unknown.
    """
    outside = np.flatnonzero(~grid.contains(points.positions))
    doubles = 0
    if min_distance and len(points) > 1:
        pairs = KDTree(points.positions).query_pairs(min_distance, output_type="ndarray")
        doubles = len(np.unique(pairs[:, 1]))  # the first of each cluster is a particle
    return PicksHealth(len(points), outside.tolist(), doubles, _like_voxels(points, grid))


def _like_voxels(points: Points, grid: Grid) -> bool:
    if len(points) < FEWEST or min(grid.spacing) < COARSEST_PIXEL:
        return False
    size = np.asarray(grid.shape)[::-1]  # x y z, as the points
    inside = np.all((points.positions >= 0) & (points.positions < size), axis=1)
    return bool(inside.all())
