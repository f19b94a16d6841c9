"""The study of a search, in a journal or in a database.

The journal is a file of JSON lines that survives killed writers; a database is waited for while its
server restarts.
"""

import functools
import json
import logging
import os
import shlex
import shutil
import sqlite3
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.storages.journal._file import get_lock_file
from optuna.study import StudyDirection

from octopi.config.overrides import shell_override
from octopi.errors import SettingError, is_database_error, shorten
from octopi.models.properties import COST_METRICS
from octopi.sweeps.sweep_file import CURE, read_search_info
from octopi.system.databases import (
    INSTALL_DRIVER,
    check_database_url,
    check_sqlite,
    find_other_schema,
)
from octopi.system.files import absolute_sqlite_url, damaged, sqlite_path, staged
from octopi.system.job_folder import STUDY_FILE
from octopi.system.passwords import mask_passwords

logger = logging.getLogger(__name__)

warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
optuna.logging.set_verbosity(optuna.logging.WARNING)

JOURNAL = "journal.log"
SQLITE_WAIT = 30.0  # seconds that a locked SQLite file is waited for; SQLite's own 5 are too few
PATIENCE = 600.0  # seconds that a sweep waits for its database
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0  # seconds before another try; doubled each time
CONNECT_TIMEOUT = 10  # seconds
# What Optuna's cache and `Study` call, which stand before this storage.
RETRIED_METHODS = (
    *("create_new_study", "delete_study", "set_study_user_attr", "set_study_system_attr"),
    *("get_study_id_from_name", "get_study_name_from_id", "get_study_directions"),
    *("get_study_user_attrs", "get_study_system_attrs", "get_all_studies", "get_trial"),
    *("_create_new_trial", "_get_trials", "_get_best_trial_id", "_set_trial_param"),
    *("get_trial_id_from_study_id_trial_number", "set_trial_state_values"),
    *("set_trial_intermediate_value", "set_trial_user_attr", "set_trial_system_attr"),
)


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
            f"hydra.sweeper.storage: {error.__cause__ or error}. {INSTALL_DRIVER}"
        ) from error
    except (ValueError, RuntimeError) as error:  # RuntimeError: the tables are of another Optuna
        raise SettingError(f"hydra.sweeper.storage: {error}") from error
    except Exception as error:  # importing sqlalchemy to name its errors takes long
        text = str(error).partition("\n")[0]
        if is_database_error(error) and "locked" not in text:
            raise SettingError(f"hydra.sweeper.storage cannot be reached: {text}") from error
        raise


def check_storage_url(url: str | None) -> None:
    """Raise SettingError for what names no database; write nothing, ask no server."""
    if url is None:
        return
    check_database_url("hydra.sweeper.storage", url)
    if path := sqlite_path(url):
        try:
            check_sqlite(path)
        except sqlite3.DatabaseError as error:
            raise SettingError(
                f"hydra.sweeper.storage={shorten(url, 200)}: {error}. Move the file away, or name "
                "another."
            ) from error
        if schema := find_other_schema(path, "optuna", "storages/_rdb/alembic/versions"):
            revision, is_older = schema
            upgrade = f"run: optuna storage upgrade --storage {shlex.quote(f'sqlite:///{path}')}"
            raise SettingError(
                f"hydra.sweeper.storage={shorten(url, 160)} has the schema {shorten(revision)}, "
                f"which is not that of the installed Optuna. Name another file, or "
                f"{upgrade if is_older else 'install the Optuna that wrote it'}."
            )


def optimisation_directions(objectives: list[str]) -> list[StudyDirection]:
    """Return the direction of each objective: metrics are maximised, costs minimised."""
    return [
        StudyDirection.MINIMIZE if name in COST_METRICS else StudyDirection.MAXIMIZE
        for name in objectives
    ]


class PatientDatabase(RDBStorage):
    """Optuna's storage in a server, which tries again while that cannot be reached.

    Args:
        url: of the database.
        patience: seconds after which it gives up.
    """

    def __init__(self, url: str, patience: float) -> None:
        self.patience = patience
        is_postgres = url.startswith("postgresql")
        connect = {"connect_timeout": CONNECT_TIMEOUT} if is_postgres else {}
        # a connection that the server has closed is replaced before it is used
        super().__init__(url, engine_kwargs={"pool_pre_ping": True, "connect_args": connect})


def wait_for_database(call: Callable[[], Any], patience: float) -> Any:
    """Return what a call returns, after several tries if the database cannot be reached.

    Args:
        call: needs the database.
        patience: seconds after which to give up.
    """
    start, wait, is_again = time.monotonic(), FIRST_WAIT, False
    while True:
        try:
            value = call()
        except optuna.exceptions.UpdateFinishedTrialError:
            if not is_again:
                raise
            return True  # the try before had succeeded, and only its answer was lost
        except Exception as error:
            if not is_outage(error) or time.monotonic() - start >= patience:
                raise
            if not is_again:
                reason = describe_failure(error)
                logger.warning("The database of the search does not answer: %s", reason)
            is_again = True
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)
        else:
            if is_again:
                logger.info("The database of the search answers again.")
            return value


def is_outage(error: BaseException) -> bool:
    """Return whether a database failed, also while it was being opened."""
    cause = error.__cause__
    return is_database_error(error) or (cause is not None and is_database_error(cause))


def describe_failure(error: Exception) -> str:
    """Say in a line, without passwords, why a database failed."""
    return mask_passwords(str(error.__cause__ or error).partition("\n")[0])


def _make_patient(name: str) -> Callable[..., Any]:
    method = getattr(RDBStorage, name)

    @functools.wraps(method)
    def call(self: PatientDatabase, *args: Any, **kwargs: Any) -> Any:
        return wait_for_database(functools.partial(method, self, *args, **kwargs), self.patience)

    return call


for _name in RETRIED_METHODS:
    setattr(PatientDatabase, _name, _make_patient(_name))


class Journal(JournalFileBackend):
    """Optuna's journal, except that a line torn by a killed writer is cut off before the next.

    Optuna itself appends after a torn line, and can read no line from there on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        lock = JournalFileSymlinkLock(str(path))
        super().__init__(str(path), lock_obj=lock)
        with get_lock_file(lock):
            repair(path)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append logs and wait until they are on the disk."""
        with get_lock_file(self._lock):
            cut_torn_line(self.path)
            lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
            with self.path.open("ab") as file:
                file.write(lines.encode())
                file.flush()
                os.fsync(file.fileno())


def cut_torn_line(path: Path) -> None:
    """Cut off a last line that has no end, after a backup of the file."""
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return
        back_up(path)
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def repair(path: Path) -> None:
    """Remove every line that is not JSON, after a backup of the file."""
    cut_torn_line(path)
    lines = path.read_bytes().splitlines(keepends=True)
    readable = [line for line in lines if _is_json(line)]
    if len(readable) < len(lines):
        back_up(path)
        with staged(path) as stage:
            stage.write_bytes(b"".join(readable))


def back_up(path: Path) -> None:
    """Copy the journal to a file beside it, and log a warning."""
    copy = path.with_name(f"{path.name}.backup-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
    shutil.copy2(path, copy)
    logger.warning("A line of %s was torn: it is mended, the old file is %s.", path, copy.name)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
