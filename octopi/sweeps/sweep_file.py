"""The file `study.yaml` of a sweep: the settings that it began with, for all its workers."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from octopi.config.settings import TrainSettings
from octopi.errors import SettingError, shorten_list
from octopi.system.files import (
    differing_values,
    read_mapping,
    read_record,
    to_builtin_types,
    write_yaml,
)
from octopi.system.job_folder import STUDY_FILE, WITHOUT_EFFECT

CURE = "Start the sweep in another folder with hydra.sweep.dir=…; this one keeps its trainings."


@dataclasses.dataclass(frozen=True)
class SearchInfo:
    """The study of a search.

    Args:
        study_name: in its storage.
        storage: URL of a database; None = a journal in the folder.
        objectives: names of the metrics and costs that it optimises.
    """

    study_name: str
    storage: str | None
    objectives: list[str]


def shared_settings(settings: TrainSettings) -> dict[str, Any]:
    """Return the settings that every training of a sweep has, however often it is started."""
    shared = to_builtin_types(dataclasses.asdict(settings))
    return {key: value for key, value in shared.items() if key not in {*WITHOUT_EFFECT, "logger"}}


def write_sweep_file(folder: Path, sweep_settings: Mapping[str, Any]) -> None:
    """Write the settings of a sweep, unless it has begun already.

    Raises:
        SettingError: the folder holds a sweep that began with other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / STUDY_FILE).exists():
        check_same_sweep(folder, sweep_settings)
    else:
        write_private_yaml(folder / STUDY_FILE, sweep_settings)


def write_private_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """Write YAML that its owner alone may read: a database's URL may hold a password."""
    write_yaml(path, content)
    path.chmod(0o600)


def check_same_sweep(folder: Path, sweep_settings: Mapping[str, Any]) -> None:
    """Raise SettingError if the folder holds a sweep that began with other settings."""
    now = to_builtin_types(sweep_settings)
    before = read_sweep_file(folder) or now
    differing = differing_values({key: before.get(key) for key in now}, now)
    changed = [key for key in differing if key.removeprefix("settings.") not in WITHOUT_EFFECT]
    if changed:
        raise SettingError(
            f"{folder} holds a sweep that began otherwise; what differs: {shorten_list(changed)}. "
            "Undo that and start the same command again, or start another sweep with "
            "hydra.sweep.dir=…"
        )


def read_sweep_file(folder: Path) -> dict[str, Any]:
    """Read the settings of a sweep; return an empty mapping where the folder holds none."""
    path = folder / STUDY_FILE
    return read_mapping(path, cure=CURE) if path.is_file() else {}


def is_search(folder: Path) -> bool:
    """Return whether the folder is a search's, not one of a grid of trainings."""
    return "study_name" in read_sweep_file(folder)


def read_search_info(folder: Path) -> SearchInfo:
    """Read what `study.yaml` says of a search's study.

    Raises:
        SettingError: the folder is not a search's.
        DataError: the file is damaged.
    """
    if not is_search(folder):
        raise SettingError(
            f"{folder} is not the folder of a search: it has no {STUDY_FILE} of one."
        )
    return read_record(folder / STUDY_FILE, SearchInfo, cure=CURE)
