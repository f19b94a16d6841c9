"""The files of a job's folder: their names, and how to read them."""

import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octopi.errors import DataError, SettingError, shorten_list
from octopi.system.files import damaged, differing_values, read_mapping, read_record

OVERRIDES_FILE = "overrides.yaml"  # the command line of a job
CONFIG_FILE = "config.yaml"  # the settings of a training, resolved
OUTPUT_FILE = "output.txt"  # what a training of a sweep printed

BEST_MODEL_FILE = "best_model.pth"
MODEL_CONFIG_FILE = "model_config.yaml"  # its checkpoint info, to be read by people
LAST_CHECKPOINT_FILE = "last.ckpt"  # the state to resume from
DATA_FILE = "data.json"  # the split, and a fingerprint of the data
CANDIDATES_FILE = "candidates.npz"  # of the best model's validation
RESULTS_FILE = "results.json"  # losses and metrics; of a cross-validation, its scores
CURVES_FILE = "curves.png"
OUTCOME_FILE = "outcome.json"  # how a training ended

STUDY_FILE = "study.yaml"  # the settings of a sweep
SEARCH_RESULTS_FILE = "optimization_results.yaml"
PARENT_RUN = "parent_run"  # key in study.yaml: the MLflow run of the sweep

SCORES_FILE = "scores.json"  # of evaluate
COMPARISON_FILE = "comparison.json"  # of compare
COMPARISON_TABLE = "comparison.md"  # the same for people
EXPECTED_FILE = "expected.json"  # of localize: what its picks are worth, without a truth
PICKS_PICTURE, RELIABILITY_PICTURE = "picks.png", "reliability.png"  # of evaluate
TRAINING_OUTPUTS = (CONFIG_FILE, BEST_MODEL_FILE, DATA_FILE)
OTHER_OUTPUTS = (
    *(SCORES_FILE, PICKS_PICTURE, RELIABILITY_PICTURE),
    *(EXPECTED_FILE, COMPARISON_FILE, COMPARISON_TABLE),
)
_ANY_FOLD, ANY_TRIAL = "fold_*", "trial_*"  # patterns of the names below
_ADVICE = f"Start anew, with init_from={BEST_MODEL_FILE} to keep what was learned."


# Settings of where things lie: a project that was moved is compared by its content instead.
PLACES = {
    "project._target_",
    "project.config",
    "data.cache_dir",
    "data.num_workers",
    "logger.save_dir",
}
# Settings that change no result: these, how a training is started, and what it shows.
WITHOUT_EFFECT = PLACES | {"resume", "trust", "dry_run", "trainer.enable_progress_bar"}
LIMITS = {"trainer.max_epochs", "trainer.max_time", "max_cpu_seconds"}  # of a training's length


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
    open_folder: Callable[[], None] = lambda: None


def fold_name(fold: int) -> str:
    """Return the name of a fold's folder."""
    return f"fold_{fold}"


def has_training(folder: Path) -> bool:
    """Return whether a training has begun in a folder, or the first of its folds."""
    return any((folder / name).exists() for name in (LAST_CHECKPOINT_FILE, fold_name(0)))


def check_holds_no_others(folder: Path, names: Sequence[str]) -> None:
    """Refuse files in a job's folder that octopi would replace though it did not write them.

    Raises:
        SettingError: such files, and the folder is not that of a training.
    """
    others = [name for name in names if (folder / name).exists()]
    if others and not _is_of_training(folder):
        raise SettingError(
            f"{folder} has {shorten_list(others)}, which octopi did not write and this command "
            "would replace. Choose another folder with hydra.run.dir=… (model_save_path in Python)."
        )


def _is_of_training(folder: Path) -> bool:
    with contextlib.suppress(SettingError):
        return read_training_config(folder).keys() >= {"project", "data", "model", "trainer"}
    return False


def trial_name(number: int) -> str:
    """Return the name of a trial's folder."""
    return f"trial_{number}"


def fold_folders(folder: Path) -> list[Path]:
    """List the folders of a training's folds, sorted; an empty list where it has none."""
    return sorted(path for path in folder.glob(_ANY_FOLD) if path.is_dir())


def best_trial_folder(sweep: Path) -> Path:
    """Return the folder of a search's best training, which is a folder of the search.

    Raises:
        SettingError: the folder is not that of a search, or no trial is complete.
        DataError: the results of the search are damaged.
    """
    path = sweep / SEARCH_RESULTS_FILE
    if not path.is_file():
        raise SettingError(
            f"{sweep} is not the folder of a search: it has no {SEARCH_RESULTS_FILE}."
        )
    cure = f"Write it anew with: octopi summarize folder={sweep}"
    best = read_mapping(path, cure=cure).get("best")
    if not best:
        raise SettingError(f"The search in {sweep} has no best trial yet: none is complete.")
    name = best.get("folder") if isinstance(best, dict) else None
    if not isinstance(name, str) or name in ("", "..") or Path(name).name != name:
        raise damaged(path, f"its best trial is {name!r}, not a folder beside it", cure=cure)
    return sweep / name


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Args:
        state: "complete", or another word such as "pruned".
        values: of the objectives, by name; None = n/a.
        seconds: that it took.
        steps: of the optimizer; None where it is not recorded.
        cpu_seconds_per_step: without validations; None where it is not recorded.
    """

    state: str
    values: dict[str, float | None]
    seconds: float
    steps: float | None = None
    cpu_seconds_per_step: float | None = None


def read_outcome(folder: Path) -> Outcome | None:
    """Read how the training in a folder ended; return None where it has not ended.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / OUTCOME_FILE
    if not path.exists():
        return None
    cure = "Delete it and start the same command again: the training goes on from its checkpoint."
    return read_record(path, Outcome, cure=cure)


def changed_settings(before: Any, now: Any, *, may_change: Collection[str] = ()) -> list[str]:
    """List the settings, other than those without an effect, in which two trainings differ.

    Args:
        before: settings of one, resolved.
        now: settings of the other.
        may_change: further settings, or groups, that are not compared.
    """
    ignored = WITHOUT_EFFECT | set(may_change)
    differing = differing_values(before, now)
    return [key for key in differing if not {key, key.partition(".")[0]} & ignored]


def read_training_config(folder: Path) -> dict[str, Any]:
    """Read the settings that a training wrote into its folder.

    Raises:
        SettingError: the folder has no settings, or they are damaged.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise SettingError(
            f"There is nothing to resume or repeat in {folder}: it is not the folder of a "
            f"training, or that ended before it began. It has no {CONFIG_FILE}."
        )
    try:
        return read_mapping(path)
    except DataError as error:
        raise SettingError(f"{error} {_ADVICE}") from error
