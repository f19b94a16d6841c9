"""Commands in processes of their own, without the six seconds in which Python imports torch.

A fork server imports what the commands import, once, and does nothing else. Each command is a fork
of it; each training that a sweep or a cross-validation starts is a fork of that command. They are
processes like any other: they have their own environment, log, locks and exit code, can be killed,
and end with the one that started them. What depends on a new interpreter, such as how `python -m`
finds our modules, is tested with one.
"""

import contextlib
import functools
import importlib
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from saboteur import DeathAtFile, DeathAtMoment

from octopi.signals import STOP_SIGNALS

Death = DeathAtFile | DeathAtMoment | None
FORK_SERVER = multiprocessing.get_context("forkserver")
FORK = multiprocessing.get_context("fork")
FORK_SERVER.set_forkserver_preload(["octopi.sweeps.run", "octopi.segment", "mlflow"])


class Command:
    """A command of octopi at work, from the working folder and with the environment of the test.

    It leads a process group of its own, as in a shell.

    Args:
        verb: of the command, such as `train`.
        overrides: its command line.
        log: that both its outputs are appended to.
        death: where it is killed, if that is to be.
    """

    def __init__(self, verb: str, *overrides: str, log: Path, death: Death = None) -> None:
        arguments = (verb, overrides, Path.cwd(), dict(os.environ), log.absolute(), death)
        self.process: Any = FORK_SERVER.Process(target=_run_command, args=arguments)
        self.process.start()
        self.pid: int = self.process.pid
        self.log = log

    def wait(self, seconds: float = 240) -> int:
        """Return its exit code; minus the number of the signal that killed it."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.kill()
            raise AssertionError(f"It still runs after {seconds} s.\n{self.output()}")
        return self.process.exitcode

    def output(self) -> str:
        """Return what it and earlier commands with the same log have printed."""
        return self.log.read_text(encoding="utf-8")

    def kill(self) -> None:
        """Kill it, and return when it has ended."""
        self.process.kill()
        self.process.join()


def run_command(verb: str, *overrides: str, log: Path = Path("processes.log")) -> int:
    """Run a command of octopi in a process of its own; return its exit code."""
    command = Command(verb, *overrides, log=log)
    code = command.wait()
    sys.stdout.write(command.output())  # pytest shows it where a test fails
    return code


def _run_command(
    verb: str,
    overrides: tuple[str, ...],
    folder: Path,
    environment: dict[str, str],
    log: Path,
    death: Death,
) -> None:
    from octopi.processes import local, slurm_jobs

    os.setsid()
    slurm_jobs.RESULT_INTERVAL = slurm_jobs.STATE_INTERVAL = 1.0  # nobody shares this SLURM
    local.subprocess = SimpleNamespace(  # type: ignore[attr-defined]
        Popen=ForkedTraining, DEVNULL=subprocess.DEVNULL, STDOUT=subprocess.STDOUT
    )
    os.chdir(folder)
    if death is not None:
        death.install()
    with log.open("ab") as file:
        _run_main(f"octopi.{verb}", overrides, environment, file.fileno())


class ForkedTraining:
    """Does for a command what `subprocess.Popen` does, but forks where that starts Python.

    Args:
        command: `python -m MODULE`, and the command line of the training.
        env: its environment.
        stdout: the open file that both its outputs are appended to.
        pass_fds: open files that it inherits.
        preexec_fn: run first.
        others: what is the same for all trainings.
    """

    def __init__(
        self,
        command: list[str],
        *,
        env: dict[str, str],
        stdout: Any,
        pass_fds: list[int],
        preexec_fn: Callable[[], None],
        **others: Any,
    ) -> None:
        assert command[:2] == [sys.executable, "-m"]
        assert others.pop("start_new_session")
        main = functools.partial(_run_main, command[2], command[3:], env, stdout.fileno())
        arguments = (preexec_fn, {stdout.fileno(), *pass_fds}, main)
        self.process = FORK.Process(target=_run_training, args=arguments)
        self.process.start()

    def poll(self) -> int | None:
        """Return its exit code; None while it runs."""
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)  # type: ignore[arg-type]


def _run_training(preexec_fn: Callable[[], None], inherited: set[int], main: Any) -> None:
    """Forget what the command has open, as a new interpreter would, and train."""
    from hydra.core.hydra_config import HydraConfig

    os.setsid()
    preexec_fn()
    first = 3
    for number in sorted(inherited):
        os.closerange(first, number)
        first = number + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
    HydraConfig.instance().cfg = None
    main()


def _run_main(
    module: str, overrides: tuple[str, ...], environment: dict[str, str], output: int
) -> None:
    """Do what `python -m MODULE` does, in an interpreter that has run another module before."""
    os.dup2(output, sys.__stdout__.fileno())
    os.dup2(output, sys.__stderr__.fileno())
    os.environ.clear()
    os.environ.update(environment)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.getLogger().handlers.clear()
    sys.argv = [module, *overrides]
    importlib.import_module(module).main()
