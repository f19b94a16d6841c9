"""Average the weights over the end of a training."""

from typing import Any

import pytorch_lightning as pl
from pydantic import validate_call
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from octopi.ranges import Share, ShareBelowOne
from octopi.training.module import PickingModule


class StochasticWeightAveraging(WeightAveraging):
    """Average the weights of the last part of a training evenly, and exponentially until then.

    Source: Izmailov et al. 2018, arXiv:1803.05407; the learning rate is that of the schedule.

    Args:
        start: part of the budget of steps, time or CPU-seconds from which on the average is even.
        decay: of the exponential average before, which is what is validated until then.
    """

    @validate_call
    def __init__(self, *, start: ShareBelowOne, decay: Share) -> None:
        super().__init__(avg_fn=self._average)
        self.start = start
        self.decay = decay
        self.is_even = False

    def _average(self, average: Tensor, weights: Tensor, num_averaged: Tensor | int) -> Tensor:
        """Return the average with another step's weights in it."""
        share = 1 / (num_averaged + 1) if self.is_even else 1 - self.decay
        return average + (weights - average) * share

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Add the weights of a step to the average, which begins anew at the start."""
        assert isinstance(pl_module, PickingModule)
        assert self._average_model is not None
        if not self.is_even and pl_module.spent_budget(trainer.global_step) >= self.start:
            self.is_even = True
            self._average_model.n_averaged.zero_()
        super().on_train_batch_end(trainer, pl_module, *args, **kwargs)

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed training needs."""
        return {**super().state_dict(), "is_even": self.is_even}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a training."""
        super().load_state_dict(state_dict)
        self.is_even = state_dict["is_even"]
