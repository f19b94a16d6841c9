"""The moving average of the weights, updated at once and without waiting for the GPU."""

from typing import Any

import pytorch_lightning as pl
import torch
from pydantic import validate_call
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from octopi.ranges import Share, ShareBelowOne
from octopi.training.module import PickingModule

# torch's optimizers use these kernels; its stubs do not list them
_foreach_add_, _foreach_copy_ = (getattr(torch, f"_foreach_{name}_") for name in ("add", "copy"))
_foreach_mul = getattr(torch, "_foreach_mul")  # noqa: B009  as above


class EMAWeightAveraging(WeightAveraging):
    """Lightning's exponential moving average, to the last bit, in four kernels for all weights.

    Lightning launches three for each, on the CPU, to which it copies the weights in every step.

    Args:
        decay: part of the average that a step keeps.
    """

    @validate_call
    def __init__(self, *, decay: Share) -> None:
        super().__init__()
        self.decay = decay

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Copy the weights to the device that will train; Lightning's stay on the CPU."""
        if stage == "fit":
            average = FusedAverage(pl_module, decay=self.decay)
            average.module.to(trainer.strategy.root_device)
            self._average_model = average


class FusedAverage(AveragedModel):
    """A copy of a model whose weights and running statistics follow it together.

    Args:
        model: to follow.
        decay: part of the average that an update keeps.
    """

    n_averaged: torch.Tensor  # stays on the CPU, so that nobody waits for a GPU to compare it

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        super().__init__(model, use_buffers=True)
        self.decay = decay

    def update_parameters(self, model: nn.Module) -> None:
        """Move the average towards the model; the first time, copy it."""
        averages: list[Any] = [*self.module.parameters(), *self.module.buffers()]
        values: list[Any] = [*model.parameters(), *model.buffers()]
        with torch.no_grad():
            if self.n_averaged == 0:
                _foreach_copy_(averages, values)
            else:
                self._average(list(zip(averages, values, strict=True)))
        self.n_averaged += 1

    def _average(self, pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        fractional = [pair for pair in pairs if pair[0].is_floating_point()]
        averages, values = map(list, zip(*fractional, strict=True))
        sums = _foreach_mul(averages, self.decay)
        _foreach_add_(sums, _foreach_mul(values, 1 - self.decay))
        _foreach_copy_(averages, sums)
        for average, value in pairs:
            if not average.is_floating_point():  # such as a number of batches
                average.copy_(self.decay * average + (1 - self.decay) * value)


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
