"""Check one run and collect its issues; an error in one part never ends the check."""

import contextlib
import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.checks.picks import PicksReport, examine_picks
from octopi.data.cache import check_target_fits, working_grid
from octopi.errors import DataError, NotInProjectError, OctopiError, did_you_mean, shorten_list
from octopi.geometry import Grid, Points, format_shape, same_spacing
from octopi.project import (
    PicksQuery,
    Run,
    SegmentationQuery,
    TomogramQuery,
    check_covers_tomogram,
    find_tomograms,
    is_annotation,
    volume_check,
)
from octopi.project.label_values import LabelValues, odd_share
from octopi.project.objects import (
    WRITE_TARGET_AGAIN,
    PickableObject,
    check_labels,
    find_unexpected_labels,
    require_labels,
    volume_labels,
)
from octopi.project.provenance import describe_changed_inputs


@dataclass(frozen=True)
class CheckRequest:
    """What to check in every run.

    Args:
        target: the label volumes to train on.
        tomo_types: to train on; None = all.
        voxel_spacing: Å, of the tomograms to train on; None = all.
        working_spacing: Å, to which tomograms are Fourier-cropped; None = as they are.
        picks: user/session of the annotations; None = everyone's but octopi's own.
        objects: of the copick config, by name.
        min_distance: two picks nearer than this are one particle; in radii of the object.
        voxels: read every voxel; False counts files.
    """

    target: SegmentationQuery
    tomo_types: Sequence[str] | None
    voxel_spacing: float | None
    working_spacing: float | None
    picks: str | None
    objects: Mapping[str, PickableObject]
    min_distance: float
    voxels: bool

    def is_relevant(self, query: TomogramQuery) -> bool:
        """Return whether a tomogram may be trained on."""
        spacing = self.voxel_spacing
        return (spacing is None or same_spacing(query.voxel_spacing, spacing)) and (
            self.tomo_types is None or query.tomo_type in self.tomo_types
        )


@dataclass(frozen=True)
class Issue:
    """Something wrong or odd in a project.

    Args:
        run_name: of the run; empty = the project.
        text: what is wrong, and what to do about it.
        blocks_training: whether training on the run would fail because of it.
    """

    run_name: str
    text: str
    blocks_training: bool

    def __str__(self) -> str:
        return f"{self.run_name}: {self.text}" if self.run_name else self.text


@dataclass
class RunReport:
    """The content of a run, and its issues.

    Args:
        tomograms: the grid of each that can be opened.
        digests: tomogram -> digest of its bytes, where they were read.
        contrasts: tomogram -> object -> contrast of its picks, where voxels were read.
        existing_tomograms: also those that cannot be opened.
        existing_picks: of all users and objects.
        is_listed: whether picks and label volumes could be listed.
        picks: object -> number of its picks.
        annotations: picks of the config's objects that count as truth.
        num_inside: picks inside the first tomogram that can be opened.
        num_outside: picks outside it.
        attributes: stored with the target.
        labels: stored with the target; None = there are none, or no target.
        has_target: whether the run has the target.
        classes: objects that occur in the target's voxels; None = the voxels were not read.
    """

    name: str
    tomograms: dict[TomogramQuery, Grid] = field(default_factory=dict)
    digests: dict[TomogramQuery, str] = field(default_factory=dict)
    contrasts: dict[TomogramQuery, dict[str, NDArray[np.float64]]] = field(default_factory=dict)
    picks: dict[str, int] = field(default_factory=dict)
    existing_tomograms: list[TomogramQuery] = field(default_factory=list)
    existing_picks: list[PicksQuery] = field(default_factory=list)
    is_listed: bool = False
    annotations: set[PicksQuery] = field(default_factory=set)
    num_inside: int = 0
    num_outside: int = 0
    attributes: Mapping[str, Any] = field(default_factory=dict)
    labels: dict[str, int] | None = None
    has_target: bool = False
    classes: set[str] | None = None
    issues: list[Issue] = field(default_factory=list)

    def grid(self, request: CheckRequest) -> Grid | None:
        """Return the grid of the first tomogram to train on that can be opened."""
        grids = (grid for query, grid in self.tomograms.items() if request.is_relevant(query))
        return next(grids, None)

    def add_issues(self, *texts: str, blocks_training: bool) -> None:
        """Add issues; drop the run's name, which goes in front of every issue, from their texts."""
        for text in texts:
            short = text.removeprefix(f"Run {self.name}: ").removeprefix(f"Run {self.name} ")
            self.issues.append(Issue(self.name, short, blocks_training))

    @contextlib.contextmanager
    def errors_as_issues(self, *, blocks_training: bool = True) -> Iterator[None]:
        """Turn an error inside the block into an issue."""
        try:
            yield
        except OctopiError as error:
            self.add_issues(str(error), blocks_training=blocks_training)


def check_run(run: Run, request: CheckRequest) -> RunReport:
    """Check the tomograms, picks and target of a run."""
    report = RunReport(run.name)
    with report.errors_as_issues():
        report.existing_picks = run.picks()
        run.segmentations()
        report.is_listed = True
    if not report.is_listed:
        return report
    for check in (_check_tomograms, _check_picks, _check_target, _check_others_segmentations):
        with report.errors_as_issues():
            check(run, request, report)
    with report.errors_as_issues(), contextlib.suppress(NotInProjectError):
        # a tomogram that is missing is an issue of all runs together
        find_tomograms(run, tomo_types=request.tomo_types, voxel_spacing=request.voxel_spacing)
    return report


def _check_tomograms(run: Run, request: CheckRequest, report: RunReport) -> None:
    radii = {name: o.require_radius() for name, o in request.objects.items() if o.has_radius}
    positions = _readable_positions(run, request, radii)
    report.existing_tomograms = run.tomograms()
    for query in report.existing_tomograms:
        blocks_training = request.is_relevant(query)
        with report.errors_as_issues(blocks_training=blocks_training):
            volume = volume_check.check_tomogram(
                run, query, voxels=request.voxels, positions=positions, radii=radii
            )
            report.tomograms[query] = volume.volume.grid
            report.contrasts[query] = volume.contrasts
            report.digests[query] = volume.digest
            with report.errors_as_issues(blocks_training=blocks_training):
                volume.check_chunks()
            if volume.constant_chunks and not volume.values.is_constant:
                report.add_issues(
                    f"tomogram {query}: all voxels are the same within each of "
                    f"{len(volume.constant_chunks)} chunks "
                    f"({shorten_list(volume.constant_chunks)}).",
                    blocks_training=False,
                )
            volume.values.check(volume.volume.where)
            for remark in volume.remarks:
                report.add_issues(f"tomogram {query}: {remark}", blocks_training=False)
    _compare_shapes(report)


def _readable_positions(
    run: Run, request: CheckRequest, names: Collection[str]
) -> dict[str, NDArray[np.float64]]:
    """Read the picks (n, 3), in Å, of each of the objects; skip damaged ones, an issue later."""
    positions: dict[str, list[NDArray[np.float64]]] = {}
    for query in run.picks():
        if query.object_name in names and is_annotation(query, request.picks):
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
            report.add_issues(
                f"its tomograms at {spacing:g} Å differ in shape: {text}.", blocks_training=False
            )


def _check_picks(run: Run, request: CheckRequest, report: RunReport) -> None:
    for query in run.picks():
        name = query.object_name
        if not is_annotation(query, request.picks):
            continue
        if name not in request.objects:
            report.add_issues(
                f"picks {query} are of an object that the copick config does not have."
                f"{did_you_mean(name, request.objects)}",
                blocks_training=False,
            )
            continue
        report.annotations.add(query)
        with report.errors_as_issues():
            points = run.read_picks(query)
            report.picks[name] = report.picks.get(name, 0) + len(points)
            _check_points(points, query, request, report)


def _check_points(
    points: Points, query: PicksQuery, request: CheckRequest, report: RunReport
) -> None:
    grid = report.grid(request)
    if grid is not None:
        inside = working_grid(grid, request.working_spacing).contains(points.positions)
        report.num_inside += int(inside.sum())
        report.num_outside += int((~inside).sum())
        obj = request.objects[query.object_name]
        min_distance = obj.require_radius() * request.min_distance if obj.has_radius else None
        for text in _pick_faults(examine_picks(points, grid, min_distance=min_distance), query):
            report.add_issues(text, blocks_training=False)


def _pick_faults(picks: PicksReport, query: PicksQuery) -> list[str]:
    faults = []
    if picks.look_like_voxels:
        faults.append(
            f"all {picks.num_picks} picks {query} lie where voxel numbers would: they look like "
            "voxels rather than Å. Multiply them by the voxel spacing."
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
    name = request.target.name_user_session
    if not any(query.name_user_session == name for query in run.segmentations()):
        return
    report.has_target = True
    volume = volume_check.check_segmentation(run, request.target, voxels=request.voxels)
    with report.errors_as_issues():
        volume.check_chunks()
    report.attributes = volume.attributes
    with report.errors_as_issues():
        if message := describe_changed_inputs(run, volume.attributes):
            report.add_issues(message, blocks_training=False)
    with report.errors_as_issues():
        report.labels = require_labels(volume.attributes, f"target {request.target}")
        if request.voxels and (values := volume.label_values):
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
            volume = volume_check.check_segmentation(run, query, voxels=request.voxels)
            volume.check_chunks()
            if request.voxels and (values := volume.label_values):
                _check_values(values, volume.attributes, volume.volume.where, request)
                largest = max((n for value, n in values.counts.items() if value), default=0)
                if text := odd_share(largest, math.prod(volume.volume.grid.shape)):
                    report.add_issues(
                        f"segmentation {query}: one of its labels {text}", blocks_training=False
                    )


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
                check_target_fits(target_grid, working_grid(grid, request.working_spacing))
            except DataError as error:
                text = f"tomogram {query}, target {request.target}: {error}"
                report.add_issues(text, blocks_training=True)
