"""Train all folds of a training in one job and combine them into one ensemble.

Each fold trains in a process of its own, without its part of the runs, and writes the candidates
that its best model finds there. Together they decide the thresholds of the ensemble.
"""

import logging
import math
from collections.abc import Sequence

from octopi.cli.compose import config_search_arguments
from octopi.config.overrides import override_key, override_text, shell_override
from octopi.config.settings import TrainSettings
from octopi.cross_validation.ensemble import build_ensemble
from octopi.cross_validation.table import summarize_folds
from octopi.processes.local import LocalRunner, slot_environments
from octopi.processes.tasks import TrainingTask, UnfinishedError, run_unfinished
from octopi.system.files import read_json
from octopi.system.job_folder import OUTPUT_FILE, RESULTS_FILE, fold_name
from octopi.system.resources import format_time_limit, parse_duration
from octopi.training.folder import TrainingFolder
from octopi.training.run import build_training

logger = logging.getLogger(__name__)

KEYS_SET_PER_FOLD = {
    "resume",
    "fold",
    "data.fold",  # which follows it
    "trainer.max_time",
    "max_cpu_seconds",
    "trainer.enable_progress_bar",
}


def train_folds(
    settings: TrainSettings, job_folder: TrainingFolder, overrides: Sequence[str], *, module: str
) -> dict[str, float | None]:
    """Train all folds and write their ensemble into the folder; return its metrics out of fold.

    Args:
        settings: of the whole training; `num_folds` is set and `fold` is not.
        job_folder: each fold has a folder of its own in it.
        overrides: of the command line, which each fold repeats with its own `fold`.
        module: that `python -m` runs for a fold.
    """
    assert settings.num_folds is not None
    folder = job_folder.path
    costs = build_training(settings, folder).costs(settings)  # finds errors before the first fold
    job_folder.write_config(settings)
    environments = slot_environments(settings, None, settings.num_folds)
    limits = fold_limits(settings, len(environments))
    tasks = [
        TrainingTask(fold, folder / fold_name(fold), fold_overrides(overrides, fold, limits))
        for fold in range(settings.num_folds)
    ]
    resume_command = f"octopi train {shell_override('resume', folder)}"
    failed = run_unfinished(
        tasks,
        LocalRunner(environments, module, config_search_arguments()),
        desc="folds",
        unit="fold",
        resume_command=resume_command,
    )
    if failed:
        fold, result = next(iter(failed.items()))
        raise UnfinishedError(
            f"{len(failed)} folds did not finish. Fold {fold}: {result.reason} "
            f"(see {tasks[fold].folder / OUTPUT_FILE}).\n"
            f"Run what is missing with: {resume_command}",
            result,
        )
    build_ensemble(folder, [task.folder for task in tasks], settings)
    logger.info("%s\n%s", folder, summarize_folds(folder))
    return {**read_json(folder / RESULTS_FILE)["out_of_fold"], **costs}


def fold_limits(settings: TrainSettings, num_slots: int) -> list[str]:
    """Return the overrides that give each fold its share of the time and the CPU-seconds.

    Args:
        settings: of the whole training.
        num_slots: folds that train at once, which share the CPU-seconds but not the time.
    """
    limits, num_folds = [], settings.num_folds or 1
    if (max_time := settings.trainer["max_time"]) is not None:
        seconds = parse_duration(str(max_time)) // math.ceil(num_folds / num_slots)
        limits.append(override_text("trainer.max_time", format_time_limit(seconds)))
    if settings.max_cpu_seconds is not None:
        limits.append(override_text("max_cpu_seconds", settings.max_cpu_seconds / num_folds))
    return limits


def fold_overrides(overrides: Sequence[str], fold: int, limits: Sequence[str]) -> list[str]:
    """Return the overrides of one fold.

    Args:
        overrides: of the whole training.
        fold: its number.
        limits: from `fold_limits`.
    """
    shared = [o for o in overrides if override_key(o) not in KEYS_SET_PER_FOLD]
    return [*shared, f"fold={fold}", "trainer.enable_progress_bar=false", *limits]
