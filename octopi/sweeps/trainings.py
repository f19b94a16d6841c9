"""The trainings of a sweep: each run by one worker, in a folder of its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from octopi.config.overrides import replace_overrides
from octopi.processes.tasks import ProcessResult, TrainingTask
from octopi.sweeps.tracking import child_run_overrides
from octopi.system import locks
from octopi.system.job_folder import OUTCOME_FILE

CLAIMS = ".claims"  # folder of the locks, one for each training


def claim_training(
    folder: Path,
    number: int,
    overrides: Sequence[str],
    *,
    tracker: Mapping[str, Any],
    fold: object = None,
) -> TrainingTask | None:
    """Lock a training of a sweep; return its task, or None where another process works on it.

    Args:
        folder: of the training, in that of the sweep.
        number: of the training.
        overrides: of the training.
        tracker: the resolved `logger`.
        fold: of a cross-validation, if it trains one.
    """
    if is_claimed(folder, number):
        return None
    lock = locks.try_lock(_lock_path(folder, number))
    if lock is None:
        return None
    child_run = child_run_overrides(folder, number, tracker=tracker, fold=fold)
    overrides = replace_overrides(overrides, "trainer.enable_progress_bar=false", *child_run)
    return TrainingTask(number, folder, overrides, lock)


def is_claimed(folder: Path, number: int) -> bool:
    """Return whether a process works on a training of a sweep."""
    # One that was started on another machine holds the lock of its folder only.
    return locks.is_locked(_lock_path(folder, number)) or locks.is_locked(folder / ".lock")


def _lock_path(folder: Path, number: int) -> Path:
    return folder.parent / CLAIMS / str(number)


def failure_reason(task: TrainingTask, result: ProcessResult) -> str | None:
    """Return why a training failed; None if it left its outcome."""
    if result.code:
        return result.reason
    return None if task.outcome() else f"it left no {OUTCOME_FILE}"
