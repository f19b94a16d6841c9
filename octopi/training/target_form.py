"""Bring labels to the grid and the channels of a network's output."""

import torch
from torch import Tensor
from torch.nn import functional

from octopi.losses import TargetForm
from octopi.models.net_output import NetOutput
from octopi.targets import UNKNOWN
from octopi.training.unknown import CERTAIN


def target_form(net_output: NetOutput) -> TargetForm:
    """Return the form of the targets that fits a network's output."""
    return "labels" if net_output.is_exclusive else "objects"


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


def object_targets(logits: Tensor, labels: Tensor, possible: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits and a score for each object, from which any loss takes only what is known.

    Args:
        logits: (b, object, z, y, x).
        labels: (b, 1, z, y, x), 0 = background, UNKNOWN = any object or none.
        possible: as in `leave_out_unknown`, background first.
    """
    objects = torch.arange(1, logits.shape[1] + 1, device=labels.device)
    truth = (labels == objects[None, :, None, None, None]).to(logits.dtype)
    is_unknown = (labels == UNKNOWN) | (possible[:, 1:] & (labels == 0))
    return torch.where(is_unknown, -CERTAIN, logits), truth
