"""Draw and list what a search has found so far, also while it runs.

Run it as `octopi summarize folder=DIR` or `python -m octopi.summarize folder=DIR`.
"""

import logging
from pathlib import Path

from octopi.cli.job import command
from octopi.config.settings import SummarizeSettings
from octopi.errors import SettingError
from octopi.sweeps.study import is_search, open_study
from octopi.system import locks
from octopi.system.files import read_yaml
from octopi.system.job_folder import RESULTS_FILE, STUDY_FILE, Job, fold_folders

logger = logging.getLogger(__name__)


def summarize(settings: SummarizeSettings, job: Job) -> None:
    """The folder of a search holds its results and pictures; the log has the table.

    Of a cross-validation, the log has the table.
    """
    folder = Path(settings.folder).absolute()
    if is_search(folder):
        logger.info("%s\n%s", folder, of_search(folder, write=not settings.dry_run))
    elif fold_folders(folder) and (folder / RESULTS_FILE).is_file():
        from octopi.cross_validation import run  # noqa: PLC0415  brings torch, slow to import

        logger.info("%s\n%s", folder, run.summarize(folder))
    else:
        raise SettingError(
            f"{folder} is neither the folder of a search ({STUDY_FILE}) nor of a finished "
            f"cross-validation ({RESULTS_FILE} and fold_*). It {_holds(folder)}. Name with "
            "folder=… the folder that was given as hydra.sweep.dir."
        )


def of_search(folder: Path, *, write: bool = True) -> str:
    """The table of a search; results and pictures are written into its folder, if so wished."""
    from octopi.sweeps import plots, summary  # noqa: PLC0415  slow to import

    study = open_study(folder)
    objectives = read_yaml(folder / STUDY_FILE)["objectives"]
    if not write:
        return summary.table(study, objectives)
    with locks.wait_for_lock(folder / ".lock"):  # a worker may be writing the same files
        summary.write_results(folder, study, objectives)
        plots.draw(folder, study, objectives)
    return summary.table(study, objectives)


def _holds(folder: Path) -> str:
    if not folder.is_dir():
        return "does not exist"
    names = sorted(path.name for path in folder.iterdir())
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return f"holds {', '.join(names[:6])}{more}" if names else "is empty"


main = command("summarize", summarize)

if __name__ == "__main__":
    main()
