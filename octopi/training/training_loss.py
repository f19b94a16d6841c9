"""The loss of a batch: over all heads of a network, and from no more than what is known."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from octopi.models.net_output import NetOutput
from octopi.models.properties import EXCLUSIVE
from octopi.training.loss import Loss
from octopi.training.target_form import coarsen_target, object_targets
from octopi.training.unknown import PartialClasses, leave_out_unknown, may_have_unknown


class TrainingLoss(nn.Module):
    """Compares the logits of a network with targets, in the form and on the grid of its output.

    Args:
        loss: of logits and a target.
        num_objects: highest label of the targets.
        net_output: what the network's logits mean.
        partial: classes of which not every particle is annotated; None where all are.
    """

    def __init__(
        self,
        loss: Loss,
        *,
        num_objects: int,
        net_output: NetOutput = EXCLUSIVE,
        partial: PartialClasses | None = None,
    ) -> None:
        super().__init__()
        self.loss = loss
        self.num_objects = num_objects
        self.net_output = net_output
        self.partial = partial

    def forward(self, outputs: Sequence[Tensor], batch: Mapping[str, Any]) -> Tensor:
        """Average the losses of the heads, weighed 1, 1/2, 1/4 …; resize the target for each.

        Args:
            outputs: logits of each head.
            batch: target (b, 1, z, y, x), and not_annotated (b, c), which classes are not annotated
                in the run of a crop.
        """
        target, possible = batch["target"], batch["not_annotated"][:, :, None, None, None]
        if self.partial is not None:
            target, possible = self.partial.apply(target, possible)
        target, possible = coarsen_target(
            target, possible, stride=self.net_output.stride, num_objects=self.num_objects
        )
        is_incomplete = may_have_unknown(target, possible)
        total = outputs[0].new_zeros((), dtype=torch.float32)
        weights = [0.5**i for i in range(len(outputs))]
        for weight, out in zip(weights, outputs, strict=True):
            fitted, fitted_possible = target, possible
            if out.shape[2:] != target.shape[2:]:
                fitted = nn.functional.interpolate(target.float(), out.shape[2:], mode="nearest")
                if possible.shape[2:] == target.shape[2:]:
                    fitted_possible = nn.functional.interpolate(
                        possible.float(), out.shape[2:], mode="nearest"
                    ).bool()
            logits = out.float()
            if not self.net_output.is_exclusive:
                logits, fitted = object_targets(logits, fitted, fitted_possible)
            elif is_incomplete:
                logits, fitted = leave_out_unknown(logits, fitted, fitted_possible)
            total = total + weight * self.loss(logits, fitted)
        return total / sum(weights)
