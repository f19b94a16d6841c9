"""A batch of random numbers that a training can take a step on."""

from collections.abc import Sequence

import torch
from torch import Tensor


def draw_batch(
    crops: int, crop_size: Sequence[int], classes: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Draw a batch as the data module would give it: noise, any labels, and one particle each.

    Args:
        crops: in the batch.
        crop_size: voxels, z y x.
        classes: of the target, background included.
        generator: of the random numbers.
    """
    size = (crops, 1, *crop_size)
    target = torch.randint(0, classes, size, generator=generator, dtype=torch.uint8)
    particles = torch.zeros(size, dtype=torch.int32)
    for volume in (target, particles):
        volume[:, :, 2:7, 2:7, 2:7] = 1
    return {
        "image": torch.randn(size, generator=generator),
        "target": target,
        "particles": particles,
        "not_annotated": torch.zeros((crops, classes), dtype=torch.bool),
    }
