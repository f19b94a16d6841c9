"""Trainings named on the command line one by one: folds, seeds, networks to compare."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from octopi.processes.trainings import ProcessResult, Task, trial_overrides
from octopi.system import locks
from octopi.system.job_folder import OUTCOME_FILE
from octopi.tracking.mlflow import close_child_run

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Combination:
    """One combination of the values that are swept.

    Args:
        swept: setting -> its value here.
        words: the whole command line.
    """

    swept: Mapping[str, str]
    words: list[str]

    @property
    def folder_name(self) -> str:
        """`fold_0`, or `model_unet,fold_0`."""
        parts = [f"{key.split('.')[-1]}_{value}" for key, value in self.swept.items()]
        return re.sub(r"[^A-Za-z0-9_.,+-]+", "-", ",".join(parts)).strip("-.") or "job_0"

    def cross_validation_key(self) -> tuple[tuple[str, str], ...]:
        """What it shares with the other folds of its cross-validation."""
        return tuple((key, value) for key, value in self.swept.items() if key != "fold")


@dataclass
class TrainingGrid:
    """A source of trainings: every point that is not finished and that nobody works on."""

    folder: Path
    points: Sequence[Combination]
    tracker: Mapping[str, Any]
    fold: int | None = None
    failed: dict[int, str] = field(default_factory=dict)

    def task(self, number: int) -> Task:
        """The training of a point."""
        point = self.points[number]
        folder, fold = self.folder / point.folder_name, point.swept.get("fold", self.fold)
        own = trial_overrides(folder, number, tracker=self.tracker, fold=fold)
        return Task(number, folder, [*point.words, *own])

    def next(self) -> Task | None:
        """The first training that is missing, claimed."""
        for number in range(len(self.points)):
            task = self.task(number)
            if number in self.failed or task.outcome():
                continue
            lock = locks.try_lock(self.folder / ".claims" / str(number))
            if lock and not task.outcome() and not locks.is_locked(task.folder / ".lock"):
                return Task(number, task.folder, task.words, lock)
        return None

    def record_result(self, task: Task, ended: ProcessResult) -> None:
        """A failure is remembered; a success has left its outcome.json."""
        if ended.code < 0:
            tags = {"state": "failed", "reason": ended.reason}
            close_child_run(self.tracker, task.folder, status="KILLED", tags=tags)
        if ended.code or not task.outcome():
            self.failed[task.number] = ended.reason if ended.code else f"it left no {OUTCOME_FILE}"
            logger.warning("%s failed: %s", task.folder.name, self.failed[task.number])

    def missing(self) -> list[int]:
        """The points that are not finished."""
        return [n for n in range(len(self.points)) if not self.task(n).outcome()]
