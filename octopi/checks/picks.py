"""Find odd picks: outside the tomogram, on top of one another, or in voxels rather than Å."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from octopi.geometry import Grid, Points

MIN_PICKS = 3  # from which their unit can be guessed
MIN_VOXEL_SPACING = 2.0  # Å; in smaller voxels, picks in voxels look like picks in Å


@dataclass(frozen=True)
class PicksReport:
    """Odd picks of one object in one run.

    Args:
        num_picks: in all.
        outside: indices of picks that lie in no voxel of the tomogram.
        min_distance: Å, nearer than which two picks count as duplicates; None = unknown.
        num_duplicates: picks that have another of the same object nearer than that.
        look_like_voxels: whether all of them would be inside if they were voxel indices, and crowd
            into a corner if they are Å.
    """

    num_picks: int
    outside: list[int]
    min_distance: float | None
    num_duplicates: int
    look_like_voxels: bool


def examine_picks(points: Points, grid: Grid, *, min_distance: float | None) -> PicksReport:
    """Find the odd picks of one object.

    Args:
        points: of one object.
        grid: of the tomogram they are in.
        min_distance: Å, nearer than which two picks cannot be two particles; None = unknown.
    """
    outside = np.flatnonzero(~grid.contains(points.positions))
    num_duplicates = 0
    if min_distance and len(points) > 1:
        pairs = KDTree(points.positions).query_pairs(min_distance, output_type="ndarray")
        num_duplicates = len(np.unique(pairs[:, 1]))  # the first of each cluster is a particle
    look_like_voxels = _look_like_voxels(points, grid)
    return PicksReport(
        len(points), outside.tolist(), min_distance, num_duplicates, look_like_voxels
    )


def _look_like_voxels(points: Points, grid: Grid) -> bool:
    if len(points) < MIN_PICKS or min(grid.spacing) < MIN_VOXEL_SPACING:
        return False
    size = np.asarray(grid.shape)[::-1]  # x y z, as the points
    return bool(np.all((points.positions >= 0) & (points.positions < size)))
