"""Mix the crops of a batch, with what is known of them: unknown voxels stay unknown.

A mixed batch has one image and several targets, each with the weight of its loss and with the
classes that its background may belong to. No two labels are averaged: so any loss can be used.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import validate_call
from torch import Tensor

from octopi.config.build import build
from octopi.errors import SettingError
from octopi.ranges import Factor, Share

# The weight of its loss, a target (b, 1, z, y, x), and the classes that are possible in it.
WeightedTarget = tuple[float, Tensor, Tensor]


class Mix(ABC):
    """Mix each crop of a batch with the one before it, in a part of the steps.

    Args:
        alpha: of the beta distribution, on both sides, of the share of a crop that stays.
        prob: chance per step.
    """

    @validate_call
    def __init__(self, *, alpha: Factor, prob: Share) -> None:
        self.alpha = alpha
        self.prob = prob

    def __call__(
        self, image: Tensor, target: Tensor, possible: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, list[WeightedTarget]]:
        """Return the mixed image and its targets.

        Args:
            image: (b, 1, z, y, x), b at least 2.
            target: (b, 1, z, y, x), unknown voxels included.
            possible: (b, c, z, y, x) or (b, c, 1, 1, 1), as in `unknown.leave_out_unknown`.
            rng: for the choices.
        """
        if rng.random() >= self.prob:
            return image, [(1.0, target, possible)]
        return self.mix(image, target, possible, float(rng.beta(self.alpha, self.alpha)), rng)

    @abstractmethod
    def mix(
        self,
        image: Tensor,
        target: Tensor,
        possible: Tensor,
        share: float,
        rng: np.random.Generator,
    ) -> tuple[Tensor, list[WeightedTarget]]:
        """Mix, so that a share of each crop stays; arguments as in `__call__`."""


class MixUp(Mix):
    """Add two crops; the loss is the sum of those of both targets with the same shares.

    Source: Zhang et al. 2018, arXiv:1710.09412.
    """

    def mix(
        self,
        image: Tensor,
        target: Tensor,
        possible: Tensor,
        share: float,
        rng: np.random.Generator,
    ) -> tuple[Tensor, list[WeightedTarget]]:
        """Return the sum of the images, and both targets."""
        others = [tensor.roll(1, 0) for tensor in (target, possible)]
        mixed = torch.lerp(image.roll(1, 0), image, share)
        return mixed, [(share, target, possible), (1 - share, others[0], others[1])]


class CutMix(Mix):
    """Replace a box of each crop by that of another, image and target alike.

    Source: Yun et al. 2019, arXiv:1905.04899.
    """

    def mix(
        self,
        image: Tensor,
        target: Tensor,
        possible: Tensor,
        share: float,
        rng: np.random.Generator,
    ) -> tuple[Tensor, list[WeightedTarget]]:
        """Return images and targets with the box of another crop."""
        box = draw_box(image.shape[2:], 1 - share, rng)
        possible = possible.expand(-1, -1, *target.shape[2:])
        mixed, mixed_target, mixed_possible = (
            replace_box(tensor, box) for tensor in (image, target, possible)
        )
        return mixed, [(1.0, mixed_target, mixed_possible)]


def draw_box(shape: torch.Size, share: float, rng: np.random.Generator) -> tuple[slice, ...]:
    """Draw a box anywhere; where it does not reach over the border it has a share of the voxels."""
    edges = [n * share ** (1 / 3) for n in shape]
    centres = [rng.uniform(0, n) for n in shape]
    return tuple(
        slice(max(0, round(centre - edge / 2)), max(0, round(centre + edge / 2)))
        for centre, edge in zip(centres, edges, strict=True)
    )


def replace_box(tensor: Tensor, box: tuple[slice, ...]) -> Tensor:
    """Return (b, c, z, y, x) with a box of each item taken from the item before it."""
    mixed = tensor.clone()
    mixed[(..., *box)] = tensor.roll(1, 0)[(..., *box)]
    return mixed


def build_mix(node: Mapping[str, Any], crops_per_step: int) -> Mix | None:
    """Build what `mix` describes; None where it is empty.

    Raises:
        SettingError: a step has a single crop.
    """
    if not node:
        return None
    if crops_per_step < 2:
        raise SettingError(
            "mix needs two crops in a step, and data.crops_per_step is 1. Set it to 2 or more, or "
            "mix=none."
        )
    return build(node, "mix")
