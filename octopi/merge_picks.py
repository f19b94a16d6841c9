"""Unite several sets of picks, less the places that were rejected, in a set of its own.

Run it as `octopi merge_picks picks=[octopi/1,curator/1] user_id=merged` or
`python -m octopi.merge_picks …`.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from octopi.cli.job import Command, log_dry_run
from octopi.config.build import build
from octopi.config.settings import MergePicksSettings
from octopi.errors import DataError, NotInProjectError, shorten_list
from octopi.geometry import Points
from octopi.pick_sets import sum_counts
from octopi.project import Project
from octopi.project.edits import free_session
from octopi.project.queries import PickSets, PicksQuery
from octopi.project.run import Run
from octopi.project.selection import find_pick_sets, keep_known, keep_runs_with
from octopi.project.shared_work import output_settings
from octopi.project.united_picks import UnitedPicks, unite_stored
from octopi.system.job_folder import Job

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MergedPicks:
    """The union of the sets of an object in a run.

    Args:
        query: under which it is written.
        united: the picks.
        orientations: (n, 3, 3) of them; None where one is unknown.
        is_there: whether the run has these very picks already.
    """

    query: PicksQuery
    united: UnitedPicks
    orientations: NDArray[np.float64] | None
    is_there: bool


def merge_picks(settings: MergePicksSettings, _job: Job) -> None:
    """Write the union of the sets of every object, run by run; replace nothing."""
    project: Project = build(settings.project, "project")
    runs = project.select(settings.runs, keep_contents=True)
    picks, rejected = find_pick_sets(
        runs, objects=settings.objects, source=settings.picks, rejected=settings.rejected
    )
    picks = keep_known(picks, project.objects, required=bool(settings.objects))
    what = f"picks {settings.user_id}/{settings.session_id}"
    with project.writing(runs, what, output_settings(settings), dry_run=settings.dry_run) as work:
        merged = keep_runs_with(
            runs, lambda run: merge_run(run, picks, rejected, settings), settings.runs
        )
        for run, of_run in work.one_by_one(merged, lambda pair: pair[0], desc="merge_picks"):
            for one in of_run.values():
                if not (one.united.points is None or one.is_there or settings.dry_run):
                    run.write_picks(
                        one.query,
                        one.united.points,
                        orientations=one.orientations,
                        by_person=True,
                    )
    lines = []
    for name, sets in picks.items():
        counts = [of_run[name].united.counts for _, of_run in merged]
        lines.append(f"{name}: {sum_counts(sets.user_sessions, counts)}")
    names = [run.name for run, _ in merged]
    if settings.dry_run:
        log_dry_run("merge_picks", [f"would write {what} of {shorten_list(names)}", *lines])
    else:
        logger.info("The %s of %d runs hold\n%s", what, len(names), "\n".join(lines))


def merge_run(
    run: Run,
    picks: Mapping[str, PickSets],
    rejected: Mapping[str, PickSets],
    settings: MergePicksSettings,
) -> dict[str, MergedPicks]:
    """Unite the sets of each object in a run.

    Raises:
        NotInProjectError: the run has none of the sets.
        SettingError: picks cannot be written under this user and session.
        DataError: the run has other picks under them, or an object has no radius.
    """
    existing = run.picks()
    sources = [query for sets in picks.values() for query in sets.queries]
    if not set(existing) & set(sources):
        raise NotInProjectError(f"Run {run.name}", "picks", shorten_list(sources), existing)
    sets = [*picks.values(), *rejected.values()]
    stored = {q: run.read_oriented(q) for one in sets for q in one.queries if q in existing}
    points = {query: of_query for query, (of_query, _) in stored.items()}
    merged = {}
    for name, united in unite_stored(run, points, picks, rejected).items():
        parts = [
            (keep, stored[query][1])
            for query, keep in zip(picks[name].queries, united.kept, strict=True)
            if keep.any()
        ]
        rotations = [of_set[keep] for keep, of_set in parts if of_set is not None]
        is_oriented = bool(parts) and len(rotations) == len(parts)
        orientations = np.concatenate(rotations) if is_oriented else None
        query = PicksQuery(name, settings.user_id, settings.session_id)
        is_there = query in existing
        if is_there and (
            query in sources or not _has_same(run, query, united.points, orientations)
        ):
            raise DataError(
                f"Run {run.name} already has the picks {query}, {len(run.read_picks(query))} of "
                "them. merge_picks replaces nothing: write another session, as with "
                f"session_id={free_session([run], query)}."
            )
        run.check_can_write(query)
        merged[name] = MergedPicks(query, united, orientations, is_there)
    return merged


def _has_same(
    run: Run,
    query: PicksQuery,
    points: Points | None,
    orientations: NDArray[np.float64] | None,
) -> bool:
    """Return whether stored picks have these places, scores and orientations."""
    stored, stored_orientations = run.read_oriented(query)
    if (
        points is None
        or not np.array_equal(stored.positions, points.positions)
        or not np.array_equal(stored.scores_or_ones, points.scores_or_ones)
    ):
        return False
    if stored_orientations is None or orientations is None:
        return stored_orientations is orientations
    return np.array_equal(stored_orientations, orientations)


main = Command("merge_picks", merge_picks)

if __name__ == "__main__":
    main()
