"""The loss of a batch: over all heads of a network, without the voxels that are unknown."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from octopi.config.settings import TrainSettings
from octopi.models.logits import split_logits
from octopi.models.net_output import NetOutput
from octopi.models.properties import EXCLUSIVE
from octopi.picking import sort_by_label
from octopi.training.build_loss import Loss, adapt_loss, build_loss
from octopi.training.dataset_info import DatasetInfo
from octopi.training.painters import Offsets, Painter, Spheres
from octopi.training.part_checks import (
    check_deterministic,
    check_loss,
    check_painter,
    loss_operations,
    name_of,
)
from octopi.training.target_form import (
    class_shares,
    coarsen_target,
    mark_unpainted,
    object_targets,
    resize_nearest,
    target_form,
)
from octopi.training.unknown import PartialClasses, leave_out_unknown, may_have_unknown

NEAR = 0.7  # radii around a painted sphere, where what is not marked is background


class TrainingLoss(nn.Module):
    """Compares the logits of a network with targets, in the form and on the grid of its output.

    Args:
        loss: of logits and a target.
        radii: of each object, voxels, in the order of the labels; NaN of what is no particle.
        net_output: what the network's logits mean.
        partial: classes of which not every particle is annotated; None where all are.
        painter: of the scores that the network learns.
    """

    def __init__(
        self,
        loss: Loss,
        *,
        radii: Sequence[float],
        net_output: NetOutput = EXCLUSIVE,
        partial: PartialClasses | None = None,
        painter: Painter | Spheres = Spheres(),  # noqa: B008  it has no state
    ) -> None:
        super().__init__()
        self.loss = loss
        self.radii = list(radii)
        self.net_output = net_output
        self.partial = partial
        self.painter = painter

    def forward(self, outputs: Sequence[Tensor], batch: Mapping[str, Any]) -> Tensor:
        """Average the losses of the heads, weighed 1, 1/2, 1/4 …; resize the target for each.

        Args:
            outputs: logits of each head.
            batch: target (b, 1, z, y, x); not_annotated (b, c), which classes are not annotated in
                the run of a crop; and particles (b, 1, z, y, x) where the painter needs them.
        """
        return self.compare(outputs, self.read_known(batch))

    def read_known(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return what is known of a batch: target, particles, and the classes that are possible.

        These are (b, c, z, y, x) or smaller: the classes that background may belong to.
        """
        target, possible = batch["target"], batch["not_annotated"][:, :, None, None, None]
        if self.partial is not None:
            target, possible = self.partial.apply(target, possible)
        particles = {"particles": batch["particles"]} if "particles" in batch else {}
        return {"target": target, "possible": possible, **particles}

    def compare(self, outputs: Sequence[Tensor], known: Mapping[str, Tensor]) -> Tensor:
        """Return the loss as `forward` does, for what `read_known` returns."""
        target, possible = known["target"], known["possible"]
        stride, painted = self.net_output.stride, None
        if not isinstance(self.painter, Spheres):
            painted = self.painter(target, known.get("particles"), self.radii, stride)  # type: ignore[arg-type]
        labels, possible = coarsen_target(
            target, possible, stride=stride, num_objects=len(self.radii)
        )
        if painted is not None:
            labels = mark_unpainted(labels, painted)
        is_incomplete = may_have_unknown(labels, possible)
        total = outputs[0].new_zeros((), dtype=torch.float32)
        weights = [0.5**i for i in range(len(outputs))]
        for weight, out in zip(weights, outputs, strict=True):
            logits, _ = split_logits(out.float(), self.net_output)
            loss = self._loss_of_head(
                logits,
                labels=resize_nearest(labels, logits),
                possible=resize_nearest(possible, logits),
                painted=resize_nearest(painted, logits),
                is_incomplete=is_incomplete,
            )
            total = total + weight * loss
        return total / sum(weights) + self._loss_of_offsets(outputs[0], known)

    def _loss_of_head(
        self,
        logits: Tensor,
        *,
        labels: Tensor,
        possible: Tensor,
        painted: Tensor | None,
        is_incomplete: bool,
    ) -> Tensor:
        """Return the loss of the logits of a head; labels, possible and painted are on its grid."""
        if not self.net_output.is_exclusive:
            return self.loss(*object_targets(logits, labels, possible, painted))
        shares = None if painted is None else class_shares(labels, painted)
        if is_incomplete:
            logits, labels = leave_out_unknown(logits, labels, possible)
        return self.loss(logits, labels if shares is None else shares)

    def _loss_of_offsets(self, output: Tensor, known: Mapping[str, Tensor]) -> Tensor | float:
        """Return the loss of the offsets of the finest head; 0 without any."""
        if not isinstance(self.painter, Offsets):
            return 0.0
        _, predicted = split_logits(output.float(), self.net_output)
        offsets = self.painter.offsets(known["target"], known["particles"], self.net_output.stride)
        return self.painter.loss(predicted, offsets)


def build_training_loss(
    settings: TrainSettings,
    info: DatasetInfo,
    net_output: NetOutput,
    painter: Painter | Spheres,
    loss: nn.Module | None,
) -> TrainingLoss:
    """Build what compares logits with targets; check that loss, painter and output fit together.

    Args:
        settings: of the training.
        info: of the dataset.
        net_output: what the network's logits mean.
        painter: of what it learns.
        loss: used in place of what `settings.loss` describes.
    """
    spacing = info.working_spacing(settings)
    radii = [info.radii.get(name, math.nan) / spacing for name in sort_by_label(info.labels)]
    is_painted = not isinstance(painter, Spheres)
    if is_painted:
        check_painter(painter, radii, net_output.stride)
    form = target_form(net_output, is_painted=is_painted)
    function = (
        adapt_loss(loss, form)
        if loss
        else build_loss(settings.loss, info.labels, form, info.particle_volumes)
    )
    check_loss(function, form, len(info.labels))
    operations = functools.partial(loss_operations, function, form, len(info.labels))
    check_deterministic(f"the loss {name_of(function)}", operations, settings)
    return TrainingLoss(
        function,
        radii=radii,
        net_output=net_output,
        partial=partial_classes(settings, info),
        painter=painter,
    )


def partial_classes(settings: TrainSettings, info: DatasetInfo) -> PartialClasses | None:
    """Return the classes of which some particles may not be annotated, or places are rejected.

    None where neither is so.

    Background is trusted within NEAR radii of such objects, on average, around their spheres.
    """
    if not info.partial and not info.rejected:
        return None
    spacing = info.working_spacing(settings)
    radii = [info.radii[name] for name in info.partial if name in info.radii]
    reach = max(1, round(NEAR * sum(radii) / max(len(radii), 1) / spacing))
    names = sort_by_label(info.labels)
    is_partial = (False, *(name in info.partial for name in names))
    return PartialClasses(is_partial, reach, has_rejected=bool(info.rejected))
