"""Track a sweep in MLflow: one run for the sweep, the parent of those of its trainings."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from octopi.config.overrides import override_text
from octopi.config.settings import TrainSettings
from octopi.processes.tasks import ProcessResult, TrainingTask
from octopi.sweeps.sweep_file import read_sweep_file, shared_settings, write_private_yaml
from octopi.system import locks
from octopi.system.job_folder import PARENT_RUN, STUDY_FILE
from octopi.tracking.mlflow import (
    child_run_settings,
    close_child_run,
    end_sweep_run,
    ended_run,
    is_mlflow,
    list_artifacts,
    start_sweep_run,
)


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
        run_id = start_sweep_run(
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
        artifacts = [path for path in list_artifacts(folder) if path.name != STUDY_FILE]
        end_sweep_run(settings.logger, run_id, status=status, metrics=metrics, artifacts=artifacts)

    with ended_run(end):
        yield metrics


def child_run_overrides(
    folder: Path, number: int, *, tracker: Mapping[str, Any], fold: object = None
) -> list[str]:
    """Return the overrides that make a training's MLflow run a child of its sweep's.

    Args:
        folder: of the training, in that of the sweep.
        number: of the training.
        tracker: the resolved `logger`.
        fold: of a cross-validation, if it trains one.
    """
    if not tracker or not is_mlflow(tracker):
        return []
    parent = read_sweep_file(folder.parent).get(PARENT_RUN)
    tags = {"trial": number} | ({} if fold is None else {"fold": fold})
    child = child_run_settings(tracker, parent, name=folder.name, tags=tags)
    return [override_text(f"++logger.{key}", child[key]) for key in ("run_name", "tags")]


def close_killed_run(tracker: Mapping[str, Any], task: TrainingTask, result: ProcessResult) -> None:
    """End the MLflow run of a training that a signal killed, which could not do so itself."""
    if result.code < 0:
        tags = {"state": "failed", "reason": result.reason}
        close_child_run(tracker, task.folder, status="KILLED", tags=tags)
