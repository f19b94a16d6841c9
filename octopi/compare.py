"""Compare methods of training with a base, out of fold: did it help, and is that more than chance?

Run it as `octopi compare base=experiment=czii 'methods=[loss=dice,model=unet]'` or
`python -m octopi.compare …`.
"""

import logging
from collections.abc import Sequence

from octopi.cli.job import Command, log_dry_run
from octopi.config.build import build
from octopi.config.overrides import override_key
from octopi.config.settings import CompareSettings
from octopi.system import locks
from octopi.system.files import write_json, write_text
from octopi.system.job_folder import COMPARISON_FILE, COMPARISON_TABLE, Job

logger = logging.getLogger(__name__)


def compare(settings: CompareSettings, job: Job) -> None:
    """Train what is missing, compare every method with the base, write and log the table.

    Args:
        settings: of the comparison.
        job: its folder holds the trainings; the same folder again trains only what is missing.
    """
    # torch and Lightning take seconds to import, which --help must not wait for.
    from octopi.comparison import methods, scores  # noqa: PLC0415

    project = [o for o in job.overrides if override_key(o).split(".")[0] == "project"]
    compared = methods.read_methods(settings, project, job.folder)
    info = methods.read_info(compared, build(settings.project, "project"))
    methods.check_trainings(compared)
    if settings.dry_run:
        locks.check_not_locked(job.folder)
        log_dry_run("compare", describe(compared, job))
        return
    with locks.lock_folder(job.folder):
        job.open_folder()
        methods.run_missing(compared, job.folder)
        comparison = scores.compare_methods(compared, info)
        write_json(job.folder / COMPARISON_FILE, comparison)
        table = scores.format_comparison(comparison)
        write_text(job.folder / COMPARISON_TABLE, f"{table}\n")
    logger.info("%s\n%s", job.folder, table)


def describe(methods: Sequence, job: Job) -> list[str]:
    """Return lines on which trainings a comparison would run."""
    lines = [f"folder     {job.folder}"]
    for method in methods:
        missing = [str(training.seed) for training in method.trainings if not training.is_finished]
        seeds = f"seeds {', '.join(missing)} to be trained" if missing else "finished"
        lines.append(f"method     {method.name}: {seeds}")
    return lines


main = Command("compare", compare, opens_folder=True)

if __name__ == "__main__":
    main()
