"""Report validation scores to the study and stop unpromising trials."""

import logging
from pathlib import Path

import optuna
import pytorch_lightning as pl
from optuna.pruners import BasePruner
from pytorch_lightning.callbacks import Callback

from octopi.sweeps.study import open_study
from octopi.training.module import PickingModule

logger = logging.getLogger(__name__)


class Pruning(Callback):
    """Reports every validation to the study and ends the training when the pruner says so.

    The sweep adds it to the callbacks of each trial.

    Args:
        folder: of the search.
        number: of the trial.
        pruner: None = reports only.
    """

    def __init__(self, folder: str, number: int, pruner: BasePruner | None = None) -> None:
        self.study = open_study(Path(folder))
        self.study.pruner = pruner or optuna.pruners.NopPruner()
        self.number = number
        self.end_state: str | None = None  # how the training ended, if it ended by this

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the best metric of this epoch; stop the training if the pruner says so."""
        assert isinstance(pl_module, PickingModule)
        value = pl_module.best_value
        if trainer.sanity_checking or value is None or len(self.study.directions) > 1:
            return
        trial = self.study.get_trials(deepcopy=False)[self.number]
        self.study._storage.set_trial_intermediate_value(
            trial._trial_id, trainer.current_epoch, value
        )
        trial = self.study.get_trials(deepcopy=True)[self.number]
        if not self.end_state and self.study.pruner.prune(self.study, trial):
            self.end_state = "pruned"
            trainer.should_stop = True
            logger.info(
                "epoch %d: pruned at %s %.4f.", trainer.current_epoch, pl_module.best_metric, value
            )
