"""Check one run and collect its issues; an error in one part never ends the check."""

import contextlib
import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.checks.picks import PicksReport, examine_picks
from octopi.checks.run_report import CheckRequest, RunReport
from octopi.data.cache import check_target_fits
from octopi.errors import DataError, NotInProjectError, OctopiError, did_you_mean, shorten_list
from octopi.geometry import Grid, Points, format_shape
from octopi.project import volume_check
from octopi.project.objects import (
    WRITE_TARGET_AGAIN,
    check_labels,
    find_unexpected_labels,
    require_labels,
    volume_labels,
)
from octopi.project.provenance import describe_changed_inputs
from octopi.project.queries import PicksQuery
from octopi.project.run import Run
from octopi.project.selection import check_covers_tomogram, find_tomograms, is_annotation
from octopi.project.united_picks import read_united_picks
from octopi.project.voxel_values import LabelValues, odd_share


def check_run(run: Run, request: CheckRequest) -> RunReport:
    """Check the tomograms, picks and target of a run."""
    report = RunReport(run.name)
    with report.errors_as_issues(blocks_training=True):
        run.picks()
        run.segmentations()
        report.is_listed = True
    if not report.is_listed:
        return report
    for check in (_check_tomograms, _check_picks, _check_target, _check_others_segmentations):
        with report.errors_as_issues(blocks_training=True):
            check(run, request, report)
    with report.errors_as_issues(blocks_training=True), contextlib.suppress(NotInProjectError):
        # a tomogram that is missing is an issue of all runs together
        find_tomograms(
            run,
            tomo_types=request.settings.tomo_types,
            voxel_spacing=request.settings.voxel_spacing,
        )
    return report


def _check_tomograms(run: Run, request: CheckRequest, report: RunReport) -> None:
    radii = {name: o.require_radius() for name, o in request.objects.items() if o.has_radius}
    positions = _readable_positions(run, request, radii)
    report.existing_tomograms = run.tomograms()
    for query in report.existing_tomograms:
        blocks_training = request.is_relevant(query)
        with report.errors_as_issues(blocks_training=blocks_training):
            volume = volume_check.check_tomogram(
                run, query, voxels=request.settings.voxels, positions=positions, radii=radii
            )
            report.tomograms[query] = volume.volume.grid
            report.contrasts[query] = volume.contrasts
            report.digests[query] = volume.digest
            with report.errors_as_issues(blocks_training=blocks_training):
                volume.check_chunks()
            if volume.constant_chunks and not volume.values.is_constant:
                report.add_issue(
                    f"tomogram {query}: all voxels are the same within each of "
                    f"{len(volume.constant_chunks)} chunks "
                    f"({shorten_list(volume.constant_chunks)})."
                )
            volume.values.check(volume.volume.where)
            for remark in volume.remarks:
                report.add_issue(f"tomogram {query}: {remark}")
    _compare_shapes(report)


def _readable_positions(
    run: Run, request: CheckRequest, names: Collection[str]
) -> dict[str, NDArray[np.float64]]:
    """Read the picks (n, 3), in Å, of each of the objects; skip damaged ones, an issue later."""
    positions: dict[str, list[NDArray[np.float64]]] = {}
    for query in run.picks():
        if query.object_name in names and is_annotation(query, request.settings.picks):
            with contextlib.suppress(OctopiError):
                points = run.read_picks(query)
                positions.setdefault(query.object_name, []).append(points.positions)
    return {name: np.concatenate(parts) for name, parts in positions.items()}


def _compare_shapes(report: RunReport) -> None:
    """Report tomograms of one voxel spacing that differ in shape."""
    types_by_spacing: dict[float, dict[tuple[int, ...], list[str]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for query, grid in report.tomograms.items():
        types_by_spacing[query.voxel_spacing][grid.shape].append(query.tomo_type)
    for spacing, types_by_shape in types_by_spacing.items():
        if len(types_by_shape) > 1:
            text = "; ".join(
                f"{', '.join(types)} {format_shape(shape)}"
                for shape, types in types_by_shape.items()
            )
            report.add_issue(f"its tomograms at {spacing:g} Å differ in shape: {text}.")


def _check_picks(run: Run, request: CheckRequest, report: RunReport) -> None:
    for query in run.picks():
        name = query.object_name
        is_picked = is_annotation(query, request.settings.picks)
        if not is_picked and not (
            request.settings.rejected and is_annotation(query, request.settings.rejected)
        ):
            continue
        if name not in request.objects:
            report.add_issue(
                f"picks {query} are of an object that the copick config does not have."
                f"{did_you_mean(name, request.objects)}"
            )
            continue
        if is_picked:
            report.annotations.add(query)
        with report.errors_as_issues(blocks_training=True):
            points = run.read_picks(query)
            _check_points(points, query, request, report)
            if is_picked and name not in request.united:
                report.count_picks(name, points, request)
    _count_united(run, request, report)


def _count_united(run: Run, request: CheckRequest, report: RunReport) -> None:
    """Count the picks of several sets, less those that were rejected."""
    picks = {name: sets for name, (sets, _) in request.united.items()}
    rejected = {name: sets for name, (_, sets) in request.united.items() if sets is not None}
    with contextlib.suppress(DataError):  # of a file that is damaged: an issue already
        for name, united in read_united_picks(run, picks, rejected).items():
            report.origins[name] = united.counts
            if united.points is not None:
                report.count_picks(name, united.points, request)


def _check_points(
    points: Points, query: PicksQuery, request: CheckRequest, report: RunReport
) -> None:
    grid = report.grid(request)
    if grid is not None:
        obj = request.objects[query.object_name]
        min_distance = (
            obj.require_radius() * request.settings.min_distance if obj.has_radius else None
        )
        for text in _pick_faults(examine_picks(points, grid, min_distance=min_distance), query):
            report.add_issue(text)


def _pick_faults(picks: PicksReport, query: PicksQuery) -> list[str]:
    faults = []
    if picks.look_like_voxels:
        faults.append(
            f"all {picks.num_picks} picks {query} lie where voxel numbers would: they look like "
            "voxels rather than Å. Multiply them by the spacing of these voxels."
        )
    if picks.outside:
        faults.append(
            f"{len(picks.outside)} of {picks.num_picks} picks {query} lie outside the tomogram "
            f"(counting from 0: {shorten_list(picks.outside)})."
        )
    if picks.num_duplicates:
        faults.append(
            f"{picks.num_duplicates} of {picks.num_picks} picks {query} are closer than "
            f"{picks.min_distance:g} Å to another: are they the same particle twice?"
        )
    return faults


def _check_target(run: Run, request: CheckRequest, report: RunReport) -> None:
    if not run.segmentations_of(request.target):
        return
    report.has_target = True
    volume = volume_check.check_segmentation(run, request.target, voxels=request.settings.voxels)
    with report.errors_as_issues(blocks_training=True):
        volume.check_chunks()
    report.attributes = volume.attributes
    with report.errors_as_issues(blocks_training=True):
        if message := describe_changed_inputs(run, volume.attributes):
            report.add_issue(message)
    with report.errors_as_issues(blocks_training=True):
        report.labels = require_labels(volume.attributes, f"target {request.target}")
        if request.settings.voxels and (values := volume.label_values):
            where = volume.volume.where
            values.check_labels(where)
            labels = report.labels
            report.classes = {name for name, label in labels.items() if values.counts.get(label)}
            check_labels(
                values.counts, labels, volume.attributes, where=where, advice=WRITE_TARGET_AGAIN
            )
    _compare_grids(volume.volume.grid, report, request)


def _check_others_segmentations(run: Run, request: CheckRequest, report: RunReport) -> None:
    """Warn about label volumes of other programs that no command would read."""
    for query in run.segmentations():
        if query.name_user_session == request.target.name_user_session:
            continue
        with report.errors_as_issues(blocks_training=False):
            if run.open_segmentation(query).by_octopi:
                continue
            with report.errors_as_issues(blocks_training=False):
                check_covers_tomogram(run, query, run.open_segmentation(query).grid)
            volume = volume_check.check_segmentation(run, query, voxels=request.settings.voxels)
            volume.check_chunks()
            if request.settings.voxels and (values := volume.label_values):
                _check_values(values, volume.attributes, volume.volume.where, request)
                largest = max((n for value, n in values.counts.items() if value), default=0)
                if text := odd_share(largest, math.prod(volume.volume.grid.shape)):
                    report.add_issue(f"segmentation {query}: one of its labels {text}")


def _check_values(
    values: LabelValues, attributes: Mapping[str, Any], where: str, request: CheckRequest
) -> None:
    """Raise DataError if a volume is neither a mask of one object nor labels of the objects."""
    try:
        values.check_mask(where)
    except DataError as error:
        with contextlib.suppress(DataError):
            values.check_labels(where)
            labels = volume_labels(attributes, request.objects)
            if not find_unexpected_labels(values.counts, labels, attributes):
                return
        raise error from None


def _compare_grids(target_grid: Grid, report: RunReport, request: CheckRequest) -> None:
    """Report tomograms that the target does not fit."""
    for query, grid in report.tomograms.items():
        if request.is_relevant(query):
            try:
                check_target_fits(target_grid, request.working_grid(grid))
            except DataError as error:
                text = f"tomogram {query}, target {request.target}: {error}"
                report.add_issue(text, blocks_training=True)
