"""Callbacks: save the last checkpoint, write the history, log the progress, stop on signals."""

import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback, Checkpoint

from octopi.signals import signals_to_handle
from octopi.system.files import staged, write_json
from octopi.training.best_model import SaveBestModel
from octopi.training.module import PickingModule

logger = logging.getLogger(__name__)


class CheckpointFiles(TorchCheckpointIO):
    """Writes checkpoints to local files, without importing the client of every object store."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write the state, or leave the file as it was if that fails."""
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with staged(Path(path), fsync=True) as stage, stage.open("wb") as file:
            torch.save(checkpoint, file)


class LastCheckpoint(Checkpoint):
    """Saves the complete state in `last.ckpt` at every epoch boundary."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Write checkpoints by `CheckpointFiles`, unless the strategy has its own way."""
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = CheckpointFiles()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save once before the first step, to find a folder that cannot be written."""
        if trainer.ckpt_path is None:  # the same in every rank
            trainer.save_checkpoint(self.path, weights_only=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the state at the end of the epoch."""
        trainer.save_checkpoint(self.path, weights_only=False)


class WriteHistory(Callback):
    """Writes the losses and metrics of all epochs into `results.json` after every epoch.

    Args:
        path: of the file.
        best_model: knows which share of the particles seems annotated, and what the metrics are
            against; it comes before this in the list of callbacks.
    """

    def __init__(self, path: Path, best_model: SaveBestModel) -> None:
        self.path = path
        self.best_model = best_model
        self.history: dict[str, dict[str, list[float | None]]] = {}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Append the values of the epoch and write the file."""
        loss = trainer.callback_metrics.get("train/loss")
        values: dict[str, float | None] = {
            "train_loss": None if loss is None else float(loss),
            "learning_rate": float(trainer.optimizers[0].param_groups[0]["lr"]),
        }
        self._record(trainer, values)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Append the metrics of the validation and write the file."""
        assert isinstance(pl_module, PickingModule)
        if not trainer.sanity_checking:
            self._record(trainer, pl_module.metrics)

    def _record(self, trainer: pl.Trainer, values: Mapping[str, float | None]) -> None:
        """Append the values of this epoch, or replace those it has; write the file."""
        epoch = trainer.current_epoch
        for name, value in values.items():
            series = self.history.setdefault(name, {"epoch": [], "value": []})
            if series["epoch"] and series["epoch"][-1] == epoch:
                series["value"][-1] = value
            else:
                series["epoch"].append(epoch)
                series["value"].append(value)
        if trainer.is_global_zero:
            write_json(self.path, self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """Return the content of `results.json`; a value of None means n/a."""
        note = self.best_model.info.metrics_note
        return {
            "best_metric": self.best_model.settings.best_metric,
            **({"metrics_note": note} if note else {}),
            "annotated_share": self.best_model.annotated_share,
            "history": self.history,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed training needs."""
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a training."""
        self.history = state_dict["history"]


class LogProgress(Callback):
    """Logs how far the training is, at most once a minute; where there is no bar, that is all."""

    interval = 60.0  # seconds

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note when the training began, and at what."""
        assert isinstance(pl_module, PickingModule)
        self._start = self._logged = time.monotonic()
        self._spent_before = pl_module.spent_budget(trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *args: Any
    ) -> None:
        """Log the epoch, the loss of this batch and the time that is left."""
        assert isinstance(pl_module, PickingModule)
        now = time.monotonic()
        if now - self._logged < self.interval or not trainer.is_global_zero:
            return
        self._logged = now
        spent = pl_module.spent_budget(trainer.global_step)
        seconds_left = (now - self._start) * (1 - spent) / max(spent - self._spent_before, 1e-9)
        logger.info(
            "step %d, epoch %d: loss %.4f; %.0f %% of the training done, about %.0f min left",
            trainer.global_step, trainer.current_epoch, float(outputs["loss"]), 100 * spent,
            seconds_left / 60,
        )  # fmt: skip


class StopOnSignal(Callback):
    """Ends the training after the current step on a signal; at once on a second Ctrl-C.

    Args:
        make_error: makes the exception that ends the job, from the signal's number, the current
            epoch, before which `last.ckpt` was written, and the number of epochs that this
            process has finished.
    """

    def __init__(self, make_error: Callable[[int, int, int], BaseException]) -> None:
        self.make_error = make_error
        self.received: int | None = None
        self.warned = False
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the signal handlers, and note the first epoch of this process."""
        self.first_epoch = trainer.current_epoch
        for number in signals_to_handle():
            self._previous[number] = signal.signal(number, self._record_signal)

    def _record_signal(self, number: int, frame: FrameType | None) -> None:
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.received = number

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Stop after the step if a signal arrived."""
        self._check(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Stop after the tomogram if a signal arrived."""
        self._check(trainer)

    def _check(self, trainer: pl.Trainer) -> None:
        received = self.received or 0
        if trainer.world_size > 1:  # all ranks stop after the same step, or some wait for ever
            number = torch.tensor(received, device=trainer.strategy.root_device)
            torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MAX)
            received = int(number)
        if received:
            self.warned = received == signal.SIGUSR1 and "SLURM_JOB_ID" in os.environ
            raise self._error(trainer, received)

    def error(self, trainer: pl.Trainer) -> BaseException | None:
        """Return what ends the job if a signal arrived, for which no step was left to wait."""
        return self._error(trainer, self.received) if self.received else None

    def _error(self, trainer: pl.Trainer, number: int) -> BaseException:
        epoch = trainer.current_epoch
        return self.make_error(number, epoch, epoch - self.first_epoch)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the previous signal handlers."""
        self._restore()

    def on_exception(self, *args: Any) -> None:
        """Restore the previous signal handlers.

        SLURM, which warned by SIGUSR1 and is to start the job again, sends SIGTERM now: that must
        not break off what ends this training, nor hide why it ends.
        """
        if self.warned:
            self._previous.pop(signal.SIGTERM, None)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
