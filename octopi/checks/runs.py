"""Check one run and collect its issues; an error in one part never ends the check."""

import contextlib
import math
from collections import defaultdict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from octopi.checks.picks import examine_picks
from octopi.checks.run_report import CheckRequest, RunReport
from octopi.data.cache import check_target_fits
from octopi.errors import DataError, NotInProjectError, did_you_mean, shorten_list
from octopi.geometry import Grid, Points, format_shape
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
from octopi.project.united_picks import NOWHERE, unite_stored
from octopi.project.volume_check import VolumeReport, check_segmentation, check_tomogram
from octopi.project.voxel_values import odd_share


def check_run(run: Run, request: CheckRequest) -> RunReport:
    """Check the tomograms, picks and target of a run."""
    report = RunReport(run.name)
    with report.errors_as_issues(blocks_training=True):
        run.picks()
        run.segmentations()
        report.is_listed = True
    if not report.is_listed:
        return report
    picks = _read_picks(run, request, report)
    with report.errors_as_issues(blocks_training=True):
        _check_tomograms(run, request, report, picks)
    _check_picks(run, request, report, picks)
    for check in (_check_target, _check_others_segmentations):
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


def _read_picks(run: Run, request: CheckRequest, report: RunReport) -> dict[PicksQuery, Points]:
    """Read the picks and rejected places of objects of the config; what is damaged is an issue."""
    picks = {}
    for query in run.picks():
        is_picked = is_annotation(query, request.settings.picks)
        if not is_picked and not (
            request.settings.rejected and is_annotation(query, request.settings.rejected)
        ):
            continue
        if query.object_name not in request.objects:
            report.add_issue(
                f"picks {query} are of an object that the copick config does not have."
                f"{did_you_mean(query.object_name, request.objects)}"
            )
            continue
        if is_picked:
            report.annotations.add(query)
        with report.errors_as_issues(blocks_training=True):
            picks[query] = run.read_picks(query)
    return picks


def _check_tomograms(
    run: Run, request: CheckRequest, report: RunReport, picks: Mapping[PicksQuery, Points]
) -> None:
    radii = {name: o.require_radius() for name, o in request.objects.items() if o.has_radius}
    positions: dict[str, NDArray[np.float64]] = {}
    for query, points in picks.items():
        name = query.object_name
        if query in report.annotations and name in radii:
            positions[name] = np.concatenate([positions.get(name, NOWHERE), points.positions])
    report.existing_tomograms = run.tomograms()
    for query in report.existing_tomograms:
        blocks_training = request.is_relevant(query)
        with report.errors_as_issues(blocks_training=blocks_training):
            volume = check_tomogram(
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


def _check_picks(
    run: Run, request: CheckRequest, report: RunReport, picks: Mapping[PicksQuery, Points]
) -> None:
    """Report odd picks; count those of each object, of several sets less what was rejected."""
    grid = report.grid(request)
    for query, points in picks.items():
        obj, min_distance = request.objects[query.object_name], None
        if obj.has_radius:
            min_distance = obj.require_radius() * request.settings.min_distance
        for fault in examine_picks(points, grid, min_distance=min_distance) if grid else ():
            report.add_issue(
                f"{len(fault.indices)} of {len(points)} picks {query} {fault.text} (counting from "
                f"0: {shorten_list(fault.indices)}). {fault.advice}"
            )
        if query in report.annotations and query.object_name not in request.united:
            report.count_picks(query.object_name, points, request)
    damaged = {query.object_name for query in report.annotations - picks.keys()}
    sets = {name: sets for name, sets in request.united.items() if name not in damaged}
    for name, united in unite_stored(run, picks, sets, request.rejected).items():
        report.origins[name] = united.counts
        if united.points is not None:
            report.count_picks(name, united.points, request)


def _check_target(run: Run, request: CheckRequest, report: RunReport) -> None:
    if not run.segmentations_of(request.target):
        return
    report.has_target = True
    volume = check_segmentation(run, request.target, voxels=request.settings.voxels)
    with report.errors_as_issues(blocks_training=True):
        volume.check_chunks()
    report.attributes = volume.attributes
    with report.errors_as_issues(blocks_training=True):
        if message := describe_changed_inputs(run, volume.attributes):
            report.add_issue(message)
    with report.errors_as_issues(blocks_training=True):
        report.labels = require_labels(volume.attributes, f"target {request.target}")
        if request.settings.voxels:
            where, values, labels = volume.volume.where, volume.label_values, report.labels
            values.check_labels(where)
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
            volume = check_segmentation(run, query, voxels=request.settings.voxels)
            volume.check_chunks()
            if request.settings.voxels:
                _check_values(volume, request)
                counts = volume.label_values.counts
                largest = max((n for value, n in counts.items() if value), default=0)
                if text := odd_share(largest, math.prod(volume.volume.grid.shape)):
                    report.add_issue(f"segmentation {query}: one of its labels {text}")


def _check_values(report: VolumeReport, request: CheckRequest) -> None:
    """Raise DataError if a volume is neither a mask of one object nor labels of the objects."""
    values, where = report.label_values, report.volume.where
    try:
        values.check_mask(where)
    except DataError as error:
        with contextlib.suppress(DataError):
            values.check_labels(where)
            labels = volume_labels(report.attributes, request.objects)
            if not find_unexpected_labels(values.counts, labels, report.attributes):
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
