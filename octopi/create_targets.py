"""Paint label volumes to train on from the picks and masks of a copick project.

Run it as `octopi create_targets` or `python -m octopi.create_targets`.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from octopi.checks.picks import warn_of_odd_picks
from octopi.cli.job import command, log_dry_run
from octopi.config.build import build
from octopi.config.settings import CreateTargetsSettings, TargetsSettings
from octopi.data.cache import working_grid
from octopi.errors import DataError, NotInProjectError, SettingError, shorten_list
from octopi.geometry import Grid, Points
from octopi.project import (
    PicksQuery,
    Project,
    Run,
    SegmentationQuery,
    find_picks,
    find_segmentations,
    find_tomograms,
    keep_known,
    keep_runs_with,
)
from octopi.project.label_values import odd_share
from octopi.project.origin import check_same_origin, digest_array, digest_points
from octopi.system.job_folder import Job
from octopi.system.resources import format_bytes
from octopi.targets import add_masks, check_any_inside, fit_mask, paint, target_labels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PaintingPlan:
    """What is painted into the target of each run.

    Args:
        picks: object name -> the picks that its spheres are centred on.
        masks: object name -> the segmentation that it is copied from.
        radii: object name -> radius of its spheres in Å.
        object_radii: object name -> its radius in Å in the copick config.
        labels: object name -> label.
    """

    picks: dict[str, PicksQuery]
    masks: dict[str, SegmentationQuery]
    radii: dict[str, float]
    object_radii: dict[str, float]
    labels: dict[str, int]

    def attributes(self) -> dict[str, Any]:
        """Return the attributes that are stored with each target."""
        return {
            "labels": self.labels,
            "sphere_radii": self.radii,
            "object_radii": self.object_radii,
            "picks": {name: str(query) for name, query in self.picks.items()},
            "masks": {name: str(query) for name, query in self.masks.items()},
        }


@dataclass(frozen=True)
class RunInputs:
    """What the target of one run is painted from; all of it was read once and is sound.

    Args:
        run: of the target.
        grid: of the target.
        picks: object name -> its picks, also those outside.
        inside: object name -> its picks inside the tomogram.
        mask_values: mask -> value that it holds inside; 0 where it is empty.
        mask_digests: mask -> hash of its voxels.
    """

    run: Run
    grid: Grid
    picks: dict[str, Points]
    inside: dict[str, Points]
    mask_values: dict[str, float]
    mask_digests: dict[str, str]


@dataclass(frozen=True)
class PaintedTarget:
    """The result of one run.

    Args:
        run_name: of the run.
        state: "new", "unchanged" or "replaced", compared with the target that the run had.
        num_picks: object name -> number of its picks.
        num_outside: number of picks outside the tomogram, which are not painted.
        num_bytes: of the target, uncompressed; 0 if it is unchanged.
    """

    run_name: str
    state: str
    num_picks: dict[str, int]
    num_outside: int
    num_bytes: int


def create_targets(settings: CreateTargetsSettings, _job: Job) -> None:
    """Paint and write a target for every run that has picks or masks; warn about the others."""
    project: Project = build(settings.project, "project")
    runs = project.select(settings.runs)
    plan = make_plan(project, runs, settings.targets)
    annotated = keep_runs_with(
        runs, lambda run: check_has_inputs(run, plan), all_required=settings.runs is not None
    )
    warn_of_missing_picks(project, [run for run, _ in annotated], plan)
    inputs = [read_inputs(run, plan, settings) for run, _ in annotated]
    check_inputs(inputs, plan)
    targets = []
    with (
        project.writing(
            [run for run, _ in annotated],
            f"targets {target_query(settings)}",
            dry_run=settings.dry_run,
        ),
        tqdm(inputs, desc="targets", unit="run") as bar,
    ):
        targets += [create_target(run_inputs, plan, settings) for run_inputs in bar]
    if settings.dry_run:
        log_dry_run("create_targets", describe_dry_run(project, runs, plan, targets))
        return
    logger.info(
        "Targets %s of %d runs hold %s; %d picks lay outside their tomogram.",
        target_query(settings),
        len(targets),
        ", ".join(f"{name}={label}" for name, label in plan.labels.items()),
        sum(target.num_outside for target in targets),
    )


def target_query(
    settings: CreateTargetsSettings, voxel_spacing: float | None = None
) -> SegmentationQuery:
    """Make the query of the target that is written, its voxel spacing in Å."""
    targets = settings.targets
    return SegmentationQuery(targets.name, targets.user_id, targets.session_id, voxel_spacing)


def make_plan(project: Project, runs: list[Run], settings: TargetsSettings) -> PaintingPlan:
    """Choose the picks, masks, radii and labels.

    Raises:
        NotInProjectError: no run has the picks, or one of the masks; or the copick config lacks
            the objects.
        DataError: an object has no radius.
        SettingError: an object has several sets of picks, or a radius scale but no picks.
    """
    if not settings.segmentations:
        project.require_objects()
    scales = settings.radius_scales or {}
    masks = find_segmentations(runs, settings.segmentations)
    picks = keep_known(
        find_picks(runs, objects=settings.objects, source=settings.picks),
        project.objects,
        named=bool(settings.objects),
    )
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
    labels = target_labels([*names, *(name for name in masks if name not in names)])
    return PaintingPlan(picks, masks, radii, object_radii, labels)


def check_has_inputs(run: Run, plan: PaintingPlan) -> None:
    """Raise NotInProjectError if the run has none of the picks and masks."""
    if existing_masks(run, plan) or set(run.picks()) & set(plan.picks.values()):
        return
    requested = " or ".join(map(str, [*plan.picks.values(), *plan.masks.values()]))
    existing = [*run.picks(), *run.segmentations()]
    raise NotInProjectError(f"Run {run.name}", "picks or masks", requested, existing)


def warn_of_missing_picks(project: Project, runs: Sequence[Run], plan: PaintingPlan) -> None:
    """Warn of picks that some runs lack: their particles, if there are any, become background."""
    existing = {run.name: set(run.picks()) for run in runs}
    for query in plan.picks.values():
        missing = [name for name, queries in existing.items() if query not in queries]
        if missing:
            project.warn_once(
                f"{len(missing)} runs have no picks {query}, as if they held none of them: "
                f"{shorten_list(missing)}."
            )


def existing_masks(run: Run, plan: PaintingPlan) -> dict[str, SegmentationQuery]:
    """Return the masks of the plan that the run has."""
    existing = {query.name_user_session for query in run.segmentations()}
    return {name: q for name, q in plan.masks.items() if q.name_user_session in existing}


def read_inputs(run: Run, plan: PaintingPlan, settings: CreateTargetsSettings) -> RunInputs:
    """Read what the target of a run is painted from; warn about masks that the run lacks."""
    tomogram, *_ = find_tomograms(
        run, tomo_types=settings.tomo_types, voxel_spacing=settings.voxel_spacing
    )
    grid = working_grid(run.tomogram_grid(tomogram), settings.data["working_spacing"])
    picks = run.read_existing_picks(plan.picks)
    inside = {name: points[grid.contains(points.positions)] for name, points in picks.items()}
    masks = existing_masks(run, plan)
    for query in plan.masks.values():
        try:
            run.open_segmentation(query)
        except NotInProjectError:
            logger.warning("Run %s has no segmentation %s.", run.name, query)
    values, mask_digests = {}, {}
    for name, query in masks.items():
        mask, values[name], mask_digests[name] = read_mask(run, query, grid)
        if text := odd_share(np.count_nonzero(mask), mask.size):
            logger.warning("Run %s: the mask %s %s", run.name, query, text)
    return RunInputs(run, grid, picks, inside, values, mask_digests)


def check_inputs(inputs: Sequence[RunInputs], plan: PaintingPlan) -> None:
    """Check what no run alone can tell; warn about odd radii, odd picks, and objects without any.

    Raises:
        DataError: nothing would be painted, or a mask holds another value in another run.
    """
    num_inside, num_outside = Counter[str](), Counter[str]()
    for run_inputs in inputs:
        for name, points in run_inputs.picks.items():
            num_inside[name] += len(run_inputs.inside[name])
            num_outside[name] += len(points) - len(run_inputs.inside[name])
    if not plan.masks:
        check_any_inside(num_inside.total(), num_outside.total())
    for name, query in plan.picks.items():
        picks = {i.run.name: i.picks[name] for i in inputs if name in i.picks}
        warn_of_odd_picks(query, picks, {i.run.name: i.grid for i in inputs})
        if not num_inside[name]:
            logger.warning("No pick of %s lies inside a tomogram; its label stays empty.", name)
        if text := inputs[0].run.objects[name].odd_radius(inputs[0].grid):
            logger.warning(text)
    for name, query in plan.masks.items():
        runs = {v: i.run.name for i in inputs if (v := i.mask_values.get(name))}
        if len(runs) > 1:
            found = shorten_list(f"{value:g} in run {run_name}" for value, run_name in runs.items())
            raise DataError(
                f"The mask {query} holds {found}: are these labels of several objects? A mask of "
                "one object holds 0 and the same value in all runs. Save the one object alone."
            )


def create_target(
    inputs: RunInputs, plan: PaintingPlan, settings: CreateTargetsSettings
) -> PaintedTarget:
    """Paint the target of a run; write it unless it is unchanged or this is a dry run."""
    run, grid = inputs.run, inputs.grid
    spheres = {plan.labels[n]: (p.positions, plan.radii[n]) for n, p in inputs.inside.items()}
    masks = {
        plan.labels[name]: read_mask(run, plan.masks[name], grid)[0] for name in inputs.mask_values
    }
    target = add_masks(paint(grid, spheres), masks)
    query = target_query(settings, float(np.mean(grid.spacing)))
    digests = {name: digest_points(points) for name, points in inputs.picks.items()}
    attributes = {
        **plan.attributes(),
        "picks_digests": digests,
        "mask_digests": inputs.mask_digests,
    }
    state = compare_with_existing(run, query, target, attributes, overwrite=settings.overwrite)
    if state != "unchanged" and not settings.dry_run:
        attributes["mask_stamps"] = {
            name: run.segmentation_fingerprint(plan.masks[name]) for name in inputs.mask_digests
        }
        run.write_segmentation(query, target, grid=grid, attributes=attributes)
        run.delete_segmentations_at_other_spacings(query)  # which are out of date from now on
    return PaintedTarget(
        run.name,
        state,
        num_picks={name: len(points) for name, points in inputs.picks.items()},
        num_outside=sum(len(p) - len(inputs.inside[name]) for name, p in inputs.picks.items()),
        num_bytes=0 if state == "unchanged" else target.nbytes,
    )


def read_mask(run: Run, query: SegmentationQuery, grid: Grid) -> tuple[NDArray, float, str]:
    """Read a mask on the grid of a target (z, y, x), the value it holds inside, and its hash."""
    mask, mask_grid, value = run.read_mask(query)
    try:
        return fit_mask(mask, mask_grid, grid), value, digest_array(mask)
    except DataError as error:
        raise DataError(f"Run {run.name}, {query}: {error}") from error


def compare_with_existing(
    run: Run,
    query: SegmentationQuery,
    target: NDArray[np.uint8],
    attributes: Mapping[str, Any],
    *,
    overwrite: bool,
) -> str:
    """Return whether the target is "new", "unchanged" or, with overwrite, "replaced".

    Raises:
        SettingError: the target cannot be written, or the run has another and may not lose it.
    """
    run.check_can_write(query)
    existing = [q for q in run.segmentations() if q.name_user_session == query.name_user_session]
    if not existing:
        return "new"
    if overwrite:
        return "replaced"
    where = f"Run {run.name}: its target {existing[0]}"
    stored = run.segmentation_attributes(existing[0])
    stored.pop("mask_stamps", None)  # another in a copy of the same mask
    check_same_origin(where, stored, attributes)
    if not np.array_equal(run.read_segmentation(existing[0])[0], target):
        check_same_origin(where, "other voxels", "these")
    return "unchanged"


def describe_dry_run(
    project: Project, runs: Sequence[Run], plan: PaintingPlan, targets: Sequence[PaintedTarget]
) -> list[str]:
    """Describe the targets of each state, the labels, and the space that is needed."""
    lines = []
    for state in ("new", "unchanged", "replaced"):
        names = [target.run_name for target in targets if target.state == state]
        lines.append(f"{state:<13}{len(names)} targets{': ' if names else ''}{', '.join(names)}")
    painted = {target.run_name for target in targets}
    skipped = [run.name for run in runs if run.name not in painted]
    lines.append(
        f"skipped      {len(skipped)} runs without annotations {', '.join(skipped)}".rstrip()
    )
    for name, query in plan.picks.items():
        counts = [target.num_picks[name] for target in targets if name in target.num_picks]
        lines.append(
            f"label {plan.labels[name]:<7}{name}: {sum(counts)} picks of {query.user_id}/"
            f"{query.session_id} in {len(counts)} runs, spheres of {plan.radii[name]:g} Å"
        )
    lines += [f"label {plan.labels[name]:<7}{name}: mask {q}" for name, q in plan.masks.items()]
    num_bytes = sum(target.num_bytes for target in targets)
    return [
        *lines,
        f"outside      {sum(t.num_outside for t in targets)} picks lie outside their tomogram",
        f"size         up to {format_bytes(num_bytes)} in {', '.join(project.overlays)}",
    ]


main = command("create_targets", create_targets)

if __name__ == "__main__":
    main()
