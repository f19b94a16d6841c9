"""Trainings as processes of this machine, each with its GPU or its share of the cores."""

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from octopi.config.overrides import override_text
from octopi.config.settings import TrainSettings
from octopi.models.devices import choose_device_type
from octopi.processes.tasks import ProcessResult, RunningTask, TrainingTask
from octopi.system import ranks, resources
from octopi.system.job_folder import OUTPUT_FILE, has_training
from octopi.system.worker_pool import signal_when_parent_ends

MAX_ON_CPU = 4  # trainings at once, unless more are requested


@dataclass
class LocalRunner:
    """Starts each training as `python -m MODULE`, in the next free environment.

    Args:
        environments: variables of each slot that is free, from `slot_environments`.
        module: that `python -m` runs for a training.
        hydra_arguments: that each training needs to find its configs.
    """

    environments: list[dict[str, str]]
    module: str
    hydra_arguments: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.size = len(self.environments)

    def start(self, tasks: Sequence[TrainingTask]) -> list[RunningTask]:
        """Start several trainings."""
        return [self._start(task) for task in tasks]

    def _start(self, task: TrainingTask) -> RunningTask:
        """Start a training, or resume it; what it prints goes into a file of its folder."""
        environment = self.environments.pop()
        task.folder.mkdir(parents=True, exist_ok=True)
        log = task.folder / OUTPUT_FILE
        overrides = [*task.overrides, override_text("hydra.run.dir", task.folder)]
        if has_training(task.folder):
            overrides = [override_text("resume", task.folder)]
        with log.open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", self.module, *self.hydra_arguments, *overrides],
                env=ranks.without_rank(os.environ) | environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                pass_fds=[task.lock.fileno()] if task.lock else [],  # locked as long as it lives
                start_new_session=True,  # Ctrl-C reaches it once, through the sweep
                preexec_fn=functools.partial(_end_with_parent, os.getpid()),  # noqa: PLW1509  see there
            )
        return LocalTraining(process, log, lambda: self.environments.append(environment))


@dataclass
class LocalTraining:
    """A training in a process of this machine.

    Args:
        process: of the training.
        log: what it prints.
        release_slot: makes room for the next one; called when it has ended.
    """

    process: "subprocess.Popen[bytes]"
    log: Path
    release_slot: Callable[[], None]

    def poll(self) -> ProcessResult | None:
        """Return how it ended; None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        self.release_slot()
        return ProcessResult(code, last_error_message(self.log))

    def send(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)


def last_error_message(log: Path) -> str:
    """Return the message of the last error in a training's log; "" if there is none."""
    lines = log.read_text(errors="replace", encoding="utf-8").splitlines()
    errors = [line for line in lines if line.startswith("octopi: ")]
    return errors[-1].removeprefix("octopi: ") if errors else ""


def _end_with_parent(parent: int) -> None:
    """Have this process end, with a checkpoint, when the sweep is killed.

    It runs between fork and exec, where another thread's lock could be held for ever: so it makes
    two system calls, of a library that is loaded already, and takes no lock.
    """
    signal_when_parent_ends(signal.SIGTERM)
    if os.getppid() != parent:  # it was killed before the call
        os._exit(128 + signal.SIGTERM)


def slot_environments(
    settings: TrainSettings, num_slots: int | None, num_tasks: int
) -> list[dict[str, str]]:
    """Return the environment variables of each training that runs at once: its GPU, or its cores.

    Args:
        settings: of the trainings, for their accelerator.
        num_slots: trainings at once; None: one a GPU, or one a core and four at most.
        num_tasks: number of trainings, which bounds it.
    """
    if choose_device_type(settings.trainer["accelerator"], "trainer.accelerator") == "cuda":
        gpus = visible_gpus()
        count = max(1, min(num_slots or len(gpus), num_tasks))
        threads = {"OMP_NUM_THREADS": str(resources.num_threads(count))}
        chosen = [gpus[slot % len(gpus)] for slot in range(count)]
        return [{"CUDA_VISIBLE_DEVICES": gpu, **threads} for gpu in chosen]
    cores = resources.num_cores()
    count = max(1, min(num_slots or min(cores, MAX_ON_CPU), num_tasks))
    return [{"OMP_NUM_THREADS": str(resources.num_threads(count))}] * count


def visible_gpus() -> list[str]:
    """Name the GPUs that torch sees as CUDA does, by index, UUID or MIG instance; the job's own."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    count = torch.cuda.device_count()
    return (
        [name.strip() for name in names.split(",")][:count] if names else [*map(str, range(count))]
    )
