"""Paint label volumes to train on from the picks and masks of a copick project.

Run it as `octopi create_targets` or `python -m octopi.create_targets`.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from octopi.cli.job import command, log_dry_run
from octopi.config.build import build
from octopi.config.settings import CreateTargetsSettings, TargetsSettings
from octopi.errors import DataError, SettingError
from octopi.geometry import Grid, Points, same_spacing
from octopi.project import (
    PicksQuery,
    Project,
    Run,
    SegmentationQuery,
    find_picks,
    find_tomograms,
)
from octopi.system.job_folder import Job
from octopi.system.resources import format_bytes
from octopi.targets import add_masks, align_mask, coarsen_mask, paint, target_labels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PaintingPlan:
    """What is painted into every run, and how it is recorded.

    Args:
        picks: object name -> the picks its spheres come from.
        masks: object name -> the segmentation it comes from.
        radii: object name -> radius of its spheres in Å.
        labels: object name -> label.
    """

    picks: dict[str, PicksQuery]
    masks: dict[str, SegmentationQuery]
    radii: dict[str, float]
    labels: dict[str, int]

    def attributes(self) -> dict[str, Any]:
        """What is stored with each target."""
        return {
            "labels": self.labels,
            "sphere_radii": self.radii,
            "picks": {name: str(query) for name, query in self.picks.items()},
            "masks": {name: str(query) for name, query in self.masks.items()},
        }


def create_targets(settings: CreateTargetsSettings, _job: Job) -> None:
    """Every run with picks has a target, complete, or the reason why not is said."""
    project: Project = build(settings.project, "project")
    runs = project.select(settings.runs)
    plan = make_plan(project, runs, settings.targets)
    project.check_writable(touch=not settings.dry_run)
    outcomes: dict[str, list[str]] = {"new": [], "unchanged": [], "replaced": []}
    outside, num_bytes = 0, 0
    for run in tqdm(runs, desc="targets", unit="run"):
        if not holds_annotations(run, plan):
            if settings.runs is not None:
                raise DataError(f"Run {run.name} has none of the picks or masks asked for.")
            logger.info("Run %s has no annotations: no target.", run.name)
            continue
        grid = working_grid(run, settings)
        target, num_outside = paint_run(run, plan, grid)
        outside += num_outside
        query = target_query(grid, settings)
        outcome = compare_with_existing(run, target, query, plan, settings)
        if outcome != "unchanged" and not settings.dry_run:
            run.delete_segmentations(query)  # also one at another spacing: nothing stale stays
            run.write_segmentation(query, target, grid=grid, attributes=plan.attributes())
        outcomes[outcome].append(run.name)
        num_bytes += 0 if outcome == "unchanged" else target.nbytes
    written = sum(map(len, outcomes.values()))
    if not written:
        raise DataError("No run got a target: none has the picks or masks asked for.")
    if settings.dry_run:
        log_dry_run(
            "create_targets", describe_dry_run(project, runs, plan, outcomes, outside, num_bytes)
        )
        return
    logger.info(
        "Targets %s:%s/%s of %d runs hold %s; %d picks lay outside their tomogram.",
        settings.targets.name,
        settings.targets.user_id,
        settings.targets.session_id,
        written,
        ", ".join(f"{name}={label}" for name, label in plan.labels.items()),
        outside,
    )


def make_plan(project: Project, runs: list[Run], settings: TargetsSettings) -> PaintingPlan:
    """What to paint, or a SettingError that says what is missing from the project."""
    scales = settings.radius_scales or {}
    masks = {q.name: q for q in map(SegmentationQuery.parse, settings.segmentations)}
    picks = find_picks(runs, objects=settings.objects, source=settings.picks)
    names = [name for name in project.objects if name in picks]  # the config's own order
    if unknown_objects := scales.keys() - set(names):
        raise SettingError(
            f"targets.radius_scales names {', '.join(sorted(unknown_objects))}, of which there "
            f"are no "
            f"picks. Objects: {', '.join(names)}."
        )
    radii = {}
    for name in names:
        radius = project.objects[name].require_radius()
        radii[name] = radius * scales.get(name, settings.radius_scale)
    labels = target_labels([*names, *(name for name in masks if name not in names)])
    return PaintingPlan({name: picks[name] for name in names}, masks, radii, labels)


def holds_annotations(run: Run, plan: PaintingPlan) -> bool:
    """Whether there is anything to paint in the run."""
    if set(run.picks()) & set(plan.picks.values()):
        return True
    wanted = {q.name_user_session for q in plan.masks.values()}
    return any(q.name_user_session in wanted for q in run.segmentations())


def working_grid(run: Run, settings: CreateTargetsSettings) -> Grid:
    """The grid to paint on: the tomogram's, or its coarser working grid."""
    tomograms = find_tomograms(
        run, tomo_types=settings.tomo_types, voxel_spacing=settings.voxel_spacing
    )
    grid = run.tomogram_grid(tomograms[0])
    spacing = settings.data["working_spacing"]
    return grid if spacing is None else grid.at_spacing(spacing)


def paint_run(run: Run, plan: PaintingPlan, grid: Grid) -> tuple[NDArray[np.uint8], int]:
    """The target of a run, and how many picks lay outside its tomogram."""
    existing_picks = run.read_existing_picks(plan.picks)
    spheres: dict[int, tuple[NDArray, float]] = {}
    outside = 0
    for name in plan.picks:
        points = existing_picks.get(name, Points.empty())
        inside = grid.contains(points.positions)
        if lost := int((~inside).sum()):
            logger.warning("Run %s: %d picks of %s lie outside.", run.name, lost, name)
        outside += lost
        spheres[plan.labels[name]] = (points.positions[inside], plan.radii[name])
    target = paint(grid, spheres)
    return add_masks(target, read_masks(run, plan, grid)), outside


def read_masks(run: Run, plan: PaintingPlan, grid: Grid) -> Mapping[int, NDArray]:
    """Label -> mask on the grid, of every segmentation that the run holds."""
    existing_masks = {q.name_user_session for q in run.segmentations()}
    masks = {}
    for name, query in plan.masks.items():
        if query.name_user_session not in existing_masks:
            logger.warning("Run %s has no segmentation %s.", run.name, query)
            continue
        mask, mask_grid, _ = run.read_segmentation(query)
        fine = Grid(grid.shape, grid.spacing)
        if not all(map(same_spacing, mask_grid.spacing, grid.spacing)):
            fine = grid.at_spacing(float(np.mean(mask_grid.spacing)))
        try:
            aligned = align_mask(mask, fine.shape)
        except DataError as error:
            raise DataError(f"Run {run.name}, {query}: {error}") from error
        masks[plan.labels[name]] = (
            aligned if fine.shape == grid.shape else coarsen_mask(aligned, grid.shape)
        )
    return masks


def target_query(grid: Grid, settings: CreateTargetsSettings) -> SegmentationQuery:
    """What the target on a grid is called."""
    target_settings, spacing = settings.targets, float(np.mean(grid.spacing))
    return SegmentationQuery(
        target_settings.name, target_settings.user_id, target_settings.session_id, spacing
    )


def compare_with_existing(
    run: Run,
    target: NDArray[np.uint8],
    query: SegmentationQuery,
    plan: PaintingPlan,
    settings: CreateTargetsSettings,
) -> str:
    """Whether the run's target is new, unchanged or replaced, which needs overwrite=true."""
    run.check_can_write(query)
    same_name = [q for q in run.segmentations() if q.name_user_session == query.name_user_session]
    if same_name and not settings.overwrite:
        old_target, _, attributes = run.read_segmentation(same_name[0])
        if attributes == plan.attributes() and np.array_equal(old_target, target):
            return "unchanged"
        raise SettingError(
            f"Run {run.name} already has another target {same_name[0]}. Replace it with "
            "overwrite=true, or choose another targets.session_id."
        )
    return "replaced" if same_name else "new"


def describe_dry_run(  # noqa: PLR0917  six facts of one job
    project: Project,
    runs: list[Run],
    plan: PaintingPlan,
    outcomes: Mapping[str, list[str]],
    outside: int,
    num_bytes: int,
) -> list[str]:
    """What a dry run tells."""
    having = {name for names in outcomes.values() for name in names}
    lines = [
        f"{kind:<13}{len(names)} targets{': ' if names else ''}{', '.join(names)}"
        for kind, names in outcomes.items()
    ]
    without = [run.name for run in runs if run.name not in having]
    lines.append(
        f"skipped      {len(without)} runs without annotations {', '.join(without)}".rstrip()
    )
    picks_by_run = [run.read_existing_picks(plan.picks) for run in runs]
    for name, query in plan.picks.items():
        counts = [len(points[name]) for points in picks_by_run if name in points]
        lines.append(
            f"label {plan.labels[name]:<7}{name}: {sum(counts)} picks of {query.user_id}/"
            f"{query.session_id} in {len(counts)} runs, spheres of {plan.radii[name]:g} Å"
        )
    lines += [f"label {plan.labels[name]:<7}{name}: mask {q}" for name, q in plan.masks.items()]
    return [
        *lines,
        f"outside      {outside} picks lie outside their tomogram",
        f"size         up to {format_bytes(num_bytes)} in {', '.join(project.overlays)}",
    ]


main = command("create_targets", create_targets)

if __name__ == "__main__":
    main()
