"""Leave voxels whose class is unknown out of any loss.

Where a voxel's class is unknown, no loss may depend on it. Where a class is not annotated, a voxel
of background may belong to it as well: the two count as one class there, the marginal loss of Shi
et al. 2021, arXiv:2007.03868.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from octopi.targets import UNKNOWN, rejected_value

CERTAIN = 20.0  # a class whose logit is so much above the others has all of the probability


@dataclass(frozen=True)
class PartialClasses:
    """The classes of which not every particle is annotated, and places found to be none of them.

    Args:
        is_partial: for each class, background first.
        reach: voxels around their painted spheres within which background is trusted.
        has_rejected: whether targets have marks of rejected places.
    """

    is_partial: tuple[bool, ...]
    reach: int
    has_rejected: bool = False

    def apply(self, target: Tensor, possible: Tensor) -> tuple[Tensor, Tensor]:
        """Return a target without marks of rejected places, and the classes possible in it.

        Args:
            target: (b, 1, z, y, x).
            possible: (b, c, 1, 1, 1), the classes that background may belong to anywhere.

        Returns:
            The target, and (b, c, z, y, x) as in `possible`: where a place was rejected, it is
            certainly none of that class, and outside of what is annotated perhaps any other.
        """
        if any(self.is_partial):
            possible = possible | self.possible(target)
        if not self.has_rejected:
            return target, possible
        classes = torch.arange(len(self.is_partial), device=target.device)
        inside, outside = (
            target == rejected_value(classes, else_unknown=where)[None, :, None, None, None]
            for where in (False, True)
        )
        inside[:, 0] = outside[:, 0] = False  # there is no mark of background
        is_rejected = inside | outside
        background = target.masked_fill(is_rejected.any(dim=1, keepdim=True), 0)
        possible = possible | outside.any(dim=1, keepdim=True)
        return background, possible & ~is_rejected

    def possible(self, target: Tensor) -> Tensor:
        """Return the classes (b, c, z, y, x) that background may belong to, far from picks.

        Who marks a particle has looked around it: near it, what is not marked is background.
        Elsewhere it may be a particle that was overlooked.

        Args:
            target: (b, 1, z, y, x).
        """
        # Labels are compared one by one: a tensor of them would be waited for on a GPU.
        partial = torch.zeros(len(self.is_partial), dtype=torch.bool, device=target.device)
        is_near = torch.zeros_like(target, dtype=torch.float32)
        for label in (i for i, is_partial in enumerate(self.is_partial) if is_partial):
            partial[label] = True
            is_near.masked_fill_(target == label, 1)
        for axis in range(3):  # a box is three lines: a tenth of the time
            size, padding = [1, 1, 1], [0, 0, 0]
            size[axis], padding[axis] = 2 * self.reach + 1, self.reach
            is_near = functional.max_pool3d(is_near, size, stride=1, padding=padding)
        return partial[None, :, None, None, None] & (is_near == 0)


def may_have_unknown(target: Tensor, possible: Tensor) -> bool:
    """Return whether anything may be unknown in a batch; arguments as in `leave_out_unknown`.

    A GPU is not asked, since the answer would be waited for: where nothing is unknown,
    `leave_out_unknown` changes nothing.
    """
    if target.device.type != "cpu":
        return True
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
