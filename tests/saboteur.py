"""What interrupts a training or a command at the line that a test is about."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch


class Saboteur(pl.Callback):
    """Does its deed in the first step; without one, once, what the file `sabotage` says, and when.

    Args:
        deed: `diverge`, `spoil`, `raise`, `memory`, the name of a signal, `kill_parent`, or `none`.
    """

    def __init__(self, deed: str | None = None) -> None:
        self.deed = deed

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        order = Path("sabotage")
        if self.deed is not None:
            do(self.deed, module)
        elif order.exists():
            step, deed = order.read_text(encoding="utf-8").split()
            if trainer.global_step == int(step):
                order.unlink()
                do(deed, module)


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

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != self.event or str(arguments[0]) != str(self.path):
            return
        if self.mode in (None, arguments[1]) and (self.after is None or self.after.exists()):
            os.kill(os.getpid(), signal.SIGKILL)
