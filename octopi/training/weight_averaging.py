"""The moving average of the weights, updated at once and without waiting for the GPU."""

from typing import Any

import pytorch_lightning as pl
import torch
from pydantic import validate_call
from pytorch_lightning.callbacks import EMAWeightAveraging as LightningEMAWeightAveraging
from torch import nn
from torch.optim.swa_utils import AveragedModel

from octopi.ranges import Count, CountOrZero, Share

# torch's optimizers use these kernels; its stubs do not list them
_foreach_add_, _foreach_copy_ = (getattr(torch, f"_foreach_{name}_") for name in ("add", "copy"))
_foreach_mul = getattr(torch, "_foreach_mul")  # noqa: B009  as above


class EMAWeightAveraging(LightningEMAWeightAveraging):
    """Lightning's exponential moving average, to the last bit, in four kernels for all weights.

    Lightning launches three for each, on the CPU, to which it copies the weights in every step.

    Args:
        decay: part of the average that an update keeps.
        use_buffers: whether running statistics are averaged too.
        update_every_n_steps: steps from one update to the next.
        update_starting_at_step: first step with an update; None = the first of all.
        update_starting_at_epoch: epoch from whose end on it is updated; None = by steps alone.
    """

    @validate_call
    def __init__(
        self,
        *,
        decay: Share,
        use_buffers: bool = True,
        update_every_n_steps: Count = 1,
        update_starting_at_step: CountOrZero | None = None,
        update_starting_at_epoch: CountOrZero | None = None,
    ) -> None:
        super().__init__(
            decay=decay,
            use_buffers=use_buffers,
            update_every_n_steps=update_every_n_steps,
            update_starting_at_step=update_starting_at_step,
            update_starting_at_epoch=update_starting_at_epoch,
        )
        self.decay = decay

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Copy the weights to the device that will train; Lightning's stay on the CPU."""
        if stage == "fit":
            average = FusedAverage(pl_module, decay=self.decay, use_buffers=self._use_buffers)
            average.module.to(trainer.strategy.root_device)
            self._average_model = average


class FusedAverage(AveragedModel):
    """A copy of a model whose floating-point values follow it together.

    Args:
        model: to follow.
        decay: part of the average that an update keeps.
        use_buffers: whether buffers are averaged too; else they are those of the model.
    """

    n_averaged: torch.Tensor  # stays on the CPU, so that nobody waits for a GPU to compare it

    def __init__(self, model: nn.Module, *, decay: float, use_buffers: bool) -> None:
        super().__init__(model, use_buffers=use_buffers)
        self.decay = decay

    def update_parameters(self, model: nn.Module) -> None:
        """Move the average towards the model; the first time, copy it."""
        averages, values = list(self.module.parameters()), list(model.parameters())
        buffers, new_buffers = list(self.module.buffers()), list(model.buffers())
        with torch.no_grad():
            if self.use_buffers:
                averages, values = averages + buffers, values + new_buffers
            else:
                _copy(buffers, new_buffers)
            if self.n_averaged == 0:
                _copy(averages, values)
            else:
                self._average(list(zip(averages, values, strict=True)))
        self.n_averaged += 1

    def _average(self, pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        fractional = [pair for pair in pairs if pair[0].is_floating_point()]
        averages, values = map(list, zip(*fractional, strict=True))
        sums = _foreach_mul(averages, self.decay)
        _foreach_add_(sums, _foreach_mul(values, 1 - self.decay))
        _copy(averages, sums)
        for average, value in pairs:
            if not average.is_floating_point():  # such as a number of batches
                average.copy_(self.decay * average + (1 - self.decay) * value)


def _copy(targets: list[Any], sources: list[Any]) -> None:
    if targets:
        _foreach_copy_(targets, sources)
