"""Bring labels to the grid and the channels of a network's output."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from octopi.losses import TargetForm
from octopi.models.net_output import NetOutput
from octopi.targets import UNKNOWN
from octopi.training.unknown import CERTAIN


def target_form(net_output: NetOutput, *, is_painted: bool) -> TargetForm:
    """Return the form of the targets that fits a network's output.

    Args:
        net_output: what its logits mean.
        is_painted: whether a painter makes the targets, which are the labels else.
    """
    if not net_output.is_exclusive:
        return "objects"
    return "classes" if is_painted else "labels"


def resize_nearest(part: Tensor | None, logits: Tensor) -> Any:
    """Return labels, masks or scores at the size of logits; what is 1 along an axis stays so.

    Args:
        part: (b, c, z, y, x), or None.
        logits: of a head, perhaps coarser.
    """
    shape = logits.shape[2:]
    if part is None or part.shape[2:] in (shape, (1, 1, 1)):
        return part
    resized = functional.interpolate(part.float(), shape, mode="nearest")
    return resized.bool() if part.dtype == torch.bool else resized


def mark_unpainted(labels: Tensor, painted: Tensor) -> Tensor:
    """Return labels that are UNKNOWN wherever a painter does not know the score of an object."""
    return labels.masked_fill(painted.isnan().any(dim=1, keepdim=True), UNKNOWN)


def class_shares(labels: Tensor, painted: Tensor) -> Tensor:
    """Return the share of each class, background first, of what a painter gives for the objects.

    Args:
        labels: (b, 1, z, y, x), UNKNOWN where they are all background.
        painted: (b, object, z, y, x); NaN only where the labels are UNKNOWN.
    """
    scores = torch.where(labels == UNKNOWN, 0, painted)
    total = scores.sum(dim=1, keepdim=True)
    return torch.cat([(1 - total).clamp_min(0), scores / total.clamp_min(1)], dim=1)


def coarsen_target(
    target: Tensor, possible: Tensor, *, stride: int, num_objects: int
) -> tuple[Tensor, Tensor]:
    """Return labels and possible classes at every `stride`th voxel along each axis.

    A coarse voxel has the label that most of its voxels have, background and unknown only where
    none has another: so no small sphere is lost, and none moves.

    Args:
        target: (b, 1, z, y, x) labels, or UNKNOWN.
        possible: as in `leave_out_unknown`; of the target's size, or 1 along each axis.
        stride: voxels of the target along an edge of a coarse one.
        num_objects: highest label.
    """
    if stride == 1:
        return target, possible
    values = [*range(1, num_objects + 1), UNKNOWN]
    planes = torch.cat([target == value for value in values], dim=1).float()
    shares = functional.avg_pool3d(planes, stride)
    largest, index = shares[:, :-1].max(dim=1, keepdim=True)
    elsewhere = (shares[:, -1:] > 0) * UNKNOWN
    coarse = torch.where(largest > 0, index + 1, elsewhere).to(target.dtype)
    if possible.shape[2:] == target.shape[2:]:
        possible = functional.max_pool3d(possible.float(), stride).bool()
    return coarse, possible


def object_targets(
    logits: Tensor, labels: Tensor, possible: Tensor, painted: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return logits and a score for each object, from which any loss takes only what is known.

    Args:
        logits: (b, object, z, y, x).
        labels: (b, 1, z, y, x), 0 = background, UNKNOWN = any object or none.
        possible: as in `leave_out_unknown`, background first.
        painted: the scores; None for those of the labels.
    """
    objects = torch.arange(1, logits.shape[1] + 1, device=labels.device)
    if painted is None:
        painted = (labels == objects[None, :, None, None, None]).to(logits.dtype)
    is_unknown = (labels == UNKNOWN) | (possible[:, 1:] & (labels == 0))
    return torch.where(is_unknown, -CERTAIN, logits), torch.where(is_unknown, 0, painted)
