"""Check every run of a project before training on it: missing chunks, odd picks, wrong targets.

Run it as `octopi check` or `python -m octopi.check`; nothing is written.
"""

import functools
import logging
from collections.abc import Sequence

from octopi.candidates import read_checkpoint_infos
from octopi.checks.run_report import CheckRequest, Issue, RunReport
from octopi.checks.runs import check_run
from octopi.checks.summary import CheckSummary, issues_of, partial_objects_of, summarise, table
from octopi.cli.job import Command
from octopi.config.build import build
from octopi.config.overrides import shell_override
from octopi.config.settings import CheckSettings
from octopi.errors import DataError, OctopiError, shorten_list
from octopi.evaluation.share_report import advise_partial, describe_shares
from octopi.models.checkpoint_info import CheckpointInfo
from octopi.pick_sets import sum_counts
from octopi.project import Project
from octopi.project.queries import PickSets, SegmentationQuery
from octopi.project.selection import find_pick_sets, keep_known
from octopi.system.job_folder import Job
from octopi.system.progress import ProgressBar
from octopi.system.worker_pool import run_in_threads

logger = logging.getLogger(__name__)


def check(settings: CheckSettings, _job: Job) -> None:
    """Check the runs of a project; log a table of them and every issue.

    Raises:
        DataError: training would fail.
    """
    checkpoint_info = None
    if settings.checkpoint is not None:
        (checkpoint_info,) = read_checkpoint_infos([settings.checkpoint])
    project: Project = build(settings.project, "project")
    united, rejected, error = find_united(project, settings)
    target = SegmentationQuery.parse(settings.target)
    request = CheckRequest(settings, target, united, rejected, error, project.objects)
    reports = check_runs(project, request)
    logger.info("%s\n%s", project, table(reports, request))
    for name, sets in united.items():
        origins = (r.origins[name] for r in reports if name in r.origins)
        counts = sum_counts(sets.user_sessions, origins)
        logger.info("%s: %s.", name, counts)
    summary = summarise(reports, request)
    are_sets_typed = settings.picks is not None or settings.rejected is not None
    if error is not None and are_sets_typed and summary.has_targets:  # which no issue says then
        raise error
    if not summary.has_targets:  # they are written next
        check_overlays = functools.partial(project.check_writable, touch=False)
        summary.problems.extend(issues_of(check_overlays, blocks_training=True))
    if checkpoint_info is not None:
        log_shares(checkpoint_info, reports, summary, settings)
    report_result(summary, settings)


def find_united(
    project: Project, settings: CheckSettings
) -> tuple[dict[str, PickSets], dict[str, PickSets], OctopiError | None]:
    """Find the objects with several sets of picks, or with rejected places, and a radius.

    Returns:
        Object name -> its sets of picks; object name -> its rejected places; and why sets cannot
        be found, where that is so: an issue of the project, if it has no targets.
    """
    try:
        project.require_objects()
        picks, rejected = find_pick_sets(
            project.select(settings.runs, keep_contents=True),
            objects=None, source=settings.picks, rejected=settings.rejected,
        )  # fmt: skip
        if not picks.keys() & project.objects.keys():
            keep_known(picks, project.objects, required=False)  # which says why none is known
    except OctopiError as error:
        return {}, {}, error
    united = {
        name: sets
        for name, sets in picks.items()
        if (len(sets.queries) > 1 or name in rejected)
        and name in project.objects
        and project.objects[name].has_radius
    }
    return united, rejected, None


def check_runs(project: Project, request: CheckRequest) -> list[RunReport]:
    """Check the selected runs in threads; each has one chunk in memory at a time."""
    settings = request.settings
    runs = project.select(settings.runs, keep_contents=True)
    work = functools.partial(check_run, request=request)
    checked = run_in_threads(work, runs, num_threads=settings.num_workers)
    bar = ProgressBar(checked, total=len(runs), desc="check", unit="run")
    reports = {report.name: report for report in bar}
    return [reports[run.name] for run in runs]


def log_shares(
    info: CheckpointInfo,
    reports: Sequence[RunReport],
    summary: CheckSummary,
    settings: CheckSettings,
) -> None:
    """Log which share of the particles a training found to be annotated.

    Warn where clearly not all are that the targets say are.

    Args:
        info: of the training's checkpoint.
        reports: of all runs.
        summary: of the reports.
        settings: of the command.
    """
    partial = partial_objects_of(reports)
    names = info.annotated_share.keys() | (partial & info.radii.keys())
    sentences = describe_shares(info.annotated_share, names)
    logger.info(
        "Of the particles, as the training of %s saw them:%s",
        settings.checkpoint,
        "".join(f"\n  {sentence}" for sentence in sentences) or " it does not say.",
    )
    advice = advise_partial(
        info.annotated_share,
        {name: sum(report.num_picks.get(name, 0) for report in reports) for name in names},
        partial=partial,
        object_names=info.labels.keys(),
        write_override=shell_override,
    )
    if advice is not None and summary.has_targets:
        logger.warning(advice)


def report_result(summary: CheckSummary, settings: CheckSettings) -> None:
    """Log the issues and the next step; raise DataError if training would fail."""
    problems, warnings = summary.problems, summary.warnings
    if warnings:
        logger.warning("%d warnings:%s", len(warnings), _lines(warnings))
    if problems:
        reasons = f"{len(problems)} reason{'s' * (len(problems) > 1)}"
        logger.error("Training would fail, for %s:%s", reasons, _lines(problems))
        raise DataError(
            f"Training would fail, for {reasons}, listed above:\n  "
            + shorten_list(problems, "\n  ", item_length=400)
        )
    what = f"the target {settings.target}" if summary.has_targets else "picks"
    unread = "" if settings.voxels else " Voxels were not read (voxels=true reads them)."
    after = "octopi train" if summary.has_targets else "octopi create_targets"
    logger.info(
        "%d runs with %s can be trained on.%s Next: %s", len(summary.training), what, unread, after
    )


def _lines(issues: list[Issue]) -> str:
    return "".join(f"\n  {issue}" for issue in issues)


main = Command("check", check)

if __name__ == "__main__":
    main()
