"""The study behind a search: a journal that survives anything, and who works on which trial."""

import json
import logging
import os
import shutil
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.storages.journal._file import get_lock_file

from octopi.errors import SettingError
from octopi.models.properties import COST_METRICS
from octopi.system.files import differing_keys, read_yaml, to_builtin_types, write_yaml
from octopi.system.job_folder import STUDY_FILE

logger = logging.getLogger(__name__)

JOURNAL = "journal.log"

warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
optuna.logging.set_verbosity(optuna.logging.WARNING)


class Journal(JournalFileBackend):
    """Optuna's journal, whose lines stay whole though a writer be killed in the middle of one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lock = JournalFileSymlinkLock(str(path))
        super().__init__(str(path), lock_obj=lock)
        with get_lock_file(lock):
            repair(path)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """The logs are on disk, after whatever a killed writer left has been cut off."""
        with get_lock_file(self._lock):
            cut_torn_line(self.path)
            lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
            with self.path.open("ab") as file:
                file.write(lines.encode())
                file.flush()
                os.fsync(file.fileno())


def cut_torn_line(path: Path) -> None:
    """The file ends with a whole line; what was cut off is in a backup beside it."""
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
    """Every line of the journal can be read; a journal that had to be mended has a backup."""
    cut_torn_line(path)
    lines = path.read_bytes().splitlines(keepends=True)
    whole = [line for line in lines if _is_json(line)]
    if len(whole) < len(lines):
        back_up(path)
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(b"".join(whole))
        part.replace(path)


def back_up(path: Path) -> None:
    """A copy of the journal is beside it."""
    copy = path.with_name(f"{path.name}.backup-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
    shutil.copy2(path, copy)
    logger.warning("A line of %s was torn: it is mended, the old file is %s.", path, copy.name)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def storage_of(folder: Path, url: str | None) -> BaseStorage:
    """Where the study is kept: a journal in the folder, or a database."""
    if url is None:
        return JournalStorage(Journal(folder / JOURNAL))
    if url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
        url = "sqlite:///" + str(Path(url.removeprefix("sqlite:///")).absolute())
    try:
        return RDBStorage(url)
    except (ImportError, ValueError) as error:
        raise SettingError(f"hydra.sweeper.storage: {error}") from error
    except Exception as error:
        if type(error).__module__.startswith("sqlalchemy"):
            text = str(error).splitlines()[0]
            raise SettingError(f"hydra.sweeper.storage cannot be reached: {text}") from error
        raise


def directions(objectives: list[str]) -> list[str]:
    """Metrics grow, costs shrink."""
    return ["minimize" if name in COST_METRICS else "maximize" for name in objectives]


def write_sweep_file(folder: Path, sweep_settings: Mapping[str, Any]) -> dict[str, Any]:
    """`study.yaml` holds the facts of a sweep; one that began otherwise is a SettingError."""
    path = folder / STUDY_FILE
    now = to_builtin_types(sweep_settings)
    if not path.exists():
        write_yaml(path, now)
        path.chmod(0o600)  # a database's URL may hold a password
        return now
    check_same_sweep(folder, now)
    return read_yaml(path)


def check_same_sweep(folder: Path, facts: Mapping[str, Any]) -> None:
    """Raise SettingError if the folder holds a sweep that began otherwise."""
    path, now = folder / STUDY_FILE, to_builtin_types(facts)
    before = read_yaml(path) if path.exists() else now
    changed = differing_keys({k: before.get(k) for k in now}, now)
    if changed:
        raise SettingError(
            f"{folder} holds a sweep that began otherwise; what differs: {', '.join(changed)}. "
            "Start this one in another folder with hydra.sweep.dir=…"
        )


def is_search(folder: Path) -> bool:
    """Whether the folder is a search's, and not one of plain trainings."""
    path = folder / STUDY_FILE
    return path.is_file() and "study_name" in read_yaml(path)


def open_study(folder: Path) -> optuna.Study:
    """The study of a search folder."""
    path = folder / STUDY_FILE
    facts = read_yaml(path) if path.is_file() else {}
    if "study_name" not in facts:
        raise SettingError(
            f"{folder} is not the folder of a search: it has no {STUDY_FILE} of one."
        )
    storage = storage_of(folder, facts["storage"])
    sampler = optuna.samplers.RandomSampler()
    try:
        return optuna.load_study(study_name=facts["study_name"], storage=storage, sampler=sampler)
    except KeyError:
        return optuna.create_study(
            study_name=facts["study_name"],
            storage=storage,
            directions=facts["directions"],
            sampler=sampler,
            load_if_exists=True,
        )
