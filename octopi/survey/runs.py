"""One run, looked at from every side; what is wrong is noted, and never ends the survey."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from octopi.data.cache import check_fits, working_grid
from octopi.errors import DataError, OctopiError, did_you_mean
from octopi.geometry import Grid, same_spacing
from octopi.project import (
    OWN_USER,
    PicksQuery,
    Run,
    SegmentationQuery,
    TomogramQuery,
    health,
)
from octopi.project.objects import PickableObject, unknown_labels
from octopi.survey.picks import PicksHealth, examine_picks

SHOWN = 5  # indices and names listed before an ellipsis


@dataclass(frozen=True)
class Question:
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

    def concerns(self, query: TomogramQuery) -> bool:
        """Whether a tomogram is one that matters."""
        asked = self.voxel_spacing
        near = asked is None or same_spacing(query.voxel_spacing, asked)
        return near and (self.tomo_types is None or query.tomo_type in self.tomo_types)


@dataclass(frozen=True)
class Remark:
    """Something that is wrong or odd.

    Args:
        run_name: where; empty = the project.
        text: what, and what to do about it.
        serious: whether training on the run would fail of it.
    """

    run_name: str
    text: str
    serious: bool

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
    remarks: list[Remark] = field(default_factory=list)

    def note(self, text: str, *, serious: bool) -> None:
        """The remark is kept."""
        self.remarks.append(Remark(self.name, text, serious))


def survey_run(run: Run, question: Question) -> RunReport:
    """All there is to say of a run."""
    report = RunReport(run.name)
    for look in (_tomograms, _picks, _target):
        try:
            look(run, question, report)
        except OctopiError as error:  # a list that cannot be had; the rest can
            report.note(_bare(error, run), serious=True)
    return report


def _tomograms(run: Run, question: Question, report: RunReport) -> None:
    for query in run.tomograms():
        serious = question.concerns(query)
        try:
            found = health.of_tomogram(run, query, voxels=question.voxels)
        except DataError as error:
            report.note(_bare(error, run), serious=serious)
            continue
        report.tomograms[query] = found.grid
        report.digests[query] = found.digest
        for fault in (*_broken(found), *_values(found)):
            report.note(f"tomogram {query} {fault}", serious=serious)
        flat = len(found.flat)
        if flat and not found.values.is_constant:
            report.note(
                f"tomogram {query}: all voxels are the same within each of {flat} chunks "
                f"({_some(found.flat)}).",
                serious=False,
            )
    _compare_shapes(report)


def _compare_shapes(report: RunReport) -> None:
    """Tomograms of one spacing that differ in shape are odd."""
    shapes: dict[float, dict[tuple[int, ...], list[str]]] = {}
    for query, grid in report.tomograms.items():
        of_spacing = shapes.setdefault(query.voxel_spacing, {})
        of_spacing.setdefault(grid.shape, []).append(query.tomo_type)
    for spacing, held in shapes.items():
        if len(held) > 1:
            told = "; ".join(f"{', '.join(types)} {by(shape)}" for shape, types in held.items())
            report.note(f"its tomograms at {spacing:g} Å differ in shape: {told}.", serious=False)


def _broken(found: health.Health) -> list[str]:
    faults = []
    if found.missing and found.whole:
        faults.append(
            f"lacks {len(found.missing)} of {found.num_chunks} chunks ({_some(found.missing)}), "
            "which would be read as zeros. Copy or write it again."
        )
    if found.damaged:
        faults.append(
            f"has {len(found.damaged)} chunks of {found.num_chunks} that cannot be decoded "
            f"({_some(found.damaged)}). Copy or write it again."
        )
    return faults


def _values(found: health.Health) -> list[str]:
    return [f"{fault}. Reconstruct it again." for fault in found.values.faults()]


def _picks(run: Run, question: Question, report: RunReport) -> None:
    grid = next(
        (grid for query, grid in report.tomograms.items() if question.concerns(query)), None
    )
    for query in run.picks():
        source = f"{query.user_id}/{query.session_id}"
        asked = source == question.picks if question.picks else query.user_id != OWN_USER
        if not asked:
            continue
        name = query.object_name
        if name not in question.objects:
            report.note(
                f"picks {query} are of an object that the copick config does not have."
                f"{did_you_mean(name, question.objects)}",
                serious=False,
            )
            continue
        report.sessions.setdefault(name, set()).add(source)
        try:
            points = run.read_picks(query)
        except DataError as error:
            report.note(_bare(error, run), serious=True)
            continue
        report.picks[name] = report.picks.get(name, 0) + len(points)
        if grid is not None:
            radius = question.objects[name].radius
            near = None if radius is None else radius * question.min_distance
            _remark_on(query, examine_picks(points, grid, min_distance=near), near, report)


def _remark_on(
    query: PicksQuery, found: PicksHealth, near: float | None, report: RunReport
) -> None:
    if found.like_voxels:
        report.note(
            f"all {found.num_picks} picks {query} lie where voxel numbers would: they look like "
            "voxels rather than Å. Multiply them by the voxel spacing.",
            serious=False,
        )
    if found.outside:
        report.note(
            f"{len(found.outside)} of {found.num_picks} picks {query} lie outside the tomogram "
            f"(counting from 0: {_some(found.outside)}).",
            serious=False,
        )
    if found.doubles:
        report.note(
            f"{found.doubles} of {found.num_picks} picks {query} are closer than {near:g} Å to "
            "another: are they the same particle twice?",
            serious=False,
        )


def _target(run: Run, question: Question, report: RunReport) -> None:
    wanted = question.target.address
    if not any(query.address == wanted for query in run.segmentations()):
        return
    report.has_target = True
    found = health.of_segmentation(run, question.target, voxels=question.voxels)
    report.target_grid = found.grid
    report.labels = found.attributes.get("labels")
    for fault in _broken(found):
        report.note(f"target {question.target} {fault}", serious=True)
    if report.labels is None:
        report.note(
            f"target {question.target} does not say which label is which object. Make it with "
            "octopi create_targets.",
            serious=True,
        )
    elif question.voxels:
        _compare_labels(found.counts, report, question)
    _compare_grids(found.grid, report, question)
    _compare_radii(found.attributes.get("sphere_radii", {}), report, question)


def _compare_labels(counts: Mapping[int, int], report: RunReport, question: Question) -> None:
    labels = report.labels or {}
    report.classes = {name for name, label in labels.items() if counts.get(label)}
    unknown = unknown_labels(counts, labels)
    if unknown:
        report.note(
            f"target {question.target} holds the labels {unknown}, which belong to no object "
            f"({labels}). Make it again with octopi create_targets overwrite=true.",
            serious=True,
        )


def _compare_grids(held: Grid, report: RunReport, question: Question) -> None:
    for query, grid in report.tomograms.items():
        if not question.concerns(query):
            continue
        try:
            check_fits(held, working_grid(grid, question.working_spacing))
        except DataError as error:
            report.note(f"{query}, target {question.target}: {error}", serious=True)


def _compare_radii(painted: Mapping[str, float], report: RunReport, question: Question) -> None:
    """Spheres as large as the object itself, or larger, tell of a radius changed since."""
    for name, radius in painted.items():
        held = question.objects.get(name)
        if held is not None and held.radius is not None and radius > 1.2 * held.radius:
            report.note(
                f"target {question.target} has spheres of {radius:g} Å for {name}, whose radius in "
                f"the copick config is {held.radius:g} Å.",
                serious=False,
            )


def by(shape: Sequence[int]) -> str:
    """A shape as 184×630×630."""
    return "×".join(map(str, shape))


def _bare(error: OctopiError, run: Run) -> str:
    """The error's text without the run, which stands before every remark."""
    return str(error).removeprefix(f"Run {run.name}: ").removeprefix(f"Run {run.name} ")


def _some(items: Sequence[object]) -> str:
    return ", ".join(map(str, items[:SHOWN])) + (", …" if len(items) > SHOWN else "")
