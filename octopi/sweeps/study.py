"""The study of a search, in a journal or in a database."""

import warnings
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.study import StudyDirection

from octopi.config.overrides import shell_override
from octopi.errors import SettingError, is_database_error
from octopi.models.properties import COST_METRICS
from octopi.sweeps.database import PATIENCE, PatientDatabase
from octopi.sweeps.journal import JOURNAL, Journal
from octopi.sweeps.sweep_file import CURE, read_search_info
from octopi.system.files import absolute_sqlite_url, damaged, sqlite_path
from octopi.system.job_folder import STUDY_FILE

warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
optuna.logging.set_verbosity(optuna.logging.WARNING)

SQLITE_WAIT = 30.0  # seconds that a locked SQLite file is waited for; SQLite's own 5 are too few


def open_study(folder: Path, *, patience: float = PATIENCE) -> optuna.Study:
    """Open the study of a search's folder; make it if it is new.

    Args:
        folder: of the search.
        patience: seconds that each access waits for a database that does not answer.

    Raises:
        SettingError: the folder is not a search's, or its database cannot be reached.
        DataError: `study.yaml` is damaged.
    """
    search = read_search_info(folder)
    storage = open_storage(folder, search.storage, patience)
    directions = optimisation_directions(search.objectives)
    sampler = optuna.samplers.RandomSampler()
    try:
        study = optuna.load_study(study_name=search.study_name, storage=storage, sampler=sampler)
    except KeyError:
        study = optuna.create_study(
            study_name=search.study_name,
            storage=storage,
            directions=directions,
            sampler=sampler,
            load_if_exists=True,
        )
    if study.directions != directions:
        names = ", ".join(search.objectives)
        reason = f"its objectives, {names}, are not those of the study {search.study_name}"
        raise damaged(folder / STUDY_FILE, reason, cure=CURE)
    return study


def check_storage(folder: Path, typed: str | None) -> None:
    """Raise SettingError if a search's file names a database that the user does not.

    Args:
        folder: of the search; a database in it is the search's own.
        typed: URL of the database that the user names.
    """
    url = read_search_info(folder).storage
    if url is None:
        return
    path = sqlite_path(url)
    is_own = path is not None and path.resolve().is_relative_to(folder.resolve())
    if not is_own and (typed is None or absolute_sqlite_url(typed) != absolute_sqlite_url(url)):
        raise SettingError(
            f"{folder / STUDY_FILE} names a database outside its folder, which is opened only if "
            f"you name it too: {shell_override('storage', url)}"
        )


def open_storage(folder: Path, url: str | None, patience: float = PATIENCE) -> BaseStorage:
    """Open the storage of a study: a journal in the folder or, with a URL, a database."""
    if url is None:
        return JournalStorage(Journal(folder / JOURNAL))
    try:
        if sqlite_path(url) is None:
            return PatientDatabase(url, patience)
        wait = {"connect_args": {"timeout": SQLITE_WAIT}}
        return RDBStorage(absolute_sqlite_url(url), engine_kwargs=wait)
    except ImportError as error:
        raise SettingError(
            f"hydra.sweeper.storage: {error.__cause__ or error}. Install the driver of this "
            "database beside octopi, such as: pip install 'psycopg[binary]' or pip install pymysql"
        ) from error
    except (ValueError, RuntimeError) as error:  # RuntimeError: the tables are of another Optuna
        raise SettingError(f"hydra.sweeper.storage: {error}") from error
    except Exception as error:  # importing sqlalchemy to name its errors takes long
        text = str(error).partition("\n")[0]
        if is_database_error(error) and "locked" not in text:
            raise SettingError(f"hydra.sweeper.storage cannot be reached: {text}") from error
        raise


def optimisation_directions(objectives: list[str]) -> list[StudyDirection]:
    """Return the direction of each objective: metrics are maximised, costs minimised."""
    return [
        StudyDirection.MINIMIZE if name in COST_METRICS else StudyDirection.MAXIMIZE
        for name in objectives
    ]
