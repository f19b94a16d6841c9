"""What a training leaves behind as it goes: best model, last checkpoint, history, a clean stop."""

import logging
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback, Checkpoint
from torch import Tensor

from octopi.system.files import staged, write_json
from octopi.training.module import PickingModule

logger = logging.getLogger(__name__)


class SaveModel(Protocol):
    """Writes the best model."""

    def __call__(self, weights: dict[str, Tensor], module: PickingModule) -> None:
        """Write the weights and what the module has just measured."""
        ...

    def problem(self) -> str | None:
        """Say why the model that was written cannot be read; None if it can."""
        ...


class SaveBestModel(Callback):
    """The weights that validated best are on disk, with the thresholds found for them.

    Stands before weight averaging in the list of callbacks, so that it takes the weights that
    were validated. Without validation runs it keeps the latest.

    Args:
        save: writes weights and what the module has just measured.
    """

    def __init__(self, save: SaveModel) -> None:
        self.save = save
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.measured: dict[str, float | None] = {}
        self._weights: dict[str, Tensor] = {}

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The weights now in the net, averaged or not, are set aside."""
        assert isinstance(pl_module, PickingModule)
        self._weights = {k: v.detach().clone() for k, v in pl_module.net.state_dict().items()}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """They are written if they are the best so far."""
        assert isinstance(pl_module, PickingModule)
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        value = pl_module.best_value
        if value is None:
            logger.warning(
                "%s is n/a in this validation: the model is kept as the latest, not as the best.",
                pl_module.best_metric,
            )
        if self.best is None or (value is not None and value > self.best):
            self.best, self.best_epoch = value, trainer.current_epoch
            self.measured = dict(pl_module.metrics)
            self.save(self._weights, pl_module)
            if value is not None:
                logger.info(
                    "epoch %d: best %s %.4f", trainer.current_epoch, pl_module.best_metric, value
                )
        self._weights = {}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training must know."""
        return {"best": self.best, "best_epoch": self.best_epoch, "measured": self.measured}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where a training stopped; forget a best model that is not there any more."""
        if problem := self.save.problem():
            logger.warning(
                "The best model so far is lost. %s The next validation writes a new one.", problem
            )
            return
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]
        self.measured = state_dict["measured"]


class CheckpointFiles(TorchCheckpointIO):
    """Checkpoints as files of this machine, without an import of every object store's client."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """The file holds the state, or what it held before."""
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with staged(Path(path), fsync=True) as stage, stage.open("wb") as file:
            torch.save(checkpoint, file)


class LastCheckpoint(Checkpoint):
    """`last.ckpt` is the whole state at the last epoch boundary, or the one before it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Checkpoints are files, unless the strategy writes them in a way of its own."""
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = CheckpointFiles()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A folder that cannot be written is found out before the first step."""
        if not self.path.exists():
            trainer.save_checkpoint(self.path, weights_only=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The epoch is on disk."""
        trainer.save_checkpoint(self.path, weights_only=False)


class WriteHistory(Callback):
    """`results.json` holds every epoch's loss and metrics as soon as the epoch is over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.history: dict[str, dict[str, list[float | None]]] = {}
        self.best_metric = ""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The epoch's values are appended and written."""
        assert isinstance(pl_module, PickingModule)
        self.best_metric = pl_module.best_metric
        values: dict[str, float | None] = {
            "train_loss": _number(trainer.callback_metrics.get("train/loss")),
            "learning_rate": float(trainer.optimizers[0].param_groups[0]["lr"]),
        }
        self._append(trainer.current_epoch, values)
        self._write(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The validation's metrics are appended and written."""
        assert isinstance(pl_module, PickingModule)
        if not trainer.sanity_checking:
            self.best_metric = pl_module.best_metric
            self._append(trainer.current_epoch, dict(pl_module.metrics))
            self._write(trainer)

    def _append(self, epoch: int, values: dict[str, float | None]) -> None:
        for name, value in values.items():
            series = self.history.setdefault(name, {"epoch": [], "value": []})
            if series["epoch"] and series["epoch"][-1] == epoch:
                series["value"][-1] = value
            else:
                series["epoch"].append(epoch)
                series["value"].append(value)

    def as_dict(self) -> dict[str, Any]:
        """The history: name -> epochs and values; None = n/a."""
        return {"best_metric": self.best_metric, "history": self.history}

    def _write(self, trainer: pl.Trainer) -> None:
        """The file is complete at any moment."""
        if trainer.is_global_zero:
            write_json(self.path, self.as_dict())

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training must know."""
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where a training stopped."""
        self.history = state_dict["history"]


def _number(value: Tensor | float | None) -> float | None:
    return None if value is None else float(value)


class StopOnSignal(Callback):
    """SIGTERM or Ctrl-C ends the training after the step in hand; a second Ctrl-C at once.

    Args:
        stop: makes the exception that ends the job from the signal's number and the epoch that
            `last.ckpt` holds.
    """

    def __init__(self, stop: Callable[[int, int], BaseException]) -> None:
        self.stop = stop
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Signals are ours."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._record_signal)

    def _record_signal(self, number: int, frame: FrameType | None) -> None:
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.received = number

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """The step is done: stop here if asked."""
        self._check(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """A tomogram is done: stop here if asked."""
        self._check(trainer)

    def _check(self, trainer: pl.Trainer) -> None:
        if self.received is not None:
            raise self.stop(self.received, trainer.current_epoch)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Signals are given back."""
        self._restore()

    def on_exception(self, *args: Any) -> None:
        """Signals are given back."""
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
