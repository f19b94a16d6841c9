"""Trainings started by a launcher of Hydra: SLURM's, joblib, ray."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from octopi.config.overrides import override_text
from octopi.errors import exit_code_of
from octopi.processes.tasks import ProcessResult, Runner, RunningTask, TrainingTask
from octopi.system.job_folder import has_training


def slurm_runner(
    parameters: Mapping[str, Any], size: int, module: str, arguments: Sequence[str], **options: Any
) -> Runner:
    """Return what submits trainings to SLURM; see `SlurmRunner`."""
    # submitit is an extra, which only those need who use SLURM
    from octopi.processes.slurm_jobs import SlurmRunner  # noqa: PLC0415

    return SlurmRunner(parameters, size, module, arguments, **options)


@dataclass
class LauncherRunner:
    """Starts each training by a call of the launcher.

    Args:
        launcher: of Hydra, set up.
        size: trainings at once.
    """

    launcher: Any
    size: int

    def start(self, tasks: Sequence[TrainingTask]) -> list[RunningTask]:
        """Start a thread for each, which calls the launcher and waits for the training to end."""
        return [LauncherThread(self.launcher, task) for task in tasks]


class LauncherThread:
    """A thread that waits for one job of a launcher."""

    def __init__(self, launcher: Any, task: TrainingTask) -> None:
        self.result: ProcessResult | None = None
        self.thread = threading.Thread(target=self._launch, args=(launcher, task), daemon=True)
        self.thread.start()

    def _launch(self, launcher: Any, task: TrainingTask) -> None:
        overrides = [*task.overrides, override_text("hydra.sweep.subdir", task.folder.name)]
        if has_training(task.folder):
            overrides += [override_text("resume", task.folder)]
        try:
            (job,) = launcher.launch([overrides], initial_job_idx=task.number)
            _ = job.return_value  # raises what the job raised
            self.result = ProcessResult(0, "")
        except BaseException as error:  # noqa: BLE001  any launcher, or SystemExit of the job
            lines = str(error).strip().splitlines()
            message = lines[0] if lines else type(error).__name__
            self.result = ProcessResult(exit_code_of(error), message)

    def poll(self) -> ProcessResult | None:
        """Return how it ended; None while it runs."""
        return self.result

    def send(self, number: int) -> None:
        """Wait no longer: the job is the launcher's, goes on, and is found finished later."""
        self.result = ProcessResult(128 + number, "")
