"""Find odd picks: outside the tomogram, on top of one another, or in voxels rather than Å."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from octopi.errors import shorten_list
from octopi.geometry import Grid, Points

logger = logging.getLogger(__name__)

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


def warn_of_odd_picks(
    name: object, picks: Mapping[str, Points], grids: Mapping[str, Grid | None]
) -> None:
    """Warn of picks outside their tomograms, in one place, or in voxels rather than Å.

    Args:
        name: of the picks, for messages.
        picks: run name -> its picks of one object.
        grids: run name -> grid of a tomogram that they are in; without one they are not looked at.
    """
    reports = {
        run_name: examine_picks(points, grid, min_distance=min(grid.spacing))
        for run_name, points in picks.items()
        if (grid := grids.get(run_name)) is not None
    }
    faults: dict[str, Callable[[PicksReport], int]] = {
        "%d picks of %s lie outside their tomograms, in %d runs: %s. Are they in Å, and of these "
        "tomograms?": (lambda report: len(report.outside)),
        "%d picks of %s are within a voxel of another, in %d runs: %s. Are they the same particles "
        "twice?": (lambda report: report.num_duplicates),
        "%d picks of %s lie where voxel numbers would, in %d runs: %s. If they are in voxels "
        "rather than Å, multiply them by the voxel spacing.": (
            lambda report: report.num_picks * report.look_like_voxels
        ),
    }
    for text, count in faults.items():
        runs = {run_name: n for run_name, report in reports.items() if (n := count(report))}
        if runs:
            listed = shorten_list(f"{run_name} ({n})" for run_name, n in runs.items())
            logger.warning(text, sum(runs.values()), name, len(runs), listed)


def _look_like_voxels(points: Points, grid: Grid) -> bool:
    if len(points) < MIN_PICKS or min(grid.spacing) < MIN_VOXEL_SPACING:
        return False
    size = np.asarray(grid.shape)[::-1]  # x y z, as the points
    return bool(np.all((points.positions >= 0) & (points.positions < size)))
