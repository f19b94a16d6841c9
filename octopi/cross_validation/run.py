"""All folds of a training in one job: an ensemble whose thresholds nobody trained on.

Each fold trains without its part of the runs, in a process of its own, and says what it would
pick there. All those picks together, none of them seen in training, decide the thresholds; the
checkpoint holds the nets of all folds as one.
"""

import dataclasses
import logging
import math
from collections.abc import Sequence

from tqdm import tqdm

from octopi.cli.compose import config_search_arguments
from octopi.config.overrides import override_text, shell_override
from octopi.config.settings import TrainSettings
from octopi.cross_validation.ensemble import build_ensemble, summarize
from octopi.processes.trainings import (
    Processes,
    ProcessResult,
    Task,
    TrainingsError,
    check_one_device,
    process_environments,
    run_tasks,
)
from octopi.system.files import read_json
from octopi.system.job_folder import OUTPUT_FILE, RESULTS_FILE, fold_name
from octopi.training.folder import TrainingFolder
from octopi.training.run import build_training

logger = logging.getLogger(__name__)

OVERRIDES_SET_PER_FOLD = ("resume=", "fold=", "trainer.max_time=", "trainer.enable_progress_bar=")


@dataclasses.dataclass
class FoldQueue:
    """A source of trainings: the folds that have not finished."""

    tasks: list[Task]
    failed: dict[int, ProcessResult] = dataclasses.field(default_factory=dict)

    def next(self) -> Task | None:
        """The next fold."""
        return self.tasks.pop(0) if self.tasks else None

    def record_result(self, task: Task, ended: ProcessResult) -> None:
        """A failure is remembered."""
        if ended.code:
            self.failed[task.number] = ended


def train_folds(
    settings: TrainSettings, training: TrainingFolder, words: Sequence[str], *, module: str
) -> dict[str, float | None]:
    """Train all folds and write their ensemble into the folder; return its metrics out of fold.

    Args:
        settings: of the whole training; `num_folds` is set and `fold` is not.
        training: the folder of the job; each fold has a folder of its own in it.
        words: the command line, which each fold repeats with its own `fold`.
        module: that `python -m` runs for a fold.
    """
    assert settings.num_folds is not None
    folder = training.path
    check_one_device(settings)
    costs = build_training(settings, folder).costs(settings)  # what is wrong is found before all
    training.write_config(settings)
    folders = [folder / fold_name(fold) for fold in range(settings.num_folds)]
    slots = process_environments(settings, None, settings.num_folds)
    limit = time_limit(settings, len(slots))
    tasks = [Task(i, path, fold_words(words, i, limit)) for i, path in enumerate(folders)]
    source = FoldQueue([task for task in tasks if not task.outcome()])
    again = f"octopi train {shell_override('resume', folder)}"
    with tqdm(total=len(tasks), initial=len(tasks) - len(source.tasks), unit="fold") as bar:
        run_tasks(
            source, Processes(slots, module, config_search_arguments()), bar, resume_command=again
        )
    if source.failed:
        fold, ended = next(iter(source.failed.items()))
        raise TrainingsError(
            f"{len(source.failed)} folds did not finish. Fold {fold} said: {ended.reason} "
            f"(see {folders[fold] / OUTPUT_FILE}).\nRun what is missing with: {again}",
            ended.code if ended.code > 0 else 1,
        )
    build_ensemble(folder, folders)
    logger.info("%s\n%s", folder, summarize(folder))
    return {**read_json(folder / RESULTS_FILE)["out_of_fold"], **costs}


def time_limit(settings: TrainSettings, num_slots: int) -> str | None:
    """Each fold's part of `trainer.max_time`, as Lightning writes it."""
    max_time = settings.trainer["max_time"]
    if max_time is None:
        return None
    days, hours, minutes, seconds = (int(part) for part in str(max_time).split(":"))
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    num_batches = math.ceil((settings.num_folds or 1) / num_slots)
    minutes, seconds = divmod(int(total / num_batches), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours // 24:02}:{hours % 24:02}:{minutes:02}:{seconds:02}"


def fold_words(words: Sequence[str], fold: int, limit: str | None) -> list[str]:
    """The command line of one fold."""
    fold_overrides = [f"fold={fold}", "trainer.enable_progress_bar=false"]
    if limit is not None:
        fold_overrides.append(override_text("trainer.max_time", limit))
    return [
        *(word for word in words if not word.startswith(OVERRIDES_SET_PER_FOLD)),
        *fold_overrides,
    ]
