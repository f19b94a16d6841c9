"""Split picks by their distance to a membrane, turn them to it, and find the middles of pairs.

Run it as `octopi extract membrane=NAME:USER/SESSION` or `python -m octopi.extract …`.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.checks.picks import warn_of_odd_picks
from octopi.cli.job import Command, log_dry_run
from octopi.config.build import build
from octopi.config.settings import ExtractSettings
from octopi.errors import DataError, NotInProjectError, SettingError, did_you_mean, shorten_list
from octopi.geometry import Grid
from octopi.membranes.split import PAIR_GROUPS, SIDES, PickGroup, pair_picks, split_picks
from octopi.membranes.surface import Surface, fill_enclosed
from octopi.processes.job_array import start_workers
from octopi.project import Project
from octopi.project.edits import check_not_edited, check_still_not_edited
from octopi.project.objects import mark_values, volume_labels
from octopi.project.queries import PicksQuery, SegmentationQuery, check_name
from octopi.project.run import Run
from octopi.project.selection import (
    check_covers_tomogram,
    find_picks,
    keep_runs_with,
    readable_grids,
)
from octopi.project.shared_work import failing_alone, output_settings
from octopi.project.voxel_values import odd_share
from octopi.system.job_folder import Job

logger = logging.getLogger(__name__)


def extract(settings: ExtractSettings, _job: Job) -> None:
    """Split the picks of every run; write each group of them, also an empty one, as a session."""
    check_settings(settings)
    project: Project = build(settings.project, "project")
    runs = project.select(settings.runs, keep_contents=True)
    queries = find_picks(runs, objects=settings.objects, source=settings.picks).values()
    inputs = keep_runs_with(runs, lambda run: find_inputs(run, queries, settings), settings.runs)
    outputs = {output_query(q, name, settings) for q in queries for name in group_names(settings)}
    for run, _ in inputs:
        for output in outputs:
            run.check_can_write(output)
    check_not_edited(
        [run for run, _ in inputs],
        lambda run: outputs.intersection(run.picks()),
        overwrite=settings.overwrite,
    )
    check_membrane_label([run for run, _ in inputs], settings)
    grids = {run.name: next(iter(readable_grids(run)), None) for run, _ in inputs}
    for query in queries:
        picks = {run.name: groups[query].points for run, groups in inputs if query in groups}
        warn_of_odd_picks(query, picks, grids)
    counts: Counter[tuple[str, str]] = Counter()
    output = f"picks {settings.user_id}/{output_session('*', settings)}"
    with project.writing(
        [run for run, _ in inputs], output, output_settings(settings), dry_run=settings.dry_run
    ) as work:
        for run, picks in work.one_by_one(inputs, lambda pair: pair[0], desc="extract"):
            with failing_alone(run):
                counts += extract_run(run, picks, settings)
    lines = format_counts(counts, [query.object_name for query in queries], settings)
    if settings.dry_run:
        names = shorten_list(run.name for run, _ in inputs)
        log_dry_run("extract", [f"would run  {len(inputs)} runs: {names}", *lines])
    else:
        logger.info("Picks of %d runs are split:\n%s", len(inputs), "\n".join(lines))


def extract_run(
    run: Run, picks: Mapping[PicksQuery, PickGroup], settings: ExtractSettings
) -> Counter[tuple[str, str]]:
    """Split and write the picks of a run; count those of each group and object."""
    counts: Counter[tuple[str, str]] = Counter()
    surface = read_surface(run, settings)
    for query, all_picks in picks.items():
        for name, group in split(all_picks, surface, settings).items():
            counts[name, query.object_name] += len(group.points)
            if not settings.dry_run:
                output = output_query(query, name, settings)
                check_still_not_edited(run, output, overwrite=settings.overwrite)
                run.write_picks(output, group.points, orientations=group.orientations)
    return counts


def check_settings(settings: ExtractSettings) -> None:
    """Raise SettingError if there is nothing to do, or a session cannot be named as requested."""
    if settings.membrane is None and settings.pairs is None:
        raise SettingError(
            "Nothing says what to extract. Give membrane=NAME:USER/SESSION, a segmentation to "
            "split picks by, or pairs=[from,to] in Å."
        )
    check_name("user_id", settings.user_id)
    for name in group_names(settings):
        check_name("session_id", output_session(name, settings))


def group_names(settings: ExtractSettings) -> list[str]:
    """Return the names of the groups that picks are split into."""
    sides = SIDES if settings.membrane else ()
    return [*sides, *(PAIR_GROUPS if settings.pairs else ())]


def output_session(group: str, settings: ExtractSettings) -> str:
    """Return the session that a group of picks is written as."""
    return f"{settings.session_id or settings.picks.split('/')[1]}-{group}"


def output_query(query: PicksQuery, group: str, settings: ExtractSettings) -> PicksQuery:
    """Return the query that a group of an object's picks is written under."""
    return PicksQuery(query.object_name, settings.user_id, output_session(group, settings))


def find_inputs(
    run: Run, queries: Iterable[PicksQuery], settings: ExtractSettings
) -> dict[PicksQuery, PickGroup]:
    """Read the picks that the run has; raise NotInProjectError without any or a segmentation."""
    existing = run.picks()
    if not set(existing) & set(queries):
        requested = " or ".join(map(str, queries))
        raise NotInProjectError(f"Run {run.name}", "picks", requested, existing)
    if settings.membrane:
        query = SegmentationQuery.parse(settings.membrane)
        check_covers_tomogram(run, query, run.open_segmentation(query).grid)
    return {q: PickGroup(*run.read_oriented(q)) for q in queries if q in existing}


def read_surface(run: Run, settings: ExtractSettings) -> Surface | None:
    """Read the surface of a run's segmentation; return None without `membrane`."""
    if settings.membrane is None:
        return None
    query = SegmentationQuery.parse(settings.membrane)
    mask, grid, attributes = read_labels(run, query)
    if settings.membrane_label is not None:
        mask = np.where(mask == find_label(settings.membrane_label, attributes, run), mask, 0)
    if not mask.any():
        logger.warning("Run %s: %s is empty there: all picks are outside.", run.name, query)
    if text := odd_share(np.count_nonzero(mask), mask.size):
        logger.warning("Run %s: %s %s", run.name, query, text)
    if settings.fill_enclosed:
        mask = fill_enclosed(mask)
    return Surface(mask, grid, smoothing=settings.smoothing)


def read_labels(run: Run, query: SegmentationQuery) -> tuple[NDArray[Any], Grid, Mapping[str, Any]]:
    """Read a segmentation, its grid and attributes; background where its values are no labels."""
    labels, grid, attributes = run.read_segmentation(query)
    if marks := mark_values(attributes):
        labels = np.where(np.isin(labels, list(marks)), 0, labels)
    return labels, grid, attributes


def check_membrane_label(runs: Iterable[Run], settings: ExtractSettings) -> None:
    """Raise DataError unless the segmentation of at least one run holds `membrane_label`."""
    if settings.membrane is None or settings.membrane_label is None:
        return
    query, existing, is_there = SegmentationQuery.parse(settings.membrane), set(), False
    for run in runs:
        labels, _, attributes = read_labels(run, query)
        values = set(np.unique(labels).tolist()) - {0}
        is_there |= find_label(settings.membrane_label, attributes, run) in values
        existing |= values
    if not is_there:
        raise DataError(
            f"{query} holds no label {settings.membrane_label} in any run. It holds: "
            f"{shorten_list(f'{value:g}' for value in sorted(existing)) or 'none'}. Give "
            "membrane_label=… one of these, or leave it out for all labels."
        )


def find_label(label: int | str, attributes: Mapping[str, Any], run: Run) -> int:
    """Return a label as a number; look a name up in the attributes, else in the copick config."""
    if isinstance(label, int):
        return label
    labels = volume_labels(attributes, run.objects)
    if label not in labels:
        raise DataError(
            f"Run {run.name}: no label is called {label}.{did_you_mean(label, labels)} "
            f"There are: {shorten_list(labels) or 'none'}."
        )
    return labels[label]


def split(
    picks: PickGroup, surface: Surface | None, settings: ExtractSettings
) -> dict[str, PickGroup]:
    """Split the picks by the surface, if any, and pair those near it, if requested."""
    groups: dict[str, PickGroup] = {}
    candidates = picks
    if surface is not None:
        groups = split_picks(
            picks, surface, settings.near_distance, orient=settings.orient_to_membrane
        )
        candidates = groups["near"]
    if settings.pairs is not None:
        groups |= pair_picks(
            candidates, settings.pairs, surface if settings.orient_to_membrane else None
        )
    return groups


def format_counts(
    counts: Mapping[tuple[str, str], int], object_names: Iterable[str], settings: ExtractSettings
) -> list[str]:
    """Format a line for each group: its user and session, and how many picks of each object."""
    return [
        f"{settings.user_id}/{output_session(group, settings)}: "
        + ", ".join(f"{object_name} {counts[group, object_name]}" for object_name in object_names)
        for group in group_names(settings)
    ]


main = Command("extract", extract, start_workers=start_workers)

if __name__ == "__main__":
    main()
