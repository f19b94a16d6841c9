"""Trainings as processes of their own: several at once, none waiting for another to end."""

import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import torch
from tqdm import tqdm

from octopi.cli.job import exit_code_of
from octopi.config.overrides import override_text
from octopi.config.settings import TrainSettings
from octopi.errors import OctopiError, SettingError, StoppedBySignal
from octopi.models.precision import choose_device_type
from octopi.system import resources
from octopi.system.files import read_yaml
from octopi.system.job_folder import (
    LAST_CHECKPOINT_FILE,
    OUTCOME_FILE,
    OUTPUT_FILE,
    PARENT_RUN,
    STUDY_FILE,
)
from octopi.system.worker_pool import signal_when_parent_ends
from octopi.tracking.mlflow import child_run_settings, is_mlflow

POLL = 0.2  # seconds between looks at what runs


@dataclass(frozen=True)
class Task:
    """One training of several.

    Args:
        number: its place among them.
        folder: its own.
        words: its command line.
        claim: a locked file that says somebody works on it; released when nobody does.
    """

    number: int
    folder: Path
    words: list[str]
    claim: IO[str] | None = None

    def outcome(self) -> dict[str, Any] | None:
        """What it left behind when it finished; None if it has not."""
        path = self.folder / OUTCOME_FILE
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def trial_overrides(
    folder: Path, number: int, *, tracker: Mapping[str, Any], fold: object = None
) -> list[str]:
    """Return the overrides that make a training one of a sweep's: its run in MLflow has a parent.

    Args:
        folder: of the training, in that of the sweep.
        number: of the training.
        tracker: the resolved `logger`.
        fold: of a cross-validation.
    """
    overrides = ["trainer.enable_progress_bar=false"]
    if tracker and is_mlflow(tracker):
        path = folder.parent / STUDY_FILE
        parent = read_yaml(path).get(PARENT_RUN) if path.is_file() else None
        tags = {"trial": number} | ({} if fold is None else {"fold": fold})
        child = child_run_settings(tracker, parent, name=folder.name, tags=tags)
        overrides += [override_text(f"++logger.{key}", child[key]) for key in ("run_name", "tags")]
    return overrides


def check_one_device(settings: TrainSettings) -> None:
    """Raise SettingError where one of several trainings would take more than one device."""
    devices, nodes = settings.trainer.get("devices", 1), settings.trainer.get("num_nodes", 1)
    count = len(devices) if isinstance(devices, list) else devices
    if count not in ("auto", -1, "-1", 1, "1") or nodes != 1:
        raise SettingError(
            "In a sweep, or where one command trains all folds, each training has one device and "
            "several train at once: leave trainer.devices at 1. To share a training among devices "
            "start it by itself (fold=0 num_folds=…)."
        )


@dataclass(frozen=True)
class ProcessResult:
    """How a training left: its exit code (negative: the signal that killed it) and last words."""

    code: int
    error_message: str

    @property
    def reason(self) -> str:
        """Why it failed, in a line."""
        if self.code < 0:
            return f"killed by {signal.Signals(-self.code).name}"
        kind = {4: "out of resources: ", 5: "diverged: "}.get(self.code, "")
        return kind + (self.error_message or f"ended with exit code {self.code}")


class TaskQueue(Protocol):
    """Where trainings come from, and where their ends are told."""

    def next(self) -> Task | None:
        """Another training to start now; None if there is none."""
        ...

    def record_result(self, task: Task, ended: ProcessResult) -> None:
        """It has ended."""
        ...


class RunningTask(Protocol):
    """A training at work."""

    def poll(self) -> ProcessResult | None:
        """How it ended; None while it runs."""
        ...

    def send(self, number: int) -> None:
        """A signal goes on to it."""
        ...


class Runner(Protocol):
    """Starts trainings; `size` of them fit at once."""

    size: int

    def start(self, task: Task) -> RunningTask:
        """The training runs."""
        ...


@dataclass
class Process:
    """A training in a process of this machine."""

    process: "subprocess.Popen[bytes]"
    log: Path
    release_slot: Callable[[], None]

    def poll(self) -> ProcessResult | None:
        """Return how it ended; None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        self.release_slot()
        return ProcessResult(code, last_error_line(self.log))

    def send(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)


def last_error_line(log: Path) -> str:
    """What octopi said last in a log: the message of its error."""
    if not log.exists():
        return ""
    lines = log.read_text(errors="replace", encoding="utf-8").splitlines()
    said = [line.removeprefix("octopi: ") for line in lines if line.startswith("octopi: ")]
    return said[-1] if said else ""


@dataclass
class Processes:
    """Trainings in processes of this machine, each with its GPU or share of the cores.

    Args:
        slots: the environment of each place.
        module: that `python -m` runs for a training.
        flags: Hydra's own arguments that every one needs, to find its configs.
    """

    slots: list[dict[str, str]]
    module: str
    flags: Sequence[str] = ()
    free: list[dict[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        """All places are free."""
        self.free = list(self.slots)
        self.size = len(self.slots)

    def start(self, task: Task) -> RunningTask:
        """Start a training; what it prints goes into a file of its folder."""
        slot = self.free.pop()
        task.folder.mkdir(parents=True, exist_ok=True)
        log = task.folder / OUTPUT_FILE
        overrides = [*task.words, override_text("hydra.run.dir", task.folder)]
        if (task.folder / LAST_CHECKPOINT_FILE).exists():
            overrides = [override_text("resume", task.folder)]
        with log.open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", self.module, *self.flags, *overrides],
                env=os.environ | slot,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                pass_fds=[task.claim.fileno()] if task.claim else [],  # locked as long as it lives
                start_new_session=True,  # Ctrl-C reaches it once, through the sweep
                preexec_fn=functools.partial(_end_with_parent, os.getpid()),  # noqa: PLW1509  see there
            )
        return Process(process, log, lambda: self.free.append(slot))


def _end_with_parent(parent: int) -> None:
    """Have this process end, with a checkpoint, when the sweep is killed.

    It runs between fork and exec, where another thread's lock could be held for ever: so it makes
    two system calls, of a library that is loaded already, and takes no lock.
    """
    signal_when_parent_ends(signal.SIGTERM)
    if os.getppid() != parent:  # it was killed before the call
        os._exit(128 + signal.SIGTERM)


class HydraLauncherRunner:
    """Trainings started by a Hydra launcher: joblib, submitit, ray."""

    def __init__(self, launcher: Any, size: int) -> None:
        self.launcher = launcher
        self.size = size

    def start(self, task: Task) -> RunningTask:
        """A thread waits for the launcher's answer."""
        return LauncherThread(self.launcher, task)


class LauncherThread:
    """A thread that waits for one job of a Hydra launcher."""

    def __init__(self, launcher: Any, task: Task) -> None:
        self.ended: ProcessResult | None = None
        self.thread = threading.Thread(target=self._launch, args=(launcher, task), daemon=True)
        self.thread.start()

    def _launch(self, launcher: Any, task: Task) -> None:
        words = [*task.words, override_text("hydra.sweep.subdir", task.folder.name)]
        if (task.folder / LAST_CHECKPOINT_FILE).exists():
            words.append(override_text("resume", task.folder))
        try:
            (answer,) = launcher.launch([words], initial_job_idx=task.number)
            _ = answer.return_value  # raises what the job raised
            self.ended = ProcessResult(0, "")
        except BaseException as error:  # noqa: BLE001  a launcher may fail in any way
            text = str(error).strip().splitlines()
            self.ended = ProcessResult(
                exit_code_of(error), text[0] if text else type(error).__name__
            )

    def poll(self) -> ProcessResult | None:
        """How it ended; None while it runs."""
        return self.ended

    def send(self, number: int) -> None:
        """Jobs elsewhere are the launcher's: they go on, and are found finished later."""
        self.ended = ProcessResult(128 + number, "")


def process_environments(
    settings: TrainSettings, wanted: int | None, num_tasks: int
) -> list[dict[str, str]]:
    """The environment of each place a training can run in: a GPU, or a share of the cores.

    Args:
        settings: for its accelerator.
        wanted: trainings at once; None: one a GPU, or one a core and four at most.
        num_tasks: how many trainings there are.
    """
    if choose_device_type(settings.trainer["accelerator"], "trainer.accelerator") == "cuda":
        gpus = torch.cuda.device_count()
        count = min(wanted or gpus, num_tasks)
        return [{"CUDA_VISIBLE_DEVICES": str(place % gpus)} for place in range(count)]
    cores = resources.num_cores()
    count = max(1, min(wanted or min(cores, 4), num_tasks))
    # As many threads as cores and no spinning: trainings side by side waste nothing on each other.
    share = {"OMP_NUM_THREADS": str(max(1, cores // count)), "OMP_WAIT_POLICY": "PASSIVE"}
    return [share] * count


def run_tasks(source: TaskQueue, runner: Runner, bar: "tqdm[Any]", *, resume_command: str) -> None:
    """Every training the source gives has run, as many at once as the runner has places.

    Args:
        source: of trainings.
        runner: starts them.
        bar: moves on with each that ends.
        resume_command: the command that takes up the work after a signal.
    """
    running: dict[int, tuple[Task, RunningTask]] = {}
    with forward_signals(running) as received:
        while True:
            while len(running) < runner.size and not received:
                task = source.next()
                if task is None:
                    break
                running[task.number] = (task, runner.start(task))
            if not running:
                break
            time.sleep(POLL)
            _report_finished(running, source, bar, stopped=bool(received))
        if received:
            raise StoppedBySignal(
                128 + received[0],
                f"Stopped by {signal.Signals(received[0]).name}; the state of every training is "
                f"kept.\nContinue with: {resume_command}",
            )


def _report_finished(
    running: dict[int, tuple[Task, RunningTask]],
    source: TaskQueue,
    bar: "tqdm[Any]",
    *,
    stopped: bool,
) -> None:
    for number, (task, work) in list(running.items()):
        ended = work.poll()
        if ended is None:
            continue
        del running[number]
        interrupted = ended.code in (130, 143, 7) or (stopped and ended.code < 0)
        if not interrupted:
            source.record_result(task, ended)
            bar.update()
        if task.claim:
            task.claim.close()


@contextmanager
def forward_signals(running: Mapping[int, tuple[Task, RunningTask]]) -> Iterator[list[int]]:
    """SIGTERM and Ctrl-C go on to the trainings, a second one kills; the list names what came."""
    received: list[int] = []

    def pass_on(number: int, frame: Any) -> None:
        again = bool(received)
        received.append(number)
        for _, work in running.values():
            work.send(signal.SIGKILL if again else number)

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, pass_on) for number in numbers]
    try:
        yield received
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


class TrainingsError(OctopiError):
    """Trainings that did not finish."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
