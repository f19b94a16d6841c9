"""One run, looked at from every side; what is wrong is noted, and never ends the survey."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from octopi.checks.picks import PicksHealth, examine_picks
from octopi.data.cache import check_target_fits, working_grid
from octopi.errors import DataError, OctopiError, did_you_mean, shorten_list
from octopi.geometry import Grid, format_shape, same_spacing
from octopi.project import (
    OCTOPI_USER,
    PicksQuery,
    Run,
    SegmentationQuery,
    TomogramQuery,
    volume_check,
)
from octopi.project.objects import PickableObject, unknown_labels


@dataclass(frozen=True)
class CheckRequest:
    """What is asked of every run.

    Args:
        target: the label volumes to train on.
        tomo_types: that matter; None = all.
        voxel_spacing: Å, that matters; None = all.
        working_spacing: Å, that tomograms are Fourier-cropped to; None = as they are.
        picks: user/session of the picks that matter; None = everyone's but octopi's own.
        objects: of the copick config, by name.
        min_distance: nearer than this two picks are one particle; parts of the object's radius.
        voxels: look at every voxel; False counts files.
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
        """Whether a tomogram is one that matters."""
        requested_spacing = self.voxel_spacing
        near = requested_spacing is None or same_spacing(query.voxel_spacing, requested_spacing)
        return near and (self.tomo_types is None or query.tomo_type in self.tomo_types)


@dataclass(frozen=True)
class Issue:
    """Something that is wrong or odd.

    Args:
        run_name: where; empty = the project.
        text: what, and what to do about it.
        blocks_training: whether training on the run would fail of it.
    """

    run_name: str
    text: str
    blocks_training: bool

    def __str__(self) -> str:
        return f"{self.run_name}: {self.text}" if self.run_name else self.text


@dataclass
class RunReport:
    """What a run holds, and what is wrong with it.

    Args:
        tomograms: the grid of each that can be opened.
        digests: tomogram -> digest of its bytes, where they were read.
        picks: object -> number of its picks.
        sessions: object -> whose picks those are.
        labels: what its target says of its labels; None = nothing, or no target.
        has_target: whether there is one.
        target_grid: its grid.
        classes: objects that the target's voxels hold; None = not looked at.
    """

    name: str
    tomograms: dict[TomogramQuery, Grid] = field(default_factory=dict)
    digests: dict[TomogramQuery, str] = field(default_factory=dict)
    picks: dict[str, int] = field(default_factory=dict)
    sessions: dict[str, set[str]] = field(default_factory=dict)
    labels: dict[str, int] | None = None
    has_target: bool = False
    target_grid: Grid | None = None
    classes: set[str] | None = None
    remarks: list[Issue] = field(default_factory=list)

    def add_issue(self, text: str, *, serious: bool) -> None:
        """The remark is kept."""
        self.remarks.append(Issue(self.name, text, serious))


def check_run(run: Run, question: CheckRequest) -> RunReport:
    """All there is to say of a run."""
    report = RunReport(run.name)
    for check in (_tomograms, _picks, _target):
        try:
            check(run, question, report)
        except OctopiError as error:  # a list that cannot be had; the rest can
            report.add_issue(_without_run_name(error, run), serious=True)
    return report


def _tomograms(run: Run, question: CheckRequest, report: RunReport) -> None:
    for query in run.tomograms():
        serious = question.is_relevant(query)
        try:
            volume_report = volume_check.check_tomogram(run, query, voxels=question.voxels)
        except DataError as error:
            report.add_issue(_without_run_name(error, run), serious=serious)
            continue
        report.tomograms[query] = volume_report.grid
        report.digests[query] = volume_report.digest
        for fault in (*_broken(volume_report), *_values(volume_report)):
            report.add_issue(f"tomogram {query} {fault}", serious=serious)
        flat = len(volume_report.constant_chunks)
        if flat and not volume_report.values.is_constant:
            report.add_issue(
                f"tomogram {query}: all voxels are the same within each of {flat} chunks "
                f"({shorten_list(volume_report.constant_chunks)}).",
                serious=False,
            )
    _compare_shapes(report)


def _compare_shapes(report: RunReport) -> None:
    """Tomograms of one spacing that differ in shape are odd."""
    shapes: dict[float, dict[tuple[int, ...], list[str]]] = {}
    for query, grid in report.tomograms.items():
        of_spacing = shapes.setdefault(query.voxel_spacing, {})
        of_spacing.setdefault(grid.shape, []).append(query.tomo_type)
    for spacing, types_by_shape in shapes.items():
        if len(types_by_shape) > 1:
            text = "; ".join(
                f"{', '.join(types)} {format_shape(shape)}"
                for shape, types in types_by_shape.items()
            )
            report.add_issue(
                f"its tomograms at {spacing:g} Å differ in shape: {text}.", serious=False
            )


def _broken(found: volume_check.VolumeReport) -> list[str]:
    faults = []
    if found.missing and found.all_chunks_required:
        faults.append(
            f"lacks {len(found.missing)} of {found.num_chunks} chunks "
            f"({shorten_list(found.missing)}), "
            "which would be read as zeros. Copy or write it again."
        )
    if found.damaged:
        faults.append(
            f"has {len(found.damaged)} chunks of {found.num_chunks} that cannot be decoded "
            f"({shorten_list(found.damaged)}). Copy or write it again."
        )
    return faults


def _values(found: volume_check.VolumeReport) -> list[str]:
    return [f"{fault}. Reconstruct it again." for fault in found.values.faults()]


def _picks(run: Run, question: CheckRequest, report: RunReport) -> None:
    grid = next(
        (grid for query, grid in report.tomograms.items() if question.is_relevant(query)), None
    )
    for query in run.picks():
        source = f"{query.user_id}/{query.session_id}"
        is_requested = source == question.picks if question.picks else query.user_id != OCTOPI_USER
        if not is_requested:
            continue
        name = query.object_name
        if name not in question.objects:
            report.add_issue(
                f"picks {query} are of an object that the copick config does not have."
                f"{did_you_mean(name, question.objects)}",
                serious=False,
            )
            continue
        report.sessions.setdefault(name, set()).add(source)
        try:
            points = run.read_picks(query)
        except DataError as error:
            report.add_issue(_without_run_name(error, run), serious=True)
            continue
        report.picks[name] = report.picks.get(name, 0) + len(points)
        if grid is not None:
            radius = question.objects[name].radius
            near = None if radius is None else radius * question.min_distance
            _add_pick_issues(query, examine_picks(points, grid, min_distance=near), near, report)


def _add_pick_issues(
    query: PicksQuery, found: PicksHealth, near: float | None, report: RunReport
) -> None:
    if found.look_like_voxels:
        report.add_issue(
            f"all {found.num_picks} picks {query} lie where voxel numbers would: they look like "
            "voxels rather than Å. Multiply them by the voxel spacing.",
            serious=False,
        )
    if found.outside:
        report.add_issue(
            f"{len(found.outside)} of {found.num_picks} picks {query} lie outside the tomogram "
            f"(counting from 0: {shorten_list(found.outside)}).",
            serious=False,
        )
    if found.num_duplicates:
        report.add_issue(
            f"{found.num_duplicates} of {found.num_picks} picks {query} are closer than "
            f"{near:g} Å to "
            "another: are they the same particle twice?",
            serious=False,
        )


def _target(run: Run, question: CheckRequest, report: RunReport) -> None:
    wanted = question.target.name_user_session
    if not any(query.name_user_session == wanted for query in run.segmentations()):
        return
    report.has_target = True
    volume_report = volume_check.check_segmentation(run, question.target, voxels=question.voxels)
    report.target_grid = volume_report.grid
    report.labels = volume_report.attributes.get("labels")
    for fault in _broken(volume_report):
        report.add_issue(f"target {question.target} {fault}", serious=True)
    if report.labels is None:
        report.add_issue(
            f"target {question.target} does not say which label is which object. Make it with "
            "octopi create_targets.",
            serious=True,
        )
    elif question.voxels:
        _compare_labels(volume_report.counts, report, question)
    _compare_grids(volume_report.grid, report, question)
    _compare_radii(volume_report.attributes.get("sphere_radii", {}), report, question)


def _compare_labels(counts: Mapping[int, int], report: RunReport, question: CheckRequest) -> None:
    labels = report.labels or {}
    report.classes = {name for name, label in labels.items() if counts.get(label)}
    unknown = unknown_labels(counts, labels)
    if unknown:
        report.add_issue(
            f"target {question.target} holds the labels {unknown}, which belong to no object "
            f"({labels}). Make it again with octopi create_targets overwrite=true.",
            serious=True,
        )


def _compare_grids(target_grid: Grid, report: RunReport, question: CheckRequest) -> None:
    for query, grid in report.tomograms.items():
        if not question.is_relevant(query):
            continue
        try:
            check_target_fits(target_grid, working_grid(grid, question.working_spacing))
        except DataError as error:
            report.add_issue(f"{query}, target {question.target}: {error}", serious=True)


def _compare_radii(painted: Mapping[str, float], report: RunReport, question: CheckRequest) -> None:
    """Spheres as large as the object itself, or larger, tell of a radius changed since."""
    for name, radius in painted.items():
        object_info = question.objects.get(name)
        if (
            object_info is not None
            and object_info.radius is not None
            and radius > 1.2 * object_info.radius
        ):
            report.add_issue(
                f"target {question.target} has spheres of {radius:g} Å for {name}, whose radius in "
                f"the copick config is {object_info.radius:g} Å.",
                serious=False,
            )


def _without_run_name(error: OctopiError, run: Run) -> str:
    """The error's text without the run, which stands before every remark."""
    return str(error).removeprefix(f"Run {run.name}: ").removeprefix(f"Run {run.name} ")
