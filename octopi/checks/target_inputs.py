"""What `create_targets` paints into targets: found and checked before any is written."""

import contextlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.checks.picks import describe_not_annotated, warn_of_odd_picks
from octopi.config.setting_types import TargetsSettings
from octopi.config.settings import CreateTargetsSettings
from octopi.data.cache import working_grid
from octopi.errors import DataError, NotInProjectError, SettingError, shorten_list
from octopi.geometry import Grid, Points
from octopi.masks import fit_mask
from octopi.project import Project
from octopi.project.digests import digest_array
from octopi.project.provenance import REGION
from octopi.project.queries import PickSets, SegmentationQuery
from octopi.project.run import Run
from octopi.project.selection import (
    REJECTED_SUFFIX,
    find_pick_sets,
    find_segmentations,
    find_tomograms,
    keep_known,
    keep_runs_with,
)
from octopi.project.united_picks import UnitedPicks, read_united_picks
from octopi.project.voxel_values import odd_share
from octopi.targets import (
    check_any_inside,
    check_has_marks,
    drop_unknown,
    mark_unknown,
    partial_objects,
    target_labels,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PaintingPlan:
    """What is painted into the target of each run.

    Args:
        picks: object name -> the sets of picks that its spheres are centred on.
        rejected: object name -> the sets of places found to be none of it.
        masks: object name -> the segmentation that it is copied from.
        radii: object name -> radius of its spheres in Å.
        object_radii: object name -> its radius in Å in the copick config.
        labels: object name -> label.
        annotated: mask inside which everything is annotated; None = everywhere.
        partial: names of the objects of which not every particle is annotated.
    """

    picks: dict[str, PickSets]
    rejected: dict[str, PickSets]
    masks: dict[str, SegmentationQuery]
    radii: dict[str, float]
    object_radii: dict[str, float]
    labels: dict[str, int]
    annotated: SegmentationQuery | None
    partial: list[str]

    def attributes(self) -> dict[str, Any]:
        """Return the attributes that are stored with each target."""
        annotation = dict.fromkeys(self.partial, "partial")
        rejected = {name: str(sets) for name, sets in self.rejected.items()}
        return {
            **({"annotated": str(self.annotated)} if self.annotated else {}),
            **({"annotation": annotation} if annotation else {}),
            "labels": self.labels,
            "sphere_radii": self.radii,
            "object_radii": self.object_radii,
            "picks": {name: str(sets) for name, sets in self.picks.items()},
            **({"rejected": rejected} if rejected else {}),
            "masks": {name: str(query) for name, query in self.masks.items()},
        }


@dataclass(frozen=True)
class RunInputs:
    """What the target of one run is painted from; all of it was read once and is sound.

    Args:
        run: of the target.
        grid: of the target.
        united: object name -> its picks, and how they came about.
        picks: object name -> its picks, also those outside; without those not annotated.
        inside: object name -> its picks inside the tomogram.
        num_known: object name -> number of its picks inside what is annotated.
        mask_values: mask -> value that it holds inside; 0 where it is empty.
        mask_digests: mask, or REGION -> hash of its voxels.
        not_annotated: names of the objects that the run has neither picks nor a mask of, sorted.
    """

    run: Run
    grid: Grid
    united: dict[str, UnitedPicks]
    picks: dict[str, Points]
    inside: dict[str, Points]
    num_known: dict[str, int]
    mask_values: dict[str, float]
    mask_digests: dict[str, str]
    not_annotated: list[str]


def make_plan(project: Project, runs: list[Run], settings: TargetsSettings) -> PaintingPlan:
    """Choose the picks, masks, radii and labels.

    Raises:
        NotInProjectError: no run has the picks, or one of the masks; or the copick config lacks
            the objects.
        DataError: an object has no radius.
        SettingError: an object has several sets of picks and none is named, or a radius scale or
            an annotation but no picks.
    """
    if not settings.segmentations:
        project.require_objects()
    scales = settings.radius_scales or {}
    masks = find_segmentations(runs, settings.segmentations)
    picks, rejected = find_pick_sets(
        runs, objects=settings.objects, source=settings.picks, rejected=settings.rejected
    )
    picks = keep_known(picks, project.objects, required=bool(settings.objects))
    rejected = {name: sets for name, sets in rejected.items() if name in picks}
    names = list(picks)
    if unknown_objects := scales.keys() - picks.keys():
        raise SettingError(
            f"targets.radius_scales names {shorten_list(sorted(unknown_objects))}, of which there "
            f"are no picks. Objects: {shorten_list(names)}."
        )
    object_radii = {name: project.objects[name].require_radius() for name in names}
    radii = {
        name: radius * scales.get(name, settings.radius_scale)
        for name, radius in object_radii.items()
    }
    regions = [] if settings.annotated is None else [settings.annotated]
    annotated = next(iter(find_segmentations(runs, regions).values()), None)
    labels = target_labels([*names, *(name for name in masks if name not in names)])
    check_has_marks(labels, rejected)
    return PaintingPlan(
        picks,
        rejected,
        masks,
        radii,
        object_radii,
        labels,
        annotated,
        partial_objects(settings.annotation, list(labels)),
    )


def keep_annotated(
    runs: Sequence[Run], plan: PaintingPlan, requested: Sequence[str] | None
) -> list[Run]:
    """Return the runs that have something to paint, see `keep_runs_with`."""
    all_sets = [*plan.picks.values(), *plan.rejected.values()]
    queries = [query for sets in all_sets for query in sets.queries]

    def check_has_inputs(run: Run) -> None:
        if plan.annotated:
            run.open_segmentation(plan.annotated)
        if not existing_masks(run, plan) and not set(run.picks()) & set(queries):
            sources = " or ".join(map(str, [*queries, *plan.masks.values()]))
            existing = [*run.picks(), *run.segmentations()]
            raise NotInProjectError(f"Run {run.name}", "picks or masks", sources, existing)

    return [run for run, _ in keep_runs_with(runs, check_has_inputs, requested)]


def warn_of_missing_annotations(
    project: Project, inputs: Sequence[RunInputs], plan: PaintingPlan
) -> None:
    """Warn of objects that are not annotated in some runs: a missing file is no empty one."""
    for name in plan.labels:
        missing = [i.run.name for i in inputs if name in i.not_annotated]
        if missing:
            query = plan.picks.get(name) or plan.masks[name]
            source = f"{query.kind} {query}"
            project.warn_once(describe_not_annotated(name, source, missing, len(inputs)))


def decided_spheres(inputs: RunInputs, plan: PaintingPlan) -> dict[int, tuple[NDArray, float]]:
    """Return label -> positions (n, 3) in Å, and radius, of picks by users who rejected others.

    Such users reviewed places one by one: their picks count also outside of what is annotated.
    """
    rejected = {query.user_id for sets in plan.rejected.values() for query in sets.queries}
    spheres = {}
    for name, points in inputs.picks.items():
        users = [f"{query.user_id}{REJECTED_SUFFIX}" for query in plan.picks[name].queries]
        num_kept = [int(keep.sum()) for keep in inputs.united[name].kept]
        is_decided = np.repeat([user in rejected for user in users], num_kept)
        positions = points.positions[is_decided & inputs.grid.contains(points.positions)]
        spheres[plan.labels[name]] = (positions, plan.radii[name])
    return spheres


def existing_masks(run: Run, plan: PaintingPlan) -> dict[str, SegmentationQuery]:
    """Return the masks of the plan that the run has."""
    return {name: query for name, query in plan.masks.items() if run.segmentations_of(query)}


def read_inputs(run: Run, plan: PaintingPlan, settings: CreateTargetsSettings) -> RunInputs:
    """Read what the target of a run is painted from."""
    tomogram, *_ = find_tomograms(
        run, tomo_types=settings.tomo_types, voxel_spacing=settings.voxel_spacing
    )
    grid = working_grid(run.tomogram_grid(tomogram), settings.data["working_spacing"])
    united = read_united_picks(run, plan.picks, plan.rejected)
    picks = {name: one.points for name, one in united.items() if one.points is not None}
    inside = {name: points[grid.contains(points.positions)] for name, points in picks.items()}
    masks = existing_masks(run, plan)
    for query in plan.masks.values():
        with contextlib.suppress(NotInProjectError):
            run.open_segmentation(query)  # to refuse one that is unfinished
    values, mask_digests = {}, {}
    for name, query in masks.items():
        mask, values[name], mask_digests[name] = read_mask(run, query, grid)
        if text := odd_share(np.count_nonzero(mask), mask.size):
            logger.warning("Run %s: the mask %s %s", run.name, query, text)
    region = None
    if plan.annotated is not None:
        region, mask_digests[REGION] = read_region(run, plan.annotated, grid)
    num_known = {
        name: len(points if region is None else drop_unknown({name: points}, region, grid)[name])
        for name, points in inside.items()
    }
    not_annotated = sorted(plan.labels.keys() - picks.keys() - masks.keys())
    return RunInputs(
        run, grid, united, picks, inside, num_known, values, mask_digests, not_annotated
    )


def read_region(run: Run, query: SegmentationQuery, grid: Grid) -> tuple[NDArray[np.uint8], str]:
    """Read the region that is annotated (z, y, x), UNKNOWN outside, and the hash of its mask.

    Raises:
        DataError: the mask is empty, or does not fit the tomogram.
    """
    mask, _, digest = read_mask(run, query, grid, may_be_full=True)
    return mark_unknown(mask, f"Run {run.name}: {query}"), digest


def check_inputs(inputs: Sequence[RunInputs], plan: PaintingPlan) -> None:
    """Check what no run alone can tell; warn about odd radii, odd picks, and objects without any.

    Raises:
        DataError: nothing would be painted, or a mask holds another value in another run.
    """
    num_inside, num_outside, num_known = Counter[str](), Counter[str](), Counter[str]()
    for run_inputs in inputs:
        for name, points in run_inputs.picks.items():
            num_inside[name] += len(run_inputs.inside[name])
            num_outside[name] += len(points) - len(run_inputs.inside[name])
            num_known[name] += run_inputs.num_known[name]
    if not plan.masks:
        check_any_inside(num_inside.total(), num_outside.total())
        if not num_known.total():
            raise DataError(
                f"None of {num_inside.total()} picks lies inside {plan.annotated}, the mask of "
                "what is annotated. Is it the right one? See targets.annotated."
            )
    for name in plan.picks:
        warn_of_odd_inputs(name, inputs, plan, num_known=num_known[name])
    for name, query in plan.masks.items():
        runs = {v: i.run.name for i in inputs if (v := i.mask_values.get(name))}
        if len(runs) > 1:
            values = shorten_list(
                f"{value:g} in run {run_name}" for value, run_name in runs.items()
            )
            raise DataError(
                f"The mask {query} holds {values}: are these labels of several objects? A mask of "
                "one object holds 0 and the same value in all runs. Save the one object alone."
            )


def warn_of_odd_inputs(
    name: str, inputs: Sequence[RunInputs], plan: PaintingPlan, *, num_known: int
) -> None:
    """Warn of odd picks, odd rejected places and an odd radius of an object.

    And of places that a person rejected, but has picked in the newest set of the object.

    Args:
        name: of the object.
        inputs: of each run.
        plan: of the targets.
        num_known: picks inside what is annotated, in all runs.
    """
    grids = {i.run.name: i.grid for i in inputs}
    picks = {i.run.name: i.picks[name] for i in inputs if name in i.picks}
    warn_of_odd_picks(plan.picks[name], picks, grids)
    if not num_known:
        place = "what is annotated" if plan.annotated else "a tomogram"
        logger.warning("No pick of %s lies inside %s; its label stays empty.", name, place)
    if text := inputs[0].run.objects[name].odd_radius(inputs[0].grid):
        logger.warning(text)
    if name in plan.rejected:
        places = {i.run.name: Points(i.united[name].rejected) for i in inputs}
        warn_of_odd_picks(plan.rejected[name], places, grids)
    runs = {i.run.name: n for i in inputs if (n := i.united[name].counts.num_contradicted)}
    if runs:
        logger.warning(
            "%d places of %s have a pick of %s within half a radius, which counts: %s.",
            sum(runs.values()),
            plan.rejected[name],
            plan.picks[name].queries[-1],
            shorten_list(f"{run_name} ({number})" for run_name, number in runs.items()),
        )


def read_mask(
    run: Run, query: SegmentationQuery, grid: Grid, *, may_be_full: bool = False
) -> tuple[NDArray, float, str]:
    """Read a mask on the grid of a target (z, y, x), the value it holds inside, and its hash."""
    mask, mask_grid, value = run.read_mask(query, may_be_full=may_be_full)
    try:
        return fit_mask(mask, mask_grid, grid), value, digest_array(mask)
    except DataError as error:
        raise DataError(f"Run {run.name}, {query}: {error}") from error
