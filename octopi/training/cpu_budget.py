"""The CPU-seconds of a training: count them, and end it where its budget of them is spent."""

import multiprocessing
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn

from octopi.system.resources import cpu_seconds_of


class CpuBudget(Callback):
    """Counts the CPU-seconds of a training from its first step on, its data workers included.

    Unlike seconds of the clock they do not depend on what else the machine does.

    Args:
        max_cpu_seconds: after so many the training ends; None = no limit.
    """

    def __init__(self, max_cpu_seconds: float | None) -> None:
        self.max_cpu_seconds = max_cpu_seconds
        self.validation_seconds = 0.0
        self._seconds_before = 0.0  # of a training that was resumed
        self._start: float | None = None
        self._validation_start = 0.0

    @property
    def seconds(self) -> float:
        """CPU-seconds so far, those of validations too."""
        now = 0.0 if self._start is None else training_cpu_seconds() - self._start
        return self._seconds_before + now

    @property
    def spent(self) -> float:
        """The part of the budget that is spent; 0 without a limit."""
        return self.seconds / self.max_cpu_seconds if self.max_cpu_seconds else 0.0

    def cost(self, num_steps: int) -> dict[str, float]:
        """Return what a training has cost after so many optimizer steps, by name."""
        a_step = (self.seconds - self.validation_seconds) / max(num_steps, 1)
        return {
            "steps": num_steps,
            "cpu_seconds": round(self.seconds, 2),
            "cpu_seconds_per_step": round(a_step, 4),
        }

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count."""
        self._start = training_cpu_seconds()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count a validation."""
        self._validation_start = training_cpu_seconds()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add a validation to those before it, where it is part of the training."""
        if trainer.state.fn is TrainerFn.FITTING:
            self.validation_seconds += training_cpu_seconds() - self._validation_start

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """End the training where its budget is spent."""
        trainer.should_stop = trainer.should_stop or self.spent >= 1

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count no further: what follows is the same for every budget."""
        self._seconds_before, self._start = self.seconds, None

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed training needs."""
        return {"seconds": self.seconds, "validation_seconds": self.validation_seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a training."""
        self._seconds_before = state_dict["seconds"]
        self.validation_seconds = state_dict["validation_seconds"]


def training_cpu_seconds() -> float:
    """Return the CPU-seconds of this process so far, with those of its data workers."""
    workers = [process.pid for process in multiprocessing.active_children()]
    return time.process_time() + sum(cpu_seconds_of(pid) for pid in workers if pid is not None)
