"""Find odd picks: outside the tomogram, doubled, in voxels rather than Å, missing in some runs."""

import logging
import statistics
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from octopi.errors import shorten_list
from octopi.geometry import Grid, Points

logger = logging.getLogger(__name__)

MIN_PICKS = 3  # from which their unit can be guessed
MIN_TYPICAL = 10  # picks in most runs, from which a run with far fewer is odd
FAR_FEWER = 5  # times
MIN_CROWD = 6  # picks, from which a corner tells voxels of a tomogram that is less binned, too
CORNER = 0.4  # of each edge: voxels of 2.5 Å or more, where chance alone puts 1 in 10^7 such sets
MIN_VOXEL_SPACING = 2.0  # Å; in smaller voxels, picks in voxels look like picks in Å


@dataclass(frozen=True)
class PicksReport:
    """Odd picks of one object in one run.

    Args:
        num_picks: in all.
        outside: indices of picks that lie in no voxel of the tomogram.
        min_distance: Å, nearer than which two picks count as duplicates; None = unknown.
        num_duplicates: picks that have another of the same object nearer than that.
        look_like_voxels: whether all of them crowd into the corner of the tomogram where indices of
            its voxels, or of those of a less binned one, would lie.
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
        "rather than Å, multiply them by the spacing of these voxels.": (
            lambda report: report.num_picks * report.look_like_voxels
        ),
    }
    for text, count in faults.items():
        runs = {run_name: n for run_name, report in reports.items() if (n := count(report))}
        if runs:
            listed = shorten_list(f"{run_name} ({n})" for run_name, n in runs.items())
            logger.warning(text, sum(runs.values()), name, len(runs), listed)


def describe_gaps(
    counts: Mapping[str, Mapping[str, int]], partial: Collection[str]
) -> Iterator[str]:
    """Say which objects nobody annotated in some runs, and which have far fewer picks in some.

    Args:
        counts: run name -> object name -> number of its picks; no key where it has no file.
        partial: names of the objects that are said to be partially annotated.
    """
    for name in dict.fromkeys(name for of_run in counts.values() for name in of_run):
        if missing := [run_name for run_name, of_run in counts.items() if name not in of_run]:
            yield describe_not_annotated(name, "picks of it", missing, len(counts))
        numbers = {run_name: of_run[name] for run_name, of_run in counts.items() if name in of_run}
        typical = statistics.median(numbers.values())
        few = [f"{run} ({n})" for run, n in numbers.items() if 0 < n * FAR_FEWER < typical]
        if few and typical >= MIN_TYPICAL and name not in partial:
            yield (
                f"{name} has far fewer picks in {shorten_list(few)} than runs have on average "
                f"({typical:g}, the median). If it was not picked completely there, say so with "
                "targets.annotation or targets.annotated: what is not marked is learned as "
                "background."
            )


def describe_not_annotated(name: str, source: str, missing: list[str], num_runs: int) -> str:
    """Say that an object is not annotated in some runs: a missing file is no empty one.

    Args:
        name: of the object.
        source: what these runs do not have.
        missing: their names.
        num_runs: of all runs.
    """
    return (
        f"{name} is not annotated in {len(missing)} of {num_runs} runs, which have no {source}: "
        "whether it is there is unknown. If there is none, write an empty file. "
        f"{shorten_list(missing)}."
    )


def _look_like_voxels(points: Points, grid: Grid) -> bool:
    if len(points) < MIN_PICKS or min(grid.spacing) < MIN_VOXEL_SPACING:
        return False
    size = np.asarray(grid.shape)[::-1].astype(float)  # x y z, as the points
    if len(points) >= MIN_CROWD:
        size *= np.maximum(CORNER * np.asarray(grid.spacing)[::-1], 1)
    return bool(np.all((points.positions >= 0) & (points.positions < size)))
