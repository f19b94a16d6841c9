"""Split picks by their distance to a membrane, turn them to it, and find the middles of pairs.

Run it as `octopi extract membrane=NAME:USER/SESSION` or `python -m octopi.extract …`.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from octopi.cli.job import command, log_dry_run
from octopi.config.build import build
from octopi.config.settings import ExtractSettings
from octopi.errors import DataError, NotInProjectError, SettingError, did_you_mean
from octopi.geometry import Points
from octopi.membranes.pairs import middles, pairs
from octopi.membranes.split import SIDES, split_by_distance
from octopi.membranes.surface import Surface, fill_enclosed, rotations_to_normals
from octopi.project import (
    PicksQuery,
    Project,
    Run,
    SegmentationQuery,
    check_name,
    check_replaces_only_own_picks,
    find_picks,
    keep_runs_with,
)
from octopi.project.objects import object_labels
from octopi.system.job_folder import Job

logger = logging.getLogger(__name__)

PAIRED = ("middle", "ends")


@dataclass(frozen=True)
class PickGroup:
    """Some picks, with rotations (n, 3, 3) from the object's frame to the tomogram's or None."""

    points: Points
    orientations: NDArray[np.float64] | None

    def __getitem__(self, keep: NDArray) -> "PickGroup":
        """The picks a mask or index array keeps."""
        rotations = None if self.orientations is None else self.orientations[keep]
        return PickGroup(self.points[keep], rotations)


def extract(settings: ExtractSettings, _job: Job) -> None:
    """Every run has the picks of each part, in a session each; of empty parts, none."""
    check_settings(settings)
    project: Project = build(settings.project, "project")
    runs = project.select(settings.runs)
    queries = find_picks(runs, objects=settings.objects, source=settings.picks)
    named = settings.runs is not None
    held_by = keep_runs_with(
        runs, lambda run: check_has_inputs(run, queries, settings), named=named
    )
    runs = [run for run, _ in held_by]
    check_outputs(runs, queries, settings)
    project.check_writable(touch=not settings.dry_run)
    counts: Counter[tuple[str, str]] = Counter()
    for run in tqdm(runs, desc="extract", unit="run"):
        surface = read_surface(run, settings)
        existing_picks = set(run.picks())
        for query in (query for query in queries.values() if query in existing_picks):
            all_picks = PickGroup(*run.read_oriented(query))
            for name, part in split_picks(all_picks, surface, settings).items():
                counts[query.object_name, name] += len(part.points)
                if not settings.dry_run:
                    target = output_query(query, name, settings)
                    run.write_picks(target, part.points, orientations=part.orientations)
    lines = summary(counts, queries, settings)
    if settings.dry_run:
        log_dry_run(
            "extract", [f"would run  {len(runs)} runs: {', '.join(r.name for r in runs)}", *lines]
        )
        return
    logger.info("Picks of %d runs are split:\n%s", len(runs), "\n".join(lines))


def check_settings(settings: ExtractSettings) -> None:
    """Raise SettingError for what cannot be asked."""
    if settings.membrane is None and settings.pairs is None:
        raise SettingError(
            "Nothing says what to extract. Give membrane=NAME:USER/SESSION, a segmentation to "
            "split picks by, or pairs=[from,to] in Å."
        )
    for key in ("near_distance", "pairs"):
        distance_range = getattr(settings, key)
        if distance_range is not None and (
            len(distance_range) != 2
            or not all(isinstance(value, int | float) for value in distance_range)
        ):
            raise SettingError(f"{key} is two numbers in Å, [from, to], not {distance_range}.")
    if settings.smoothing < 0:
        raise SettingError(f"smoothing must be 0 Å or more, not {settings.smoothing}.")
    try:
        split_by_distance(np.zeros(0), settings.near_distance)
        if settings.pairs is not None:
            pairs(np.zeros((0, 3)), settings.pairs)
    except ValueError as error:
        raise SettingError(str(error)) from error
    if settings.picks.count("/") != 1:
        raise SettingError(f"picks is user/session, as in octopi/1, not {settings.picks}.")
    check_name("user_id", settings.user_id)
    for name in part_names(settings):
        check_name("session_id", session_of(name, settings))


def part_names(settings: ExtractSettings) -> list[str]:
    """What picks are split into."""
    split = SIDES if settings.membrane else ()
    return [*split, *(PAIRED if settings.pairs is not None else ())]


def session_of(name: str, settings: ExtractSettings) -> str:
    """The session that a part's picks are written as."""
    return f"{settings.session_id or settings.picks.split('/')[1]}-{name}"


def output_query(query: PicksQuery, name: str, settings: ExtractSettings) -> PicksQuery:
    """The picks that are written of an object's part."""
    return PicksQuery(query.object_name, settings.user_id, session_of(name, settings))


def check_has_inputs(
    run: Run, queries: Mapping[str, PicksQuery], settings: ExtractSettings
) -> None:
    """Raise NotInProjectError if the run lacks all of the picks, or the segmentation."""
    if not set(run.picks()) & set(queries.values()):
        asked = " or ".join(map(str, queries.values()))
        raise NotInProjectError(f"Run {run.name}", "picks", asked, run.picks())
    if settings.membrane:
        run.segmentation_attributes(SegmentationQuery.parse(settings.membrane))


def check_outputs(
    runs: list[Run], queries: Mapping[str, PicksQuery], settings: ExtractSettings
) -> None:
    """Raise SettingError if what is to be written cannot be, or would replace others' picks."""
    targets = {
        output_query(query, name, settings)
        for query in queries.values()
        for name in part_names(settings)
    }
    for run in runs:
        for target in targets:
            run.check_can_write(target)
    check_replaces_only_own_picks(runs, targets.__contains__, overwrite=settings.overwrite)


def read_surface(run: Run, settings: ExtractSettings) -> Surface | None:
    """The surface of a run's segmentation; None where none is asked for."""
    if settings.membrane is None:
        return None
    query = SegmentationQuery.parse(settings.membrane)
    mask, grid, attributes = run.read_segmentation(query)
    if settings.membrane_label is not None:
        mask = np.where(mask == label_of(settings.membrane_label, attributes, run), mask, 0)
    if not mask.any():
        logger.warning("Run %s: %s is empty there: all picks are outside.", run.name, query)
    return Surface(
        fill_enclosed(mask) if settings.fill_enclosed else mask, grid, smoothing=settings.smoothing
    )


def label_of(label: Any, attributes: Mapping[str, Any], run: Run) -> int:
    """The number of a label: itself, or an object's as the segmentation or copick config says."""
    if isinstance(label, int):
        return label
    labels = attributes.get("labels") or object_labels(run.objects)
    if label not in labels:
        raise DataError(
            f"Run {run.name}: no label is called {label}.{did_you_mean(label, labels)} "
            f"There are: {', '.join(labels) or 'none'}."
        )
    return labels[label]


def split_picks(
    whole: PickGroup, surface: Surface | None, settings: ExtractSettings
) -> dict[str, PickGroup]:
    """The picks of each part."""
    if surface is None:
        return pair_groups(whole, None, surface, settings)
    places = surface.nearest(whole.points.positions)
    split = split_by_distance(places.distances, settings.near_distance)
    parts = {name: whole[keep] for name, keep in split.items()}
    near = split["near"]
    if settings.orient_to_membrane:
        parts["near"] = PickGroup(parts["near"].points, rotations_to_normals(places.normals[near]))
    return parts | pair_groups(parts["near"], places.labels[near], surface, settings)


def pair_groups(
    part: PickGroup, labels: NDArray | None, surface: Surface | None, settings: ExtractSettings
) -> dict[str, PickGroup]:
    """The ends of the pairs there are, and their middles; nothing unless pairs are asked for."""
    if settings.pairs is None:
        return {}
    paired = pairs(part.points.positions, settings.pairs, labels)
    points, turns = middles(part.points, paired), None
    if surface is not None and settings.orient_to_membrane:
        turns = rotations_to_normals(surface.nearest(points.positions).normals)
    return {"middle": PickGroup(points, turns), "ends": part[paired.ravel()]}


def summary(
    counts: Mapping[tuple[str, str], int],
    queries: Mapping[str, PicksQuery],
    settings: ExtractSettings,
) -> list[str]:
    """How many picks of each object are in each part, and what these are called."""
    return [
        f"{settings.user_id}/{session_of(name, settings)}: "
        + ", ".join(f"{object_name} {counts[object_name, name]}" for object_name in queries)
        for name in part_names(settings)
    ]


main = command("extract", extract)

if __name__ == "__main__":
    main()
