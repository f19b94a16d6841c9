"""Trainings named on the command line one by one: folds, seeds, networks to compare."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from octopi.config.settings import TrainSettings
from octopi.processes.tasks import ProcessResult, TaskQueue, TrainingTask
from octopi.sweeps.trainings import claim_training, find_failure
from octopi.system.job_folder import read_outcome

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Combination:
    """One combination of the values that are swept.

    Args:
        swept: setting -> its value here.
        overrides: the whole command line.
    """

    swept: Mapping[str, str]
    overrides: list[str]

    @property
    def folder_name(self) -> str:
        """`fold_0`, or `model_unet,fold_0`."""
        parts = [f"{key.split('.')[-1]}_{value}" for key, value in self.swept.items()]
        return re.sub(r"[^A-Za-z0-9_.,+-]+", "-", ",".join(parts)).strip("-.") or "job_0"

    def cross_validation_key(self) -> tuple[tuple[str, str], ...]:
        """Return the settings that it shares with the other folds of its cross-validation."""
        return tuple((key, value) for key, value in self.swept.items() if key != "fold")


def list_combinations(arguments: list[str]) -> list[Combination]:
    """List every combination of the swept values, the first setting varying slowest."""
    parsed = OverridesParser.create().parse_overrides(arguments)
    swept = [override.get_key_element() for override in parsed if override.is_sweep_override()]
    (command_lines,) = BasicSweeper.split_arguments(parsed, None)
    combinations = []
    for overrides in command_lines:
        values = dict(override.split("=", 1) for override in overrides)
        combinations.append(Combination({key: values[key] for key in swept}, overrides))
    return combinations


@dataclass
class GridQueue(TaskQueue):
    """The trainings of a grid that are not finished and that no process works on.

    Args:
        folder: of the sweep.
        combinations: one for each training.
        settings: that all trainings share.
    """

    folder: Path
    combinations: Sequence[Combination]
    settings: TrainSettings

    def next(self) -> TrainingTask | None:
        """Claim the first training that is missing; return None if there is none."""
        for number in self.missing():
            if number in self.failed or number in self.interrupted:
                continue
            combination = self.combinations[number]
            task = claim_training(
                self.training_folder(number),
                number,
                combination.overrides,
                tracker=self.settings.logger,
                fold=combination.swept.get("fold", self.settings.fold),
            )
            if task and task.outcome():  # another worker has finished it just before
                task.release()
            elif task:
                return task
        return None

    def record_result(self, task: TrainingTask, result: ProcessResult) -> None:
        """Remember a failure; a success has left its outcome.json."""
        if failure := find_failure(task, result, self.settings.logger):
            self.failed[task.number] = failure
            logger.warning("%s failed: %s", task.folder.name, failure.reason)

    def num_elsewhere(self) -> int:
        """Count the trainings that other workers have taken."""
        return len(set(self.missing()) - self.failed.keys() - self.interrupted.keys())

    def training_folder(self, number: int) -> Path:
        """Return the folder of a training."""
        return self.folder / self.combinations[number].folder_name

    def missing(self) -> list[int]:
        """List the numbers of the trainings that are not finished."""
        numbers = range(len(self.combinations))
        return [number for number in numbers if not read_outcome(self.training_folder(number))]
