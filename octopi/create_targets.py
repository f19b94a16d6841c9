"""Paint label volumes to train on from the picks and masks of a copick project.

Run it as `octopi create_targets` or `python -m octopi.create_targets`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.checks.target_inputs import (
    PaintingPlan,
    RunInputs,
    check_inputs,
    decided_spheres,
    keep_annotated,
    make_plan,
    read_inputs,
    read_mask,
    read_region,
    warn_of_missing_annotations,
)
from octopi.cli.job import Command, log_dry_run
from octopi.config.build import build
from octopi.config.settings import CreateTargetsSettings
from octopi.errors import shorten_list
from octopi.pick_sets import PickCounts, sum_counts
from octopi.processes.job_array import start_workers
from octopi.project import Project
from octopi.project.edits import check_not_edited, check_still_not_edited
from octopi.project.provenance import REGION, check_same_provenance
from octopi.project.queries import SegmentationQuery
from octopi.project.run import Run
from octopi.project.shared_work import failing_alone, output_settings
from octopi.system.job_folder import Job
from octopi.system.resources import format_bytes
from octopi.targets import UNKNOWN, add_masks, drop_unknown, mark_rejected, paint

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PaintedTarget:
    """The result of one run.

    Args:
        run_name: of the run.
        state: "new", "unchanged" or "replaced", compared with the target that the run had.
        counts: object name -> how many picks came from where.
        num_outside: number of picks outside the tomogram, which are not painted.
        num_unknown: number of picks inside it that are not painted, outside what is annotated.
        not_annotated: names of the objects that are not annotated in the run.
        num_bytes: of the target, uncompressed; 0 if it is unchanged.
    """

    run_name: str
    state: str
    counts: dict[str, PickCounts]
    num_outside: int
    num_unknown: int
    not_annotated: list[str]
    num_bytes: int


def create_targets(settings: CreateTargetsSettings, _job: Job) -> None:
    """Paint and write a target for every run that has picks or masks; warn about the others."""
    project: Project = build(settings.project, "project")
    runs = project.select(settings.runs, keep_contents=True)
    plan = make_plan(project, runs, settings.targets)
    output = f"targets {target_query(settings)}"
    made_by = output_settings(settings, data=settings.data["working_spacing"])
    with project.writing(runs, output, made_by, dry_run=settings.dry_run) as work:
        inputs = read_all_inputs(project, runs, plan, settings)
        targets = []
        for run_inputs in work.one_by_one(inputs, lambda one: one.run, desc="targets"):
            with failing_alone(run_inputs.run):
                targets.append(create_target(run_inputs, plan, settings))
    if settings.dry_run:
        log_dry_run("create_targets", describe_dry_run(project, runs, plan, targets))
        return
    for name, counts in count_picks(plan, targets).items():
        if not counts.is_plain:
            logger.info("%s: %s.", name, counts)
    logger.info(
        "Targets %s of %d runs hold %s; %d picks lay outside their tomogram, %d outside what is "
        "annotated.",
        target_query(settings),
        len(targets),
        ", ".join(f"{name}={label}" for name, label in plan.labels.items()),
        sum(target.num_outside for target in targets),
        sum(target.num_unknown for target in targets),
    )


def read_all_inputs(
    project: Project, runs: Sequence[Run], plan: PaintingPlan, settings: CreateTargetsSettings
) -> list[RunInputs]:
    """Read and check what the target of every run with annotations is painted from."""
    annotated = keep_annotated(runs, plan, settings.runs)
    inputs = [read_inputs(run, plan, settings) for run in annotated]
    warn_of_missing_annotations(project, inputs, plan)
    check_inputs(inputs, plan)
    if settings.overwrite:
        check_not_edited(
            annotated,
            lambda run: run.segmentations_of(target_query(settings)),
            overwrite=settings.overwrite,
            setting="targets.session_id",
        )
    return inputs


def target_query(
    settings: CreateTargetsSettings, voxel_spacing: float | None = None
) -> SegmentationQuery:
    """Make the query of the target that is written, its voxel spacing in Å."""
    targets = settings.targets
    return SegmentationQuery(targets.name, targets.user_id, targets.session_id, voxel_spacing)


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
    sources = dict(plan.masks)
    if plan.annotated is not None:
        target = np.maximum(target, read_region(run, plan.annotated, grid)[0])
        decided = paint(grid, decided_spheres(inputs, plan))
        target = np.where((target == UNKNOWN) & (decided > 0), decided, target)
        sources[REGION] = plan.annotated
    known_picks = drop_unknown(inputs.inside, target, grid)
    rejected = {plan.labels[n]: (inputs.united[n].rejected, plan.radii[n]) for n in plan.rejected}
    target = mark_rejected(target, grid, rejected)
    query = target_query(settings, float(np.mean(grid.spacing)))
    digests = {name: inputs.united[name].digest for name in inputs.picks}
    places = {name: inputs.united[name].rejected_digest for name in plan.rejected}
    attributes = {
        **plan.attributes(),
        "picks_digests": digests,
        **({"rejected_digests": places} if places else {}),
        "mask_digests": inputs.mask_digests,
        **({"not_annotated": inputs.not_annotated} if inputs.not_annotated else {}),
    }
    state = compare_with_existing(
        run, query, target, attributes, overwrite=bool(settings.overwrite)
    )
    if state != "unchanged" and not settings.dry_run:
        attributes["mask_stamps"] = {
            name: run.fingerprint(sources[name]) for name in inputs.mask_digests
        }
        check_still_not_edited(
            run, query, overwrite=settings.overwrite, setting="targets.session_id"
        )
        run.write_segmentation(query, target, grid=grid, attributes=attributes)
        run.delete_segmentations_at_other_spacings(query)  # which are out of date from now on
    return PaintedTarget(
        run.name,
        state,
        counts={
            name: one.counts
            for name, one in inputs.united.items()
            if one.points is not None or len(one.rejected)
        },
        num_outside=sum(len(p) - len(inputs.inside[name]) for name, p in inputs.picks.items()),
        num_unknown=sum(len(p) - len(known_picks[name]) for name, p in inputs.inside.items()),
        not_annotated=inputs.not_annotated,
        num_bytes=0 if state == "unchanged" else target.nbytes,
    )


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
    existing = run.segmentations_of(query)
    if not existing:
        return "new"
    if overwrite:
        return "replaced"
    where = f"Run {run.name}: its target {existing[0]}"
    stored = run.segmentation_attributes(existing[0])
    stored.pop("mask_stamps", None)  # another in a copy of the same mask
    check_same_provenance(where, stored, attributes)
    if not np.array_equal(run.read_segmentation(existing[0])[0], target):
        check_same_provenance(where, "other voxels", "these")
    return "unchanged"


def count_picks(plan: PaintingPlan, targets: Sequence[PaintedTarget]) -> dict[str, PickCounts]:
    """Count the picks of each object in all runs, by where they come from."""
    return {
        name: sum_counts(sets.user_sessions, (t.counts[name] for t in targets if name in t.counts))
        for name, sets in plan.picks.items()
    }


def describe_dry_run(
    project: Project, runs: Sequence[Run], plan: PaintingPlan, targets: Sequence[PaintedTarget]
) -> list[str]:
    """Describe the targets of each state, the labels, and the space that is needed."""
    lines = []
    for state in ("new", "unchanged", "replaced"):
        names = [target.run_name for target in targets if target.state == state]
        lines.append(f"{state:<13}{len(names)} targets{': ' if names else ''}{shorten_list(names)}")
    painted = {target.run_name for target in targets}
    skipped = [run.name for run in runs if run.name not in painted]
    lines.append(
        f"skipped      {len(skipped)} runs without annotations {shorten_list(skipped)}".rstrip()
    )
    for name, counts in count_picks(plan, targets).items():
        num_runs = sum(name in target.counts for target in targets)
        lines.append(
            f"label {plan.labels[name]:<7}{name}: {counts} in {num_runs} runs, "
            f"spheres of {plan.radii[name]:g} Å"
        )
    lines += [f"label {plan.labels[name]:<7}{name}: mask {q}" for name, q in plan.masks.items()]
    if plan.annotated:
        lines.append(
            f"annotated    inside {plan.annotated}; {sum(t.num_unknown for t in targets)} picks "
            "outside of it are unknown"
        )
    if plan.partial:
        lines.append(f"partial      {', '.join(plan.partial)}: not every particle is annotated")
    for name in plan.labels:
        if missing := [t.run_name for t in targets if name in t.not_annotated]:
            lines.append(f"unknown      {name} in {len(missing)} runs: {shorten_list(missing)}")
    num_bytes = sum(target.num_bytes for target in targets)
    return [
        *lines,
        f"outside      {sum(t.num_outside for t in targets)} picks lie outside their tomogram",
        f"size         up to {format_bytes(num_bytes)} in {', '.join(project.overlays)}",
    ]


main = Command("create_targets", create_targets, start_workers=start_workers)

if __name__ == "__main__":
    main()
