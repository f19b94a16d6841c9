"""Find odd picks: outside the tomogram, doubled, in voxels rather than Å, missing in some runs."""

import logging
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
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


class PickFault(NamedTuple):
    """A fault of some picks of one object in one run.

    Args:
        text: what is odd, as the end of a sentence on the picks.
        advice: what to do about it.
        indices: of the picks that have it.
    """

    text: str
    advice: str
    indices: NDArray[np.intp]


def examine_picks(points: Points, grid: Grid, *, min_distance: float | None) -> list[PickFault]:
    """Find the odd picks of one object: outside the tomogram, doubled, in voxels rather than Å.

    Args:
        points: of one object.
        grid: of the tomogram they are in.
        min_distance: Å, nearer than which two picks cannot be two particles; None = unknown.
    """
    outside = np.flatnonzero(~grid.contains(points.positions))
    advice = "Are they in Å, and of this tomogram?"
    faults = [PickFault("lie outside their tomogram", advice, outside)]
    if min_distance and len(points) > 1:
        pairs = KDTree(points.positions).query_pairs(min_distance, output_type="ndarray")
        doubled = np.unique(pairs[:, 1])  # the first of each cluster is a particle
        text = f"are closer than {min_distance:g} Å to another"
        faults.append(PickFault(text, "Are they the same particles twice?", doubled))
    if _look_like_voxels(points, grid):
        text = "lie where voxel numbers would"
        advice = (
            "If they are in voxels rather than Å, multiply them by the spacing of these voxels."
        )
        faults.append(PickFault(text, advice, np.arange(len(points))))
    return [fault for fault in faults if len(fault.indices)]


def warn_of_odd_picks(
    name: object, picks: Mapping[str, Points], grids: Mapping[str, Grid | None]
) -> None:
    """Warn once of each fault of an object's picks, see `examine_picks`, with all their runs.

    Args:
        name: of the picks, for messages.
        picks: run name -> its picks of one object.
        grids: run name -> grid of a tomogram that they are in; without one they are not looked at.
    """
    faults: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for run_name, points in picks.items():
        if (grid := grids.get(run_name)) is not None:
            for text, advice, indices in examine_picks(
                points, grid, min_distance=min(grid.spacing)
            ):
                faults[text, advice][run_name] = len(indices)
    for (text, advice), runs in faults.items():
        listed = shorten_list(f"{run_name} ({n})" for run_name, n in runs.items())
        number = sum(runs.values())
        logger.warning(
            "%d picks of %s %s, in %d runs: %s. %s", number, name, text, len(runs), listed, advice
        )


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
    """Return whether all picks crowd into the corner where indices of voxels would lie.

    They may be indices in this tomogram, or in one that is less binned.
    """
    if len(points) < MIN_PICKS or min(grid.spacing) < MIN_VOXEL_SPACING:
        return False
    size = np.asarray(grid.shape)[::-1].astype(float)  # x y z, as the points
    if len(points) >= MIN_CROWD:
        size *= np.maximum(CORNER * np.asarray(grid.spacing)[::-1], 1)
    return bool(np.all((points.positions >= 0) & (points.positions < size)))
