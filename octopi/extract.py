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

from octopi.config import build
from octopi.errors import DataError, NotInProjectError, SettingError, did_you_mean
from octopi.geometry import Points
from octopi.job import Job, command, tell
from octopi.membranes.pairs import middles, pairs
from octopi.membranes.sides import SIDES, sides
from octopi.membranes.surface import Surface, filled, turned_to
from octopi.project import (
    PicksQuery,
    Project,
    Run,
    SegmentationQuery,
    check_name,
    find_in_runs,
    find_picks,
    refuse_others_picks,
)
from octopi.project.objects import object_labels
from octopi.settings import ExtractSettings

logger = logging.getLogger(__name__)

PAIRED = ("middle", "ends")


@dataclass(frozen=True)
class Part:
    """Some picks, with rotations (n, 3, 3) from the object's frame to the tomogram's or None."""

    points: Points
    orientations: NDArray[np.float64] | None

    def __getitem__(self, keep: NDArray) -> "Part":
        """The picks a mask or index array keeps."""
        turns = None if self.orientations is None else self.orientations[keep]
        return Part(self.points[keep], turns)


def extract(settings: ExtractSettings, _job: Job) -> None:
    """Every run has the picks of each part, in a session each; of empty parts, none."""
    check_settings(settings)
    project: Project = build(settings.project, "project")
    runs = project.select(settings.runs)
    queries = find_picks(runs, objects=settings.objects, source=settings.picks)
    named = settings.runs is not None
    held_by = find_in_runs(runs, lambda run: check_held(run, queries, settings), named=named)
    runs = [run for run, _ in held_by]
    check_outputs(runs, queries, settings)
    project.check_writable(touch=not settings.dry_run)
    found: Counter[tuple[str, str]] = Counter()
    for run in tqdm(runs, desc="extract", unit="run"):
        surface = read_surface(run, settings)
        held = set(run.picks())
        for query in (query for query in queries.values() if query in held):
            whole = Part(*run.read_oriented(query))
            for name, part in parts_of(whole, surface, settings).items():
                found[query.object_name, name] += len(part.points)
                if not settings.dry_run:
                    target = target_of(query, name, settings)
                    run.write_picks(target, part.points, orientations=part.orientations)
    lines = summary(found, queries, settings)
    if settings.dry_run:
        tell("extract", [f"would run  {len(runs)} runs: {', '.join(r.name for r in runs)}", *lines])
        return
    logger.info("Picks of %d runs are split:\n%s", len(runs), "\n".join(lines))


def check_settings(settings: ExtractSettings) -> None:
    """Raise SettingError for what cannot be asked."""
    if settings.membrane is None and settings.pairs is None:
        raise SettingError(
            "Nothing says what to extract. Give membrane=NAME:USER/SESSION, a segmentation to "
            "split picks by, or pairs=[from,to] in Å."
        )
    for key in ("near", "pairs"):
        given = getattr(settings, key)
        if given is not None and (
            len(given) != 2 or not all(isinstance(value, int | float) for value in given)
        ):
            raise SettingError(f"{key} is two numbers in Å, [from, to], not {given}.")
    if settings.smoothing < 0:
        raise SettingError(f"smoothing must be 0 Å or more, not {settings.smoothing}.")
    try:
        sides(np.zeros(0), settings.near)
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


def target_of(query: PicksQuery, name: str, settings: ExtractSettings) -> PicksQuery:
    """The picks that are written of an object's part."""
    return PicksQuery(query.object_name, settings.user_id, session_of(name, settings))


def check_held(run: Run, queries: Mapping[str, PicksQuery], settings: ExtractSettings) -> None:
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
        target_of(query, name, settings)
        for query in queries.values()
        for name in part_names(settings)
    }
    for run in runs:
        for target in targets:
            run.check_output(target)
    refuse_others_picks(runs, targets.__contains__, overwrite=settings.overwrite)


def read_surface(run: Run, settings: ExtractSettings) -> Surface | None:
    """The surface of a run's segmentation; None where none is asked for."""
    if settings.membrane is None:
        return None
    query = SegmentationQuery.parse(settings.membrane)
    mask, grid, attributes = run.read_segmentation(query)
    if settings.label is not None:
        mask = np.where(mask == label_of(settings.label, attributes, run), mask, 0)
    if not mask.any():
        logger.warning("Run %s: %s is empty there: all picks are outside.", run.name, query)
    return Surface(filled(mask) if settings.fill else mask, grid, smoothing=settings.smoothing)


def label_of(label: Any, attributes: Mapping[str, Any], run: Run) -> int:
    """The number of a label: itself, or an object's as the segmentation or copick config says."""
    if isinstance(label, int):
        return label
    held = attributes.get("labels") or object_labels(run.objects)
    if label not in held:
        raise DataError(
            f"Run {run.name}: no label is called {label}.{did_you_mean(label, held)} "
            f"There are: {', '.join(held) or 'none'}."
        )
    return held[label]


def parts_of(whole: Part, surface: Surface | None, settings: ExtractSettings) -> dict[str, Part]:
    """The picks of each part."""
    if surface is None:
        return paired_of(whole, None, surface, settings)
    places = surface.places(whole.points.positions)
    split = sides(places.distances, settings.near)
    parts = {name: whole[keep] for name, keep in split.items()}
    near = split["near"]
    if settings.orient:
        parts["near"] = Part(parts["near"].points, turned_to(places.normals[near]))
    return parts | paired_of(parts["near"], places.labels[near], surface, settings)


def paired_of(
    part: Part, labels: NDArray | None, surface: Surface | None, settings: ExtractSettings
) -> dict[str, Part]:
    """The ends of the pairs there are, and their middles; nothing unless pairs are asked for."""
    if settings.pairs is None:
        return {}
    paired = pairs(part.points.positions, settings.pairs, labels)
    points, turns = middles(part.points, paired), None
    if surface is not None and settings.orient:
        turns = turned_to(surface.places(points.positions).normals)
    return {"middle": Part(points, turns), "ends": part[paired.ravel()]}


def summary(
    found: Mapping[tuple[str, str], int],
    queries: Mapping[str, PicksQuery],
    settings: ExtractSettings,
) -> list[str]:
    """How many picks of each object are in each part, and what these are called."""
    return [
        f"{settings.user_id}/{session_of(name, settings)}: "
        + ", ".join(f"{object_name} {found[object_name, name]}" for object_name in queries)
        for name in part_names(settings)
    ]


main = command("extract", extract)

if __name__ == "__main__":
    main()
