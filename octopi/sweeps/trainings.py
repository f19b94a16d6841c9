"""The trainings of a sweep: each run by one worker, in a folder of its own.

In MLflow the sweep is one run, the parent of those of its trainings.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from octopi.config.overrides import override_texts, replace_overrides
from octopi.config.settings import TrainSettings
from octopi.processes.tasks import ProcessResult, TrainingTask
from octopi.sweeps.sweep_file import read_sweep_file, shared_settings, write_private_yaml
from octopi.system import locks
from octopi.system.job_folder import OUTCOME_FILE, PARENT_RUN, STUDY_FILE
from octopi.tracking import mlflow

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
    of_sweep = ["trainer.enable_progress_bar=false"]
    if mlflow.is_mlflow(tracker):
        parent = read_sweep_file(folder.parent).get(PARENT_RUN)
        tags = {"trial": number} | ({} if fold is None else {"fold": fold})
        of_trial = mlflow.child_run_settings(tracker, parent, name=folder.name, tags=tags)
        of_sweep += override_texts({f"++logger.{key}": value for key, value in of_trial.items()})
    return TrainingTask(number, folder, replace_overrides(overrides, *of_sweep), lock)


def is_claimed(folder: Path, number: int) -> bool:
    """Return whether a process works on a training of a sweep."""
    # One that was started on another machine holds the lock of its folder only.
    return locks.is_locked(_lock_path(folder, number)) or locks.is_locked(folder / ".lock")


def _lock_path(folder: Path, number: int) -> Path:
    return folder.parent / CLAIMS / str(number)


def find_failure(
    task: TrainingTask, result: ProcessResult, tracker: Mapping[str, Any]
) -> ProcessResult | None:
    """Return how a training failed; None if it left its outcome.

    The MLflow run of one that a signal killed is ended, which it could not do itself.
    """
    if result.code < 0:
        tags = {"state": "failed", "reason": result.reason}
        mlflow.close_child_run(tracker, task.folder, status="KILLED", tags=tags)
    if result.code:
        return result
    return None if task.outcome() else ProcessResult(result.code, f"it left no {OUTCOME_FILE}")


@contextlib.contextmanager
def tracked_sweep(folder: Path, settings: TrainSettings) -> Iterator[dict[str, float | None]]:
    """Track a sweep as the parent run of its trainings; yield its metrics, to be filled in.

    Args:
        folder: of the sweep; its `study.yaml` remembers the run.
        settings: that its trainings share.
    """
    path = folder / STUDY_FILE
    with locks.wait_for_lock(folder / ".lock"):
        content = read_sweep_file(folder)
        run_id = mlflow.start_sweep_run(
            settings.logger,
            folder.name,
            params=shared_settings(settings),
            tags={"sweep": str(folder)},
            run_id=content.get(PARENT_RUN),
        )
        if run_id and run_id != content.get(PARENT_RUN):
            write_private_yaml(path, {**content, PARENT_RUN: run_id})
    metrics: dict[str, float | None] = {}

    def end(status: str) -> None:
        artifacts = [path for path in mlflow.list_artifacts(folder) if path.name != STUDY_FILE]
        mlflow.end_sweep_run(
            settings.logger, run_id, status=status, metrics=metrics, artifacts=artifacts
        )

    with mlflow.ended_run(end):
        yield metrics
