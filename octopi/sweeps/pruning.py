"""Report validation scores to the study and stop unpromising trials."""

import logging
from pathlib import Path

import optuna
import pytorch_lightning as pl
from optuna.pruners import BasePruner
from pytorch_lightning.callbacks import Callback

from octopi.errors import SettingError
from octopi.sweeps.study import (
    PATIENCE,
    describe_failure,
    is_outage,
    open_study,
    wait_for_database,
)
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
        self.folder = Path(folder)
        self.number = number
        self.pruner = pruner or optuna.pruners.NopPruner()
        self.study: optuna.Study | None = None
        self.unreported: dict[int, float] = {}  # epoch -> value
        self.end_state: str | None = None  # how the training ended, if it ended by this

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the best metric of this epoch; stop the training if the pruner says so.

        A report that the study's database does not take is sent with the next one, or at the end.
        """
        assert isinstance(pl_module, PickingModule)
        value = pl_module.best_value
        if trainer.sanity_checking or value is None:
            return
        self.unreported[trainer.current_epoch] = value
        try:
            is_pruned = self._report()
        except Exception as error:
            if not _is_undeliverable(error):
                raise
            logger.warning(
                "This validation is reported to the search later: %s", describe_failure(error)
            )
            return
        if is_pruned and not self.end_state:
            self.end_state = "pruned"
            trainer.should_stop = True
            logger.info(
                "epoch %d: pruned at %s %.4f.", trainer.current_epoch, pl_module.best_metric, value
            )

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Send what the study's database did not take, and wait for it as the sweep does."""
        if not self.unreported:
            return
        try:
            wait_for_database(self._report, PATIENCE)
        except Exception as error:
            if not _is_undeliverable(error):
                raise
            num_lost = len(self.unreported)
            logger.warning(
                "The search never got %d validations: %s", num_lost, describe_failure(error)
            )

    def _report(self) -> bool:
        """Report all values that the study does not have yet; return whether to stop."""
        if self.study is None:
            self.study = open_study(self.folder, patience=0)
        study = self.study
        if len(study.directions) > 1:
            return False
        trial_id = study.get_trials(deepcopy=False)[self.number]._trial_id
        for epoch, value in list(self.unreported.items()):
            study._storage.set_trial_intermediate_value(trial_id, epoch, value)
            del self.unreported[epoch]
        return self.pruner.prune(study, study.get_trials(deepcopy=True)[self.number])


def _is_undeliverable(error: Exception) -> bool:
    """Return whether reports cannot be delivered, which ends no training."""
    return is_outage(error) or isinstance(error, SettingError)  # one: a driver is not installed
