"""Sum up the reports of all runs: would training fail, and what is merely odd (pure)."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from octopi.checks.picks import describe_gaps
from octopi.checks.run_report import CheckRequest, Issue, RunReport
from octopi.checks.tables import format_counts, format_with_totals, total_counts
from octopi.data.folds import ONE_RUN, check_none_absent
from octopi.errors import NotInProjectError, OctopiError, SettingError
from octopi.geometry import format_shape
from octopi.project.objects import check_painted_objects, object_labels
from octopi.project.pick_contrast import clear_sign
from octopi.project.provenance import check_same_painting
from octopi.project.queries import TomogramQuery, select_tomogram
from octopi.project.selection import several_types_message
from octopi.targets import check_any_inside, check_has_marks, target_labels


@dataclass(frozen=True)
class CheckSummary:
    """The issues of a project.

    Args:
        problems: issues because of which training would fail.
        warnings: the other issues.
        training: names of the runs that would train or validate.
        has_targets: whether any run has the target; if not, picks were checked instead.
    """

    problems: list[Issue]
    warnings: list[Issue]
    training: list[str]
    has_targets: bool


def summarise(reports: Sequence[RunReport], request: CheckRequest) -> CheckSummary:
    """Collect the issues of a project; those of runs that train nothing are warnings."""
    has_targets = any(report.has_target for report in reports)
    training = [r for r in reports if (r.has_target if has_targets else r.annotations)]
    names = [report.name for report in training]
    issues = [
        replace(
            issue,
            blocks_training=issue.blocks_training
            and (report.name in names or not report.is_listed),
        )
        for report in reports
        for issue in report.issues
    ]
    issues += _object_warnings(reports, request)
    issues += _missing_tomograms(training, request, has_targets=has_targets)
    readable = [r for r in training if {q.object_name for q in r.annotations} <= r.num_picks.keys()]
    gaps = describe_gaps(
        {r.name: r.num_picks for r in readable if r.annotations}, partial_objects_of(training)
    )
    issues += [Issue("", text) for text in gaps]
    issues += _duplicate_tomograms(reports)
    issues += _inverted_tomograms(reports)
    issues += _target_issues(training, request) if has_targets else _pick_issues(reports, request)
    return CheckSummary(
        [issue for issue in issues if issue.blocks_training],
        [issue for issue in issues if not issue.blocks_training],
        names,
        has_targets,
    )


def partial_objects_of(reports: Sequence[RunReport]) -> set[str]:
    """Return the objects that the targets call partially annotated."""
    return {name for report in reports for name in report.attributes.get("annotation", {})}


def _object_warnings(reports: Sequence[RunReport], request: CheckRequest) -> Iterable[Issue]:
    """Report radii that look like another unit, and labels that two objects share."""
    grid = next((grid for report in reports if (grid := report.grid(request))), None)
    for obj in request.objects.values():
        if grid and (text := obj.odd_radius(request.working_grid(grid))):
            yield Issue("", text)
    yield from issues_of(object_labels, request.objects, blocks_training=False)


def _missing_tomograms(
    training: Sequence[RunReport], request: CheckRequest, *, has_targets: bool
) -> Iterable[Issue]:
    """Report tomograms that a run lacks at all, or at the most common spacing.

    Targets are painted on every requested type; without the first a run cannot train. Where none
    is requested, a run needs any.
    """
    tomograms = [q for report in training for q in report.tomograms if request.is_relevant(q)]
    types = list(request.settings.tomo_types or dict.fromkeys(q.tomo_type for q in tomograms))
    if request.settings.tomo_types is None and len(types) > 1:
        yield Issue("", f"The project has {several_types_message(types)}")
    common = [spacing for spacing, _ in Counter(q.voxel_spacing for q in tomograms).most_common(1)]
    for report in training:
        looks_anywhere = not has_targets or report is training[0]  # as the work does
        spacings = [request.settings.voxel_spacing, *common] if looks_anywhere else common
        errors = [_missing_tomogram(report, tomo_type, spacings) for tomo_type in types or [None]]
        for number, error in enumerate(errors):
            if error is not None:
                is_needed = (
                    number == 0 or not has_targets if request.settings.tomo_types else all(errors)
                )
                yield report.issue(str(error), blocks_training=is_needed)


def _missing_tomogram(
    report: RunReport, tomo_type: str | None, spacings: Sequence[float | None]
) -> NotInProjectError | None:
    """Return the error of a run that lacks a tomogram at one of the spacings (Å)."""
    for spacing in spacings:
        try:
            select_tomogram(report.existing_tomograms, tomo_type, spacing, run_name=report.name)
        except NotInProjectError as error:
            return error
        except SettingError:  # several spacings: an issue of the run
            return None
    return None


def _duplicate_tomograms(reports: Sequence[RunReport]) -> Iterable[Issue]:
    """Report tomograms that occur in more than one run."""
    copies: dict[str, list[tuple[str, TomogramQuery]]] = defaultdict(list)
    for report in reports:
        for query, digest in report.digests.items():
            if digest:
                copies[digest].append((report.name, query))
    for (first_run, first), *others in copies.values():
        for run_name, query in others:
            if run_name != first_run:
                text = (
                    f"its tomogram {query} is {first} of run {first_run}, byte by byte. If one "
                    "trains and the other validates, scores are too good: leave one out, or see "
                    "data.tilt_series_pattern."
                )
                yield Issue(run_name, text)


def _inverted_tomograms(reports: Sequence[RunReport]) -> Iterable[Issue]:
    """Report tomograms whose particles are bright where those of most runs are dark, or dark."""
    signs: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for report in reports:
        for query, contrasts in report.contrasts.items():
            for name, values in contrasts.items():
                if sign := clear_sign(values):
                    signs[query.tomo_type][name][report.name] = sign
    for tomo_type, sign_by_object in signs.items():
        for run_name, brightness in _minority(sign_by_object.values()).items():
            text = (
                f"particles are {'brighter' if brightness > 0 else 'darker'} than their "
                f"surroundings in its tomogram {tomo_type}, unlike those of other runs. "
                "If its contrast is inverted, multiply it by -1 and write it again."
            )
            yield Issue(run_name, text)


def _minority(signs: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Find the runs whose signs differ from those of most runs; all runs, if there is a draw.

    Args:
        signs: of each object, 1 or -1 by run name.

    Returns:
        Run name -> sum of its signs.
    """
    brightness, agreement = Counter[str](), Counter[str]()  # over all objects
    for sign_by_run in signs:
        total = sum(sign_by_run.values())
        for run_name, sign in sign_by_run.items():
            brightness[run_name] += sign
            agreement[run_name] += sign * total
    is_draw = not any(agreement.values())
    return {name: brightness[name] for name, value in agreement.items() if value < 0 or is_draw}


def _pick_issues(reports: Sequence[RunReport], request: CheckRequest) -> Iterable[Issue]:
    """Report what would make create_targets fail."""
    if request.sets_error is not None and all(report.is_listed for report in reports):
        yield Issue("", str(request.sets_error), blocks_training=True)
    names = sorted({query.object_name for report in reports for query in report.annotations})
    if not names:
        return
    for name in names:
        yield from issues_of(request.objects[name].require_radius, blocks_training=True)
    yield from issues_of(target_labels, names, blocks_training=True)
    yield from issues_of(
        check_has_marks, names, request.settings.rejected or (), blocks_training=True
    )
    if all(report.grid(request) for report in reports if report.annotations):
        num_inside = sum(report.num_inside for report in reports)
        num_outside = sum(report.num_outside for report in reports)
        yield from issues_of(check_any_inside, num_inside, num_outside, blocks_training=True)


def issues_of(check: Callable[..., object], *args: Any, blocks_training: bool) -> Iterable[Issue]:
    """Call a check that the work calls too; return its error as an issue."""
    try:
        check(*args)
    except OctopiError as error:
        return [Issue("", str(error), blocks_training)]
    return []


def _target_issues(training: Sequence[RunReport], request: CheckRequest) -> Iterable[Issue]:
    """Report targets that disagree with one another or with the copick config."""
    first = next((report for report in training if report.labels is not None), None)
    if first is None or first.labels is None:
        return
    for report in training:
        try:
            check_same_painting(report.name, report.attributes, first.name, first.attributes)
        except OctopiError as error:
            yield report.issue(str(error), blocks_training=True)
    painted = first.attributes.get("picks", {})
    yield from issues_of(check_painted_objects, painted, request.objects, blocks_training=True)
    for name in first.labels:
        if name in request.objects and request.objects[name].radius is not None:
            yield from issues_of(request.objects[name].require_radius, blocks_training=True)
    yield from _rare_objects(first.labels, training)
    if len(training) == 1:
        yield Issue("", ONE_RUN)


def _rare_objects(labels: Mapping[str, int], training: Sequence[RunReport]) -> Iterable[Issue]:
    """Report objects that occur in no target or in only one; none where voxels were not read."""
    if any(report.classes is None for report in training):
        return
    yield from issues_of(
        check_none_absent,
        set(labels).difference(*(report.classes or () for report in training)),
        blocks_training=True,
    )
    for name in labels:
        run_names = [report.name for report in training if name in (report.classes or ())]
        if len(run_names) == 1 and len(training) > 1:
            text = f"Only {run_names[0]} holds {name}: it can be trained on or validated, not both."
            yield Issue("", text)


def table(reports: Sequence[RunReport], request: CheckRequest) -> str:
    """Format the content of all runs as an aligned table."""
    names = [name for name in request.objects if any(name in r.num_picks for r in reports)]
    rows = []
    for r in reports:
        shapes = list(dict.fromkeys(format_shape(grid.shape) for grid in r.tomograms.values()))
        rows.append([
            r.name, " ".join(map(str, r.tomograms)) or "none", " ".join(shapes) or "-",
            *format_counts(r.num_picks, names),
            "yes" if r.has_target else "no", str(len(r.issues) or "-"),
        ])  # fmt: skip
    totals = total_counts({r.name: r.num_picks for r in reports}, names)
    return format_with_totals(
        ["run", "tomograms", "shape z×y×x", *names, "target", "faults"],
        rows,
        ["all", f"{len(reports)} runs", "", *totals, str(sum(r.has_target for r in reports)), ""],
    )
