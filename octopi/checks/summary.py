"""What the reports of all runs say together: would training fail, and what is merely odd (pure)."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from octopi.checks.runs import CheckRequest, Issue, RunReport
from octopi.errors import DataError, did_you_mean
from octopi.geometry import format_shape, same_spacing
from octopi.project import TomogramQuery


@dataclass(frozen=True)
class CheckSummary:
    """What is to be said of a project.

    Args:
        problems: training would fail of each.
        warnings: odd, but no hindrance.
        training: names of the runs that would train or validate.
        has_targets: whether any run holds the target; if not, picks were judged instead.
    """

    problems: list[Issue]
    warnings: list[Issue]
    training: list[str]
    has_targets: bool


def summarise(reports: Sequence[RunReport], question: CheckRequest) -> CheckSummary:
    """What is to be said of a project; faults of runs that train nothing are warnings."""
    has_targets = any(report.has_target for report in reports)
    training = [r for r in reports if (r.has_target if has_targets else r.sessions)]
    names = [report.name for report in training]
    remarks = [
        replace(remark, blocks_training=remark.blocks_training and report.name in names)
        for report in reports
        for remark in report.remarks
    ]
    remarks += _missing_tomograms(training, question)
    remarks += _duplicate_tomograms(reports)
    remarks += (
        _target_issues(training, question) if has_targets else _pick_issues(reports, question)
    )
    return CheckSummary(
        [remark for remark in remarks if remark.blocks_training],
        [remark for remark in remarks if not remark.blocks_training],
        names,
        has_targets,
    )


def _missing_tomograms(training: Sequence[RunReport], question: CheckRequest) -> Iterable[Issue]:
    """Tomograms that a run lacks: of the first type asked for, and at the common spacing."""
    tomogram_counts = Counter(q for r in training for q in r.tomograms if question.is_relevant(q))
    types = list(question.tomo_types or dict.fromkeys(q.tomo_type for q in tomogram_counts))
    spacings = Counter[float]()
    for query, times in tomogram_counts.items():
        spacings[query.voxel_spacing] += times
    if question.tomo_types is None and len(types) > 1:
        text = (
            f"Several tomogram types: {', '.join(sorted(types))}. Say which to train on, the one "
            "to validate on first: 'tomo_types=[…]'."
        )
        yield Issue("", text, blocks_training=False)
    if not spacings:
        return
    usual = spacings.most_common(1)[0][0]
    for report in training:
        near = [q for q in report.tomograms if same_spacing(q.voxel_spacing, usual)]
        having = {q.tomo_type for q in near}
        for number, tomo_type in enumerate(types):
            if tomo_type in having:
                continue
            needed = number == 0 if question.tomo_types else not having
            others = ", ".join(map(str, report.tomograms)) or "none"
            text = f"has no tomogram {tomo_type}@{usual:g}. It has: {others}."
            yield Issue(report.name, text, blocks_training=needed)


def _duplicate_tomograms(reports: Sequence[RunReport]) -> Iterable[Issue]:
    """Runs with the very same tomogram must not be parted into training and validation."""
    owner: dict[str, tuple[str, TomogramQuery]] = {}
    for report in reports:
        for query, digest in report.digests.items():
            other, its = owner.setdefault(digest, (report.name, query)) if digest else ("", query)
            if other not in ("", report.name):
                text = (
                    f"its tomogram {query} is {its} of run {other}, byte by byte. If one trains "
                    "and the other validates, scores are too good: leave one out, or see "
                    "data.tilt_series_pattern."
                )
                yield Issue(report.name, text, blocks_training=False)


def _pick_issues(reports: Sequence[RunReport], question: CheckRequest) -> Iterable[Issue]:
    """What create_targets would stumble over."""
    sessions: dict[str, set[str]] = {}
    for report in reports:
        for name, held in report.sessions.items():
            sessions.setdefault(name, set()).update(held)
    particles = {n: s for n, s in sessions.items() if question.objects[n].is_particle}
    if not particles:
        yield Issue("", "No run has a target or picks to make one from.", blocks_training=True)
    for name, held in particles.items():
        if len(held) > 1:
            text = f"{name} has picks of {', '.join(sorted(held))}. Say whose: picks=USER/SESSION."
            yield Issue("", text, blocks_training=True)
        try:
            question.objects[name].require_radius()
        except DataError as error:
            yield Issue("", str(error), blocks_training=True)


def _target_issues(training: Sequence[RunReport], question: CheckRequest) -> Iterable[Issue]:
    first = next((r.labels for r in training if r.labels is not None), None)
    if first is None:
        return
    for report in training:
        if report.labels is not None and report.labels != first:
            text = (
                f"the labels of its target are {_diff(report.labels, first)} other than in run "
                f"{training[0].name}. Make all targets with one create_targets."
            )
            yield Issue(report.name, text, blocks_training=True)
    yield from _compare_with_config(first, question)
    yield from _rare_objects(first, training)
    if len(training) == 1:
        text = (
            "Only one run has a target: nothing can be held out. Train with "
            "'data.ratios=[1,0,0]', or annotate another run."
        )
        yield Issue("", text, blocks_training=False)


def _compare_with_config(labels: Mapping[str, int], question: CheckRequest) -> Iterable[Issue]:
    """Objects renamed, or in another order than the copick config has them."""
    for name in labels:
        if name not in question.objects:
            text = (
                f"The targets hold {name}, which the copick config does not have."
                f"{did_you_mean(name, question.objects)} Rename it there, or make the targets "
                "again."
            )
            yield Issue("", text, blocks_training=True)
    target_order = sorted(labels, key=labels.__getitem__)
    known = [name for name in question.objects if name in labels]
    of_config = {name: question.objects[name].label or 0 for name in known}
    theirs = sorted(known, key=of_config.__getitem__)
    if [name for name in target_order if name in known] != theirs:
        text = (
            f"The targets number their objects {', '.join(target_order)}; the copick config "
            f"{', '.join(theirs)}. That is no fault: targets carry their own labels."
        )
        yield Issue("", text, blocks_training=False)


def _rare_objects(labels: Mapping[str, int], training: Sequence[RunReport]) -> Iterable[Issue]:
    """Objects that no run, or but one, holds."""
    looked = [report for report in training if report.classes is not None]
    if len(looked) < len(training):
        return
    for name in labels:
        holders = [report.name for report in looked if name in (report.classes or ())]
        if not holders:
            text = f"No target holds {name}: leave it out of the targets (targets.objects)."
            yield Issue("", text, blocks_training=True)
        elif len(holders) == 1 and len(training) > 1:
            text = f"Only {holders[0]} holds {name}: it can be trained on or validated, not both."
            yield Issue("", text, blocks_training=False)


def _diff(labels: Mapping[str, int], others: Mapping[str, int]) -> str:
    names = dict.fromkeys([*labels, *others])
    return ", ".join(
        f"{name}={labels.get(name, 'none')} ({others.get(name, 'none')})"
        for name in names
        if labels.get(name) != others.get(name)
    )


def table(reports: Sequence[RunReport], question: CheckRequest) -> str:
    """What the runs hold, as aligned text."""
    names = [name for name in question.objects if any(name in r.picks for r in reports)]
    head = ["run", "tomograms", "shape z×y×x", *names, "target", "faults"]
    rows = [head]
    for r in reports:
        grids = list(dict.fromkeys(format_shape(grid.shape) for grid in r.tomograms.values()))
        counts = [str(r.picks.get(name, 0)) for name in names]
        rows.append([
            r.name, " ".join(map(str, r.tomograms)) or "none", " ".join(grids) or "-", *counts,
            "yes" if r.has_target else "no", str(len(r.remarks) or "-"),
        ])  # fmt: skip
    totals = [str(sum(r.picks.get(name, 0) for r in reports)) for name in names]
    rows.append(["all", f"{len(reports)} runs", "", *totals,
                 str(sum(r.has_target for r in reports)), ""])  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
