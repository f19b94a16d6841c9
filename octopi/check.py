"""Look at every run of a project before training does: missing chunks, odd picks, wrong targets.

Run it as `octopi check` or `python -m octopi.check`; nothing is written.
"""

import logging
from concurrent.futures import ThreadPoolExecutor, as_completed

from tqdm import tqdm

from octopi.checks.runs import CheckRequest, Issue, RunReport, check_run
from octopi.checks.summary import CheckSummary, summarise, table
from octopi.cli.job import command
from octopi.config.build import build
from octopi.config.settings import CheckSettings
from octopi.errors import DataError, SettingError, shorten_list
from octopi.project import Project, SegmentationQuery
from octopi.system.job_folder import Job

logger = logging.getLogger(__name__)


def check(settings: CheckSettings, _job: Job) -> None:
    """The log has a table of the runs and what is odd; a DataError says why training would fail."""
    if settings.num_workers < 1 or settings.min_distance < 0:
        raise SettingError("Need num_workers of 1 or more and min_distance of 0 or more.")
    project: Project = build(settings.project, "project")
    request = CheckRequest(
        target=SegmentationQuery.parse(settings.target),
        tomo_types=settings.tomo_types,
        voxel_spacing=settings.voxel_spacing,
        working_spacing=settings.data["working_spacing"],
        picks=settings.picks,
        objects=project.objects,
        min_distance=settings.min_distance,
        voxels=settings.voxels,
    )
    reports = check_runs(project, settings, request)
    result = summarise(reports, request)
    logger.info("%s\n%s", project, table(reports, request))
    tell(result, settings)


def check_runs(
    project: Project, settings: CheckSettings, question: CheckRequest
) -> list[RunReport]:
    """A report of every run, by name; each worker has one chunk in memory at a time."""
    runs = project.select(settings.runs)
    with ThreadPoolExecutor(settings.num_workers) as pool:
        futures = [pool.submit(check_run, run, question) for run in runs]
        try:
            for _ in tqdm(as_completed(futures), total=len(runs), desc="check", unit="run"):
                pass
            return [future.result() for future in futures]
        finally:
            pool.shutdown(cancel_futures=True)


def tell(verdict: CheckSummary, settings: CheckSettings) -> None:
    """The log has the warnings and what comes next; a DataError has the problems."""
    if verdict.warnings:
        logger.warning("%d remarks:\n%s", len(verdict.warnings), _listed(verdict.warnings))
    if verdict.problems:
        logger.error(
            "Training would fail, for %d reasons:\n%s",
            len(verdict.problems),
            _listed(verdict.problems),
        )
        raise DataError(
            f"Training would fail, for {len(verdict.problems)} reasons, listed above:\n  "
            + shorten_list(verdict.problems, "\n  ")
        )
    what = f"the target {settings.target}" if verdict.has_targets else "picks"
    unread = "" if settings.voxels else " Voxels were not read (voxels=true reads them)."
    after = "octopi train" if verdict.has_targets else "octopi create_targets"
    logger.info(
        "%d runs with %s can be trained on.%s Next: %s", len(verdict.training), what, unread, after
    )


def _listed(remarks: list[Issue]) -> str:
    return "\n".join(f"  {remark}" for remark in remarks)


main = command("check", check)

if __name__ == "__main__":
    main()
