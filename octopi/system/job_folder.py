"""The files of a job's folder: their names, and how to read them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from octopi.errors import SettingError

CONFIG = "config.yaml"  # the settings of a training, resolved, in its folder


RESULTS = "optimization_results.yaml"


def best_trial_folder(sweep: Path) -> Path:
    """Return the folder of a search's best training."""
    path = sweep / RESULTS
    if not path.is_file():
        raise SettingError(f"{sweep} is not the folder of a search: it has no {RESULTS}.")
    try:
        best = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("best")
        name = best and best["folder"]
    except (yaml.YAMLError, ValueError, AttributeError, TypeError, KeyError) as error:
        raise SettingError(f"{path} is damaged: it does not name a best trial.") from error
    if not best:
        raise SettingError(f"The search in {sweep} has no best trial yet: none is complete.")
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise SettingError(
            f"{path} is damaged: its best trial is {name!r}, not a folder beside it."
        )
    return sweep / name


def read_training_config(folder: Path) -> dict[str, Any]:
    """Read the settings that a training wrote into its folder."""
    path = folder / CONFIG
    if not path.is_file():
        raise SettingError(
            f"There is nothing to resume or repeat in {folder}: it is not the folder of a "
            f"training, or that ended before it began. It has no {CONFIG}."
        )
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} is damaged: {str(error).splitlines()[0]}. {_CURE}") from error
    if not isinstance(config, dict):
        raise SettingError(f"{path} is damaged: it holds no settings. {_CURE}")
    return config


_CURE = "Start anew, with init_from=best_model.pth to keep what was learned."


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Job:
    """Where a command works.

    Args:
        folder: its own, for config, log and results.
        overrides: the overrides of the command line, without Hydra's own.
        open_folder: makes the folder and writes overrides and log there. Until it is called
            nothing is written: the folder may be another job's.
    """

    folder: Path
    overrides: list[str]
    open_folder: Callable[[], None] = _nothing


STUDY = "study.yaml"


PARENT_RUN = "parent_run"  # of MLflow, told in study.yaml
