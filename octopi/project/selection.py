"""Selection of tomograms, label volumes and runs."""

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeVar

from octopi.errors import DataError, NotInProjectError, SettingError, shorten_list
from octopi.geometry import MAX_OFFSET, Grid, format_shape
from octopi.project.queries import SegmentationQuery, TomogramQuery
from octopi.project.run import Run

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


def find_segmentations(runs: Sequence[Run], names: Sequence[str]) -> dict[str, SegmentationQuery]:
    """Find label volumes.

    Args:
        runs: to search; a label volume need not be in all of them.
        names: `name:user/session` of each.

    Returns:
        Name -> label volume.

    Raises:
        NotInProjectError: no run has one of them.
        DataError: one of them was never finished.
    """
    queries = list(map(SegmentationQuery.parse, names))
    available = {query for run in runs for query in run.segmentations()} if queries else set()
    existing = {query.name_user_session for query in available}
    for query in queries:
        if query.name_user_session not in existing:
            for run in runs:
                with contextlib.suppress(NotInProjectError):
                    run.open_segmentation(query)  # to say what is wrong with an unfinished one
            raise NotInProjectError("The project", query.kind, query, sorted(map(str, available)))
    return {query.name: query for query in queries}


def readable_grids(run: Run) -> list[Grid]:
    """Return the grids of the run's tomograms; leave out those that cannot be opened."""
    grids = []
    for tomogram in run.tomograms():
        with contextlib.suppress(DataError):
            grids.append(run.tomogram_grid(tomogram))
    return grids


def check_covers_tomogram(run: Run, query: SegmentationQuery, grid: Grid) -> None:
    """Raise DataError if a label volume spans the box of none of the run's tomograms.

    Args:
        run: of the label volume.
        query: of the label volume.
        grid: of the label volume.
    """
    tomogram_grids = readable_grids(run)
    if not tomogram_grids or any(
        grid.spans_box_of(tomogram_grid, max_offset=MAX_OFFSET) for tomogram_grid in tomogram_grids
    ):
        return
    spacing, sizes = grid.spacing[0], shorten_list(format_shape(g.shape) for g in tomogram_grids)
    raise DataError(
        f"Run {run.name}: {query.kind} {query} has {format_shape(grid.shape)} voxels of "
        f"{spacing:g} Å, which is the box of no tomogram there ({sizes} voxels): its voxels would "
        "be taken for other places. Write it again on the grid of the tomogram."
    )


def find_tomograms(
    run: Run, *, tomo_types: Sequence[str] | None, voxel_spacing: float | None
) -> list[TomogramQuery]:
    """Find a run's tomograms of these types, in this order, at one voxel spacing.

    Args:
        run: whose tomograms.
        tomo_types: None = all types of the run.
        voxel_spacing: Å, within 1 %; None = the only one of the run.

    Raises:
        NotInProjectError: the run lacks one.
        SettingError: the run has several voxel spacings and none is named.
    """
    existing = run.tomograms()
    spacings = sorted({q.voxel_spacing for q in existing})
    if voxel_spacing is None and len(spacings) > 1:
        raise SettingError(
            f"Run {run.name} has tomograms at {shorten_list(f'{s:g}' for s in spacings)} Å. "
            "Say which: voxel_spacing=…"
        )
    types = sorted({q.tomo_type for q in existing}) if tomo_types is None else list(tomo_types)
    if not types:
        raise NotInProjectError(f"Run {run.name}", "tomogram", voxel_spacing or "at all", existing)
    return [run.find_tomogram(tomo_type, voxel_spacing) for tomo_type in types]


def select_training_tomograms(
    run: Run, *, tomo_types: Sequence[str] | None, voxel_spacings: Sequence[float | None]
) -> list[TomogramQuery]:
    """Select a run's tomograms to train on: each type at each voxel spacing.

    Args:
        run: whose tomograms.
        tomo_types: the one to validate on first; None = the only one of the run.
        voxel_spacings: Å, each within 1 %; None = the only one of the run.

    Raises:
        NotInProjectError: the run lacks one.
        SettingError: the run has several types or spacings and none is named.
    """
    tomograms = [
        query
        for spacing in voxel_spacings
        for query in find_tomograms(run, tomo_types=tomo_types, voxel_spacing=spacing)
    ]
    if tomo_types is None and len(tomograms) > len(voxel_spacings):
        types = {query.tomo_type for query in tomograms}
        raise SettingError(f"Run {run.name} has {several_types_message(types)}")
    return tomograms


def several_types_message(tomo_types: Collection[str]) -> str:
    """Return the end of a sentence on runs with several tomogram types of which none is named."""
    return (
        f"several tomogram types: {shorten_list(sorted(tomo_types))}. Say which to train on, "
        "the one to validate on first: 'tomo_types=[…]'."
    )


def is_denoised(tomo_type: str) -> bool:
    """Return whether the name of a tomogram type says that it is denoised: such are preferred."""
    return "denois" in tomo_type


def tomogram_for_display(run: Run, tomo_type: str | None = None) -> TomogramQuery | None:
    """Return the tomogram to show picks on: a denoised one, else the first; None without any.

    Raises:
        NotInProjectError: it has none of the type that is requested.
    """
    if tomo_type is not None:
        return run.find_tomogram(tomo_type, None)
    return min(run.tomograms(), key=lambda query: not is_denoised(query.tomo_type), default=None)


def keep_runs_with(
    runs: Iterable[Run], find: Callable[[Run], Result], requested: Sequence[str] | None
) -> list[tuple[Run, Result]]:
    """Return the runs where `find` succeeds, with its results; warn about the others.

    Args:
        runs: to search.
        find: raises NotInProjectError for a run that lacks what is searched for.
        requested: runs that the user named, who then wants them all; None = those that have it.

    Raises:
        NotInProjectError: no run has it, or one that was named lacks it.
    """
    results, errors = [], []
    for run in runs:
        try:
            results.append((run, find(run)))
        except NotInProjectError as error:
            errors.append(error)
    if errors and (requested is not None or not results):
        raise errors[0]
    if errors:
        total = len(results) + len(errors)
        logger.warning("Left out %d of %d runs: %s", len(errors), total, errors[0])
    return results
