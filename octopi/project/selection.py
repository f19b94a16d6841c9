"""Choose what a command works on: picks, tomograms, label volumes, and the runs that have them.

`Project.select` takes the runs that are named; here follows what each of them must have. Of picks
one set is chosen for each object, or several that are named to count together.
"""

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from octopi.errors import DataError, NotInProjectError, SettingError, shorten_list
from octopi.geometry import MAX_OFFSET, Grid, format_shape
from octopi.project.objects import NO_OBJECTS
from octopi.project.queries import PickSets, PicksQuery, SegmentationQuery, TomogramQuery
from octopi.project.run import Run

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
PicksOrSets = TypeVar("PicksOrSets", PicksQuery, PickSets)
Source = str | Sequence[str] | None
OCTOPI_USER = "octopi"  # octopi's own picks are taken for truth only where they are named
REJECTED_SUFFIX = "-rejected"  # of users whose picks are places found to be no particle


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


def find_picks(
    runs: Sequence[Run], *, objects: Sequence[str] | None, source: str | None
) -> dict[str, PicksQuery]:
    """Find one set of picks per object.

    Args:
        runs: to search; a set of picks need not be in all of them.
        objects: names; None = every object that the source has picks of.
        source: `user/session`, or None: the only user and session there is, octopi's own and
            rejected places left out.

    Returns:
        Object name -> picks.

    Raises:
        NotInProjectError: no run has these picks.
        SettingError: an object has several sets of picks.
    """
    available = {query for run in runs for query in run.picks()}
    candidates = sorted((q for q in available if is_annotation(q, source)), key=str)
    names = list(objects or sorted({query.object_name for query in candidates}))
    if not names:
        raise _not_in_project(source or "to learn from", available)
    picks = {}
    for name in names:
        fit = [query for query in candidates if query.object_name == name]
        if not fit:
            raise _not_in_project(f"{name}:{source}" if source else f"of {name}", available)
        if len(fit) > 1:
            raise SettingError(
                f"There is more than one set of picks of {name}: {shorten_list(fit)}. "
                "Say whose are meant (USER/SESSION), or make one set of them: octopi merge_picks."
            )
        picks[name] = fit[0]
    return picks


def find_pick_sets(
    runs: Sequence[Run], *, objects: Sequence[str] | None, source: Source, rejected: Source
) -> tuple[dict[str, PickSets], dict[str, PickSets]]:
    """Find the sets of picks of each object that count together, and its rejected places.

    Args:
        runs: to search; a set need not be in all of them.
        objects: see `find_picks`.
        source: as in `find_picks`, or a list of `user/session` and `name:user/session`.
        rejected: the same; None = nothing was rejected.

    Returns:
        Object name -> sets of picks, and the same of those that have rejected places.

    Raises:
        NotInProjectError: no run has one of the sets.
        SettingError: a set is named twice, or both as picks and as rejected places; an object has
            several sets and none is named, or is rejected by name but not picked.
    """
    available = {query for run in runs for query in run.picks()}
    if source is None or (isinstance(source, str) and ":" not in source):
        chosen = find_picks(runs, objects=objects, source=source)
        picks = {name: (query,) for name, query in chosen.items()}
    else:
        picks = _named_sets(source, available)
        if missing := [name for name in objects or () if name not in picks]:
            raise _not_in_project(f"of {missing[0]} by {shorten_list(_listed(source))}", available)
        picks = {name: picks[name] for name in objects or picks}
    places = _named_sets(rejected, available)
    both = [q for name in picks.keys() & places for q in picks[name] if q in places[name]]
    if both:
        raise SettingError(
            f"{min(map(str, both))} cannot be both picks and rejected places. Leave it out of one "
            "of the two."
        )
    rejected_names = {text.partition(":")[0] for text in _listed(rejected) if ":" in text}
    if unpicked := sorted(rejected_names - picks.keys()):
        raise SettingError(
            f"Places of {shorten_list(unpicked)} are rejected, of which there are no picks. "
            f"Objects with picks: {shorten_list(sorted(picks))}."
        )
    return (
        {name: PickSets(queries) for name, queries in picks.items()},
        {name: PickSets(queries) for name, queries in places.items() if name in picks},
    )


def _listed(source: Source) -> list[str]:
    return [source] if isinstance(source, str) else list(source or ())


def _named_sets(
    source: Source, available: Collection[PicksQuery]
) -> dict[str, tuple[PicksQuery, ...]]:
    """Return the sets of each object, in the order in which they are named."""
    sets: dict[str, tuple[PicksQuery, ...]] = {}
    for text in _listed(source):
        if ":" in text:
            matching = {PicksQuery.parse(text)} & set(available)
        elif text.count("/") == 1:
            matching = {query for query in available if query.user_session == text}
        else:
            raise SettingError(
                f"{text!r} does not name picks. Write user/session, as in data-portal/1, or "
                "object:user/session."
            )
        if not matching:
            raise _not_in_project(text, available)
        for query in sorted(matching, key=str):
            if query in sets.get(query.object_name, ()):
                raise SettingError(f"The picks {query} are named twice. Name each set once.")
            sets[query.object_name] = (*sets.get(query.object_name, ()), query)
    return sets


def keep_known(
    picks: Mapping[str, PicksOrSets], config_names: Collection[str], *, required: bool
) -> dict[str, PicksOrSets]:
    """Return the picks of objects that the copick config has, in its order; warn of the others.

    Args:
        picks: object name -> picks.
        config_names: names of the objects in the copick config.
        required: whether the user named the objects.

    Raises:
        DataError: the config has none of the objects, or lacks one that the user named.
    """
    if not config_names:
        raise DataError(NO_OBJECTS)
    kept = {name: picks[name] for name in config_names if name in picks}
    for name in sorted(picks.keys() - kept):
        error = NotInProjectError("The copick config", "object", name, config_names)
        if required or not kept:
            raise error
        logger.warning("The picks %s are left out. %s", picks[name], error)
    return kept


def is_annotation(query: PicksQuery, source: Source) -> bool:
    """Return whether picks count as truth.

    Args:
        query: the picks.
        source: `user/session` or `name:user/session` of the truth, or several of these; None =
            everyone's but octopi's own and rejected places.
    """
    if source is None:
        return query.user_id != OCTOPI_USER and not query.user_id.endswith(REJECTED_SUFFIX)
    return bool({query.user_session, str(query)} & set(_listed(source)))


def _not_in_project(requested: str, available: Iterable[PicksQuery]) -> NotInProjectError:
    return NotInProjectError("The project", "picks", requested, sorted(map(str, available)))
