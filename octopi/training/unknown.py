"""Leave out of any loss what the labels do not know.

Where a voxel's class is unknown, no loss may depend on it. Where a class is not annotated, a voxel
of background may belong to it as well: the two count as one class there, the marginal loss of Shi
et al. 2021, arXiv:2007.03868.
"""

import torch
from torch import Tensor

from octopi.targets import UNKNOWN

CERTAIN = 20.0  # a class whose logit is so much above the others has all of the probability


def has_unknown(target: Tensor, possible: Tensor) -> bool:
    """Return whether anything is unknown in a batch; arguments as in `leave_out_unknown`."""
    return bool((target == UNKNOWN).any() or possible.any())


def leave_out_unknown(logits: Tensor, target: Tensor, possible: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits and target from which any loss takes no more than what is known.

    Args:
        logits: (b, c, z, y, x).
        target: (b, 1, z, y, x), 0 = background, UNKNOWN = any class.
        possible: bool, (b, c, z, y, x) or smaller where it is the same along an axis; the classes
            that a voxel of background may belong to as well.
    """
    marginal = torch.where(target == 0, _add_to_background(logits, possible), logits)
    background = torch.full_like(logits[:, :1], CERTAIN)
    constant = torch.cat([background, torch.full_like(logits[:, 1:], -CERTAIN)], dim=1)
    is_unknown = target == UNKNOWN
    return torch.where(is_unknown, constant, marginal), target.masked_fill(is_unknown, 0)


def _add_to_background(logits: Tensor, possible: Tensor) -> Tensor:
    """Move the probability of the possible classes to background."""
    is_possible = possible.expand_as(logits)[:, 1:]
    objects = logits[:, 1:]
    alternatives = torch.cat([logits[:, :1], objects.masked_fill(~is_possible, -torch.inf)], dim=1)
    background = alternatives.logsumexp(dim=1, keepdim=True)
    return torch.cat([background, torch.where(is_possible, background - CERTAIN, objects)], dim=1)
