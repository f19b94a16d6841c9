"""Draw and list what a search has found so far, also while it runs.

Run it as `octopi summarize folder=DIR` or `python -m octopi.summarize folder=DIR`.
"""

import logging
from pathlib import Path

from octopi.cli.job import Command
from octopi.config.settings import SummarizeSettings
from octopi.errors import SettingError, shorten_list
from octopi.sweeps.sweep_file import is_search, read_search_info
from octopi.system.job_folder import RESULTS_FILE, STUDY_FILE, Job, fold_folders

logger = logging.getLogger(__name__)


def summarize(settings: SummarizeSettings, job: Job) -> None:
    """Log the table of a search and write its results and pictures; log that of a cross-validation.

    Args:
        settings: name the folder.
        job: unused, for a summary is written into the folder of the sweep.
    """
    folder = Path(settings.folder).absolute()
    if is_search(folder):
        table = summarize_search(folder, settings.storage, write=not settings.dry_run)
    elif fold_folders(folder) and (folder / RESULTS_FILE).is_file():
        from octopi.cross_validation.table import summarize_folds  # noqa: PLC0415  matplotlib

        table = summarize_folds(folder)
    elif (folder / STUDY_FILE).is_file() and not fold_folders(folder):
        raise SettingError(
            f"{folder} holds a grid of trainings, which has no summary: the {RESULTS_FILE} of each "
            "says what it reached."
        )
    else:
        raise SettingError(
            f"{folder} is neither the folder of a search ({STUDY_FILE}) nor of a finished "
            f"cross-validation ({RESULTS_FILE} and fold_*). It {_describe_content(folder)}. Name "
            "with folder=… the folder that was given as hydra.sweep.dir."
        )
    logger.info("%s\n%s", folder, table)


def summarize_search(folder: Path, storage: str | None, *, write: bool) -> str:
    """Return the table of a search.

    Args:
        folder: of the search.
        storage: URL of its database; None where it lies in the folder.
        write: also write its results and pictures into the folder.
    """
    # Optuna and plotly take seconds to import.
    from octopi.sweeps import plots, results, study, summary  # noqa: PLC0415

    study.check_storage(folder, storage)
    optuna_study, objectives = study.open_study(folder), read_search_info(folder).objectives
    if write:
        return summary.format_table(plots.write_summary(folder, optuna_study, objectives))
    return summary.format_table(results.StudyResults(optuna_study, objectives))


def _describe_content(folder: Path) -> str:
    if not folder.is_dir():
        return "is a file" if folder.exists() else "does not exist"
    names = sorted(path.name for path in folder.iterdir())
    return f"holds {shorten_list(names)}" if names else "is empty"


main = Command("summarize", summarize)

if __name__ == "__main__":
    main()
