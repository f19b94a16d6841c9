"""Trainings as processes of their own: several at once, none waiting for another to end."""

import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from types import ModuleType
from typing import IO, Any, Protocol

import torch
from tqdm import tqdm

from octopi import machine
from octopi.devices import choose_device_type
from octopi.errors import OctopiError
from octopi.job import Stopped, exit_code_of
from octopi.processes import signal_when_parent_ends
from octopi.settings import TrainSettings

POLL = 0.2  # seconds between looks at what runs
OUTCOME = "outcome.json"
OUTPUT = "output.txt"


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
        path = self.folder / OUTCOME
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def link_to(sweep: Path, number: int) -> list[str]:
    """The words that make a training one of a sweep's."""
    return [f"trial={{folder:'{sweep}',number:{number}}}", "trainer.enable_progress_bar=false"]


@dataclass(frozen=True)
class Ended:
    """How a training left: its exit code (negative: the signal that killed it) and last words."""

    code: int
    said: str

    @property
    def reason(self) -> str:
        """Why it failed, in a line."""
        if self.code < 0:
            return f"killed by {signal.Signals(-self.code).name}"
        kind = {4: "out of resources: ", 5: "diverged: "}.get(self.code, "")
        return kind + (self.said or f"ended with exit code {self.code}")


class Source(Protocol):
    """Where trainings come from, and where their ends are told."""

    def next(self) -> Task | None:
        """Another training to start now; None if there is none."""
        ...

    def done(self, task: Task, ended: Ended) -> None:
        """It has ended."""
        ...


class Running(Protocol):
    """A training at work."""

    def poll(self) -> Ended | None:
        """How it ended; None while it runs."""
        ...

    def send(self, number: int) -> None:
        """A signal goes on to it."""
        ...


class Runner(Protocol):
    """Starts trainings; `size` of them fit at once."""

    size: int

    def start(self, task: Task) -> Running:
        """The training runs."""
        ...


@dataclass
class Process:
    """A training in a process of this machine."""

    process: BaseProcess
    log: Path
    give_back: Callable[[], None]

    def poll(self) -> Ended | None:
        """How it ended; None while it runs."""
        code = self.process.exitcode
        if code is None:
            return None
        self.give_back()
        return Ended(code, last_words(self.log))

    def send(self, number: int) -> None:
        """A signal goes on to it."""
        if self.process.pid and self.process.is_alive():
            os.kill(self.process.pid, number)


def last_words(log: Path) -> str:
    """What octopi said last in a log: the message of its error."""
    if not log.exists():
        return ""
    lines = log.read_text(errors="replace").splitlines()
    said = [line.removeprefix("octopi: ") for line in lines if line.startswith("octopi: ")]
    return said[-1] if said else ""


@dataclass
class Processes:
    """Trainings in processes of this machine, each with its GPU or share of the cores.

    Args:
        slots: the environment of each place.
        flags: Hydra's own words that every one needs, to find its configs.
    """

    slots: list[dict[str, str]]
    flags: Sequence[str] = ()
    free: list[dict[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        """All places are free; what every training imports is imported once."""
        self.free = list(self.slots)
        self.size = len(self.slots)
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # of those to come, side by side
        self.context = get_context("forkserver")
        self.context.set_forkserver_preload(["octopi.train", "octopi.training_job"])

    def start(self, task: Task) -> Running:
        """The training runs; what it prints is in its folder."""
        slot = self.free.pop()
        task.folder.mkdir(parents=True, exist_ok=True)
        log = task.folder / OUTPUT
        words = [*task.words, f"hydra.run.dir='{task.folder}'"]
        if (task.folder / "last.ckpt").exists():
            words = [f"resume={task.folder}"]
        claim = DupFd(task.claim.fileno()) if task.claim else None
        process = self.context.Process(
            target=run_training,
            args=([*self.flags, *words], os.environ | slot, Path.cwd(), log, claim),
        )
        main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
        try:  # a training needs nothing of the program that starts it
            process.start()
        finally:
            sys.modules["__main__"] = main
        return Process(process, log, lambda: self.free.append(slot))


def run_training(
    words: list[str], environment: Mapping[str, str], folder: Path, log: Path, claim: Any
) -> None:
    """The command line runs in this process, as it would in a shell; it ends with its exit code.

    Args:
        words: of `octopi train`.
        environment: its own; the server that forks it may have been started in another.
        folder: to work in, likewise.
        log: file that takes what it prints.
        claim: the lock that says it is at work, held as long as this process lives.
    """
    os.setsid()  # Ctrl-C reaches it once, through the sweep
    signal_when_parent_ends(signal.SIGTERM)  # it stops with a checkpoint
    held = claim.detach() if claim else None
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["octopi train", *words]
    train = importlib.import_module("octopi.train")
    if "OMP_NUM_THREADS" in environment:
        torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    assert held is None or os.fstat(held)
    train.main()


class Launched:
    """Trainings started by a Hydra launcher: joblib, submitit, ray."""

    def __init__(self, launcher: Any, size: int) -> None:
        self.launcher = launcher
        self.size = size

    def start(self, task: Task) -> Running:
        """A thread waits for the launcher's answer."""
        return Waiting(self.launcher, task)


class Waiting:
    """A thread that waits for one job of a Hydra launcher."""

    def __init__(self, launcher: Any, task: Task) -> None:
        self.ended: Ended | None = None
        self.thread = threading.Thread(target=self._launch, args=(launcher, task), daemon=True)
        self.thread.start()

    def _launch(self, launcher: Any, task: Task) -> None:
        words = [*task.words, f"hydra.sweep.subdir={task.folder.name}"]
        if (task.folder / "last.ckpt").exists():
            words.append(f"resume='{task.folder}'")
        try:
            (answer,) = launcher.launch([words], initial_job_idx=task.number)
            _ = answer.return_value  # raises what the job raised
            self.ended = Ended(0, "")
        except BaseException as error:  # noqa: BLE001  a launcher may fail in any way
            text = str(error).strip().splitlines()
            self.ended = Ended(exit_code_of(error), text[0] if text else type(error).__name__)

    def poll(self) -> Ended | None:
        """How it ended; None while it runs."""
        return self.ended

    def send(self, number: int) -> None:
        """Jobs elsewhere are the launcher's: they go on, and are found finished later."""
        self.ended = Ended(128 + number, "")


def places(settings: TrainSettings, wanted: int | None, num_tasks: int) -> list[dict[str, str]]:
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
    cores = machine.num_cores()
    count = max(1, min(wanted or min(cores, 4), num_tasks))
    # As many threads as cores and no spinning: trainings side by side waste nothing on each other.
    share = {"OMP_NUM_THREADS": str(max(1, cores // count)), "OMP_WAIT_POLICY": "PASSIVE"}
    return [share] * count


def work_off(source: Source, runner: Runner, bar: "tqdm[Any]", *, again: str) -> None:
    """Every training the source gives has run, as many at once as the runner has places.

    Args:
        source: of trainings.
        runner: starts them.
        bar: moves on with each that ends.
        again: the command that takes up the work after a signal.
    """
    running: dict[int, tuple[Task, Running]] = {}
    with passing_on_signals(running) as received:
        while True:
            while len(running) < runner.size and not received:
                task = source.next()
                if task is None:
                    break
                running[task.number] = (task, runner.start(task))
            if not running:
                break
            time.sleep(POLL)
            _tell_ended(running, source, bar, stopped=bool(received))
        if received:
            raise Stopped(
                128 + received[0],
                f"Stopped by {signal.Signals(received[0]).name}; the state of every training is "
                f"kept.\nContinue with: {again}",
            )


def _tell_ended(
    running: dict[int, tuple[Task, Running]], source: Source, bar: "tqdm[Any]", *, stopped: bool
) -> None:
    for number, (task, work) in list(running.items()):
        ended = work.poll()
        if ended is None:
            continue
        del running[number]
        interrupted = ended.code in (130, 143, 7) or (stopped and ended.code < 0)
        if not interrupted:
            source.done(task, ended)
            bar.update()
        if task.claim:
            task.claim.close()


@contextmanager
def passing_on_signals(running: Mapping[int, tuple[Task, Running]]) -> Iterator[list[int]]:
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
