"""A callback of a user's own that interrupts the training it belongs to."""

import os
import signal
from pathlib import Path

import pytorch_lightning as pl
import torch


class Saboteur(pl.Callback):
    """Does its deed in the first step; without one, once, what the file `sabotage` says, and when.

    Args:
        deed: `diverge`, `spoil`, `raise`, `memory`, the name of a signal, or `none`.
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
    elif deed != "none":
        os.kill(os.getpid(), getattr(signal, deed))
