"""Say what a project holds and who is at work on it, or how far trainings are.

Run it as `octopi status`, `octopi status folder=DIR` or `python -m octopi.status`; nothing is
written.
"""

import logging
from pathlib import Path

from octopi.checks.status import (
    describe_work,
    format_contents,
    format_trainings,
    list_contents,
    read_trainings,
)
from octopi.cli.job import Command
from octopi.config.build import build
from octopi.config.settings import StatusSettings
from octopi.project import Project
from octopi.system.job_folder import Job

logger = logging.getLogger(__name__)


def status(settings: StatusSettings, _job: Job) -> None:
    """Log what exists, what is being done by whom since when, and what is left."""
    if settings.folder is not None:
        folder = Path(settings.folder).absolute()
        logger.info("%s\n%s", folder, format_trainings(read_trainings(folder)))
        return
    project: Project = build(settings.project, "project")
    runs = project.select(settings.runs, keep_contents=True)
    logger.info("%s\n%s", project, format_contents(list_contents(runs)))
    work = filter(None, map(describe_work, project.work_folders()))
    logger.info("\n".join(work) or "No process is at work on it.")


main = Command("status", status)

if __name__ == "__main__":
    main()
