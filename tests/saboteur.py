"""What interrupts a training or a command at the line that a test is about."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from octopi.system import files


class Saboteur(pl.Callback):
    """Does its deed in the first step; without one, once, what the file `sabotage` says, and when.

    Args:
        deed: `diverge`, `spoil`, `raise`, `memory`, the name of a signal, `kill_parent`, or `none`.
    """

    def __init__(self, deed: str | None = None) -> None:
        self.deed = deed

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        if deed := self.deed or take_order(trainer.global_step):
            do(deed, module)


def take_order(step: int) -> str | None:
    """Read the deed of this step and remove the file; of several processes, one gets it."""
    order = Path("sabotage")
    with contextlib.suppress(FileNotFoundError):
        at_step, deed = order.read_text(encoding="utf-8").split()
        if step == int(at_step):
            order.unlink()
            return deed
    return None


def do(deed: str, module: pl.LightningModule) -> None:
    if deed == "diverge":
        with torch.no_grad():
            next(module.net.parameters()).fill_(float("nan"))
    elif deed == "spoil":
        spoiled = next(b for name, b in module.net.named_buffers() if "running_var" in name)
        spoiled.fill_(float("nan"))
    elif deed == "raise":
        raise RuntimeError("the training was sabotaged")
    elif deed == "memory":
        raise MemoryError("the training was starved")
    elif deed == "kill_parent":
        os.kill(os.getppid(), signal.SIGKILL)
    elif deed != "none":
        os.kill(os.getpid(), getattr(signal, deed))


@dataclass(frozen=True)
class DeathAtFile:
    """An audit hook that kills its process when it is about to do something to a file.

    Args:
        event: of Python's audit events: `open`, `os.mkdir`, `os.rename`.
        path: of the file, or of a folder.
        mode: in which it is opened, without a `b`.
        after: a file that must exist by then.
    """

    event: str
    path: Path
    mode: str | None = None
    after: Path | None = None

    def install(self) -> None:
        """Watch this process from now on."""
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != self.event or str(arguments[0]) != str(self.path):
            return
        if self.mode in (None, arguments[1]) and (self.after is None or self.after.exists()):
            os.kill(os.getpid(), signal.SIGKILL)


class DeathAtMoment:
    """Counts what its process does to files of the working folder, and ends it at one of these.

    A moment is before a file is opened to be written, made or removed, and before and after a file
    or folder is renamed.

    Args:
        number: of the moment, from 1; 0 = never.
        record: file that gets a letter for each moment: `r` beside a rename, else a dot.
        signal_number: that is sent at the moment.
    """

    EVENTS = frozenset({"open", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"})

    def __init__(self, number: int, record: Path, signal_number: int = signal.SIGKILL) -> None:
        self.number = number
        self.signal_number = signal_number
        self.record = record.absolute()
        self.count = 0

    def install(self) -> None:
        """Watch this process from now on."""
        self.pid, self.folder = os.getpid(), str(Path.cwd())
        self.file = os.open(self.record, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for module, name in ((os, "rename"), (os, "replace"), (files, "_exchange")):
            setattr(module, name, self.around(getattr(module, name)))
        sys.addaudithook(self)

    def around(self, rename: Callable[..., Any]) -> Callable[..., Any]:
        """Return what renames, with a moment before it and one after it."""

        def counted(*arguments: Any, **options: Any) -> Any:
            self.pass_moment(arguments[1], "r")
            result = rename(*arguments, **options)
            self.pass_moment(arguments[1], "r")
            return result

        return counted

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in self.EVENTS and (event != "open" or arguments[2] & os.O_ACCMODE):
            self.pass_moment(arguments[0], ".")

    def pass_moment(self, path: Any, letter: str) -> None:
        """Count a moment, if it is one of this process and folder; die at the one asked for."""
        if os.getpid() != self.pid or not isinstance(path, str | bytes | os.PathLike):
            return
        path = os.path.abspath(os.fsdecode(path))  # noqa: PTH100  pathlib is far slower
        if path.startswith(self.folder):
            self.count += 1
            os.write(self.file, letter.encode())
            if self.count == self.number:
                os.kill(self.pid, self.signal_number)
