"""Mix the crops of a batch, with what is known of them: unknown voxels stay unknown.

A mixed batch has one image and several targets, each with the weight of its loss and with the
classes that its background may belong to. No two labels are averaged: so any loss can be used.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from octopi.config.build import build
from octopi.errors import SettingError
from octopi.ranges import Factor, Share, validated
from octopi.training.painters import Painter, Spheres, needs_particles

MIN_CROPS = 2  # of a step whose crops are mixed
Known = Mapping[str, Tensor]  # as `TrainingLoss.read_known` returns it


@validated
@dataclass(kw_only=True)
class Mix(ABC):
    """Mix each crop of a batch with the one before it, in a part of the steps.

    Args:
        alpha: of the beta distribution, on both sides, of the share of a crop that stays.
        prob: chance per step.
    """

    cuts_particles = False  # so that it fits no painter that needs whole ones

    alpha: Factor
    prob: Share

    def __call__(
        self, image: Tensor, known: Known, rng: np.random.Generator
    ) -> tuple[Tensor, list[tuple[float, Known]]]:
        """Return the mixed image, and what is known of it, each with the weight of its loss.

        Args:
            image: (b, 1, z, y, x), b at least 2.
            known: of the crops of the image.
            rng: for the choices.
        """
        if rng.random() >= self.prob:
            return image, [(1.0, known)]
        return self.mix(image, known, float(rng.beta(self.alpha, self.alpha)), rng)

    @abstractmethod
    def mix(
        self, image: Tensor, known: Known, share: float, rng: np.random.Generator
    ) -> tuple[Tensor, list[tuple[float, Known]]]:
        """Mix, so that a share of each crop stays; otherwise as `__call__`."""


class MixUp(Mix):
    """Add two crops; the loss is the sum of those of both targets with the same shares.

    Source: Zhang et al. 2018, arXiv:1710.09412.
    """

    def mix(
        self, image: Tensor, known: Known, share: float, rng: np.random.Generator
    ) -> tuple[Tensor, list[tuple[float, Known]]]:
        """Return the sum of the images, and what is known of both."""
        other = {name: tensor.roll(1, 0) for name, tensor in known.items()}
        return torch.lerp(image.roll(1, 0), image, share), [(share, known), (1 - share, other)]


class CutMix(Mix):
    """Replace a box of each crop by that of another, image and target alike.

    Source: Yun et al. 2019, arXiv:1905.04899.
    """

    cuts_particles = True

    def mix(
        self, image: Tensor, known: Known, share: float, rng: np.random.Generator
    ) -> tuple[Tensor, list[tuple[float, Known]]]:
        """Return images with the box of another crop, and what is known of them."""
        box = draw_box(image.shape[2:], 1 - share, rng)
        mixed = {
            name: replace_box(tensor.expand(-1, -1, *image.shape[2:]), box)
            for name, tensor in known.items()
        }
        return replace_box(image, box), [(1.0, mixed)]


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


def build_mix(
    node: Mapping[str, Any], crops_per_step: int, painter: Painter | Spheres
) -> Mix | None:
    """Build what `mix` describes; None where it is empty.

    Raises:
        SettingError: a step has a single crop, or the painter needs whole particles.
    """
    if not node:
        return None
    if crops_per_step < MIN_CROPS:
        raise SettingError(
            "mix needs two crops in a step, and data.crops_per_step is 1. Set it to 2 or more, or "
            "mix=none."
        )
    mix: Mix = build(node, "mix")
    if mix.cuts_particles and needs_particles(painter):
        raise SettingError(
            f"mix: {type(mix).__name__} cuts through particles, of which "
            f"{type(painter).__name__} needs the middle. Choose mix=mixup or painter=spheres."
        )
    return mix
