"""Several trainings, each in a process of its own: as many at once as there is room for."""

import logging
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from tqdm import tqdm

from octopi.errors import ExitCode, OctopiError, StoppedBySignal
from octopi.signals import STOP_SIGNALS, signals_to_handle
from octopi.system.job_folder import Outcome, read_outcome
from octopi.system.progress import ProgressBar

logger = logging.getLogger(__name__)

POLL_INTERVAL = 0.2  # seconds
WAIT_INTERVAL = 2.0  # seconds between looks at what other processes have finished
# Exit codes of a training that is to be continued: stopped by a signal, or run by another process.
UNFINISHED_CODES = {
    *(128 + number for number in STOP_SIGNALS),
    ExitCode.INTERRUPTED,
    ExitCode.LOCKED,
}
KINDS_OF_FAILURE: dict[int, str] = {
    ExitCode.RESOURCE: "out of resources: ",
    ExitCode.DIVERGED: "diverged: ",
}


@dataclass(frozen=True)
class TrainingTask:
    """One training of several.

    Args:
        number: its index among them.
        folder: of the training.
        overrides: of its command line, without its folder.
        lock: a locked file that marks it as taken, or None; released when no process works on it.
    """

    number: int
    folder: Path
    overrides: list[str]
    lock: IO[str] | None = None

    def outcome(self) -> Outcome | None:
        """Read how it ended; None while it has not finished."""
        return read_outcome(self.folder)

    def release(self) -> None:
        """Let other workers take it."""
        if self.lock:
            self.lock.close()


@dataclass(frozen=True)
class ProcessResult:
    """How the process of a training ended.

    Args:
        code: its exit code; negative: the signal that killed it.
        error_message: the last error it reported, or "".
    """

    code: int
    error_message: str

    @property
    def reason(self) -> str:
        """Why it failed, in a line."""
        if self.code < 0:
            return f"killed by {signal.Signals(-self.code).name}"
        message = self.error_message or f"ended with exit code {self.code}"
        return KINDS_OF_FAILURE.get(self.code, "") + message


@dataclass
class TaskQueue(ABC):
    """The trainings that are still to run.

    Args:
        failed: number of a training -> how it ended, of those that failed.
        interrupted: the same of those that were stopped, and are left to the next start.
    """

    failed: dict[int, ProcessResult] = field(default_factory=dict, kw_only=True)
    interrupted: dict[int, ProcessResult] = field(default_factory=dict, kw_only=True)

    @abstractmethod
    def next(self) -> TrainingTask | None:
        """Take the next training to start now; None if there is none."""

    @abstractmethod
    def record_result(self, task: TrainingTask, result: ProcessResult) -> None:
        """Record how a training ended."""

    def record_interruption(self, task: TrainingTask, result: ProcessResult) -> None:
        """Record that a training was stopped."""
        self.interrupted[task.number] = result

    def num_elsewhere(self) -> int:
        """Count the trainings that other processes may still finish."""
        return 0


class RunningTask(Protocol):
    """A training that runs."""

    def poll(self) -> ProcessResult | None:
        """Return how it ended; None while it runs."""
        ...

    def send(self, number: int) -> None:
        """Send it a signal."""
        ...


class Runner(Protocol):
    """Starts trainings, `size` of them at once."""

    size: int

    def start(self, tasks: Sequence[TrainingTask]) -> Sequence[RunningTask]:
        """Start several trainings."""
        ...


def run_tasks(
    queue: TaskQueue,
    runner: Runner,
    bar: "tqdm[Any]",
    *,
    resume_command: str,
    check_start: Callable[[], None] = lambda: None,
) -> None:
    """Run all trainings of a queue, as many at once as the runner has slots.

    Args:
        queue: of the trainings.
        runner: starts them.
        bar: is advanced by each that ends.
        resume_command: the command that continues the work after a signal, for the message.
        check_start: raises before trainings are started that may not begin any more.

    Raises:
        StoppedBySignal: after SIGTERM or Ctrl-C, when no training runs any more.
    """
    running: dict[int, tuple[TrainingTask, RunningTask]] = {}
    with forward_signals(running) as received:
        waits, next_look = False, 0.0
        while not received:
            if not running or time.monotonic() >= next_look:
                _start_next(queue, runner, running, check_start)
                next_look = time.monotonic() + WAIT_INTERVAL
            num_running = len(running)
            if not running and not (num_elsewhere := queue.num_elsewhere()):
                break
            if not running and not waits:
                waits = True
                logger.info("Waiting for %d trainings that run elsewhere.", num_elsewhere)
            time.sleep(POLL_INTERVAL if running else WAIT_INTERVAL)
            _record_ended(queue, running, received, bar)
            if len(running) < num_running:
                next_look = 0.0
        while running:
            time.sleep(POLL_INTERVAL)
            _record_ended(queue, running, received, bar)
        if received:
            raise StoppedBySignal(
                128 + received[0],
                f"Stopped by {signal.Signals(received[0]).name}; what was done is kept."
                f"\nContinue with: {resume_command}",
            )


class UnfinishedError(OctopiError):
    """Trainings that did not finish.

    Args:
        message: of the error.
        result: how the first of them ended, whose exit code it has unless a signal ended that.
    """

    def __init__(self, message: str, result: ProcessResult) -> None:
        super().__init__(message)
        has_code = 0 < result.code <= ExitCode.LOCKED
        self.exit_code = result.code if has_code else ExitCode.PARTS


@dataclass
class _FixedQueue(TaskQueue):
    """Trainings of one process: each is started once, none runs elsewhere."""

    tasks: list[TrainingTask]

    def next(self) -> TrainingTask | None:
        """Take the next training; None if there is none."""
        return self.tasks.pop(0) if self.tasks else None

    def record_result(self, task: TrainingTask, result: ProcessResult) -> None:
        """Remember a failure."""
        if result.code:
            self.failed[task.number] = result


def run_unfinished(
    tasks: Sequence[TrainingTask], runner: Runner, *, desc: str, unit: str, resume_command: str
) -> dict[int, ProcessResult]:
    """Run those of some trainings that have not finished.

    Args:
        tasks: all of them.
        runner: starts them.
        desc: what is done, for the progress.
        unit: what a training is, for the progress.
        resume_command: as of `run_tasks`.

    Returns:
        number of a training -> how it ended, of those that did not finish.

    Raises:
        StoppedBySignal: after SIGTERM or Ctrl-C, when no training runs any more.
    """
    queue = _FixedQueue([task for task in tasks if not task.outcome()])
    num_done = len(tasks) - len(queue.tasks)
    with ProgressBar(total=len(tasks), initial=num_done, unit=unit, desc=desc) as bar:
        run_tasks(queue, runner, bar, resume_command=resume_command)
    return queue.failed | queue.interrupted


def _start_next(
    queue: TaskQueue,
    runner: Runner,
    running: dict[int, tuple[TrainingTask, RunningTask]],
    check_start: Callable[[], None],
) -> None:
    """Start as many trainings as the runner has free slots; let others take what cannot start."""
    tasks: list[TrainingTask] = []
    try:
        while len(running) + len(tasks) < runner.size and (task := queue.next()):
            tasks.append(task)
        if tasks:
            check_start()
        started = runner.start(tasks) if tasks else []
    except BaseException:
        for task in tasks:
            queue.record_interruption(task, ProcessResult(ExitCode.INTERRUPTED, "not started"))
            task.release()
        raise
    for task, training in zip(tasks, started, strict=True):
        running[task.number] = (task, training)


def _record_ended(
    queue: TaskQueue,
    running: dict[int, tuple[TrainingTask, RunningTask]],
    received: Sequence[int],
    bar: "tqdm[Any]",
) -> None:
    """Record the trainings that have ended; let others take those that were stopped."""
    for task, training in list(running.values()):
        result = training.poll()
        if result is None:
            continue
        del running[task.number]
        if result.code in UNFINISHED_CODES or (received and result.code < 0):
            queue.record_interruption(task, result)
        else:
            queue.record_result(task, result)
            bar.update()
        task.release()


@contextmanager
def forward_signals(running: Mapping[int, tuple[TrainingTask, RunningTask]]) -> Iterator[list[int]]:
    """Forward SIGTERM and Ctrl-C to running trainings; kill them on the second signal.

    Yields the numbers of the signals received so far.
    """
    received: list[int] = []

    def forward(number: int, frame: Any) -> None:
        is_second = bool(received)
        received.append(number)
        for _, process in running.values():
            process.send(signal.SIGKILL if is_second else number)

    numbers = signals_to_handle()
    handlers = [signal.signal(number, forward) for number in numbers]
    try:
        yield received
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)
