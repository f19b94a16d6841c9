"""Test-time augmentation: average scores over flips.

Flips are the symmetries of the imaging: with the beam along z and the tilt axis along y the missing
wedge stays the same under any flip, but not under a rotation by 90°.
"""

from collections.abc import Callable

import torch
from torch import Tensor

FLIPS: tuple[tuple[int, ...], ...] = (
    (),
    (-2, -1),
    (-1,),
    (-2,),
    (-3,),
    (-3, -2, -1),
    (-3, -1),
    (-3, -2),
)


def mean_over_flips(score: Callable[[Tensor], Tensor], image: Tensor, *, num_flips: int) -> Tensor:
    """Average the score over the first `num_flips` flips, each flipped back.

    Args:
        score: maps an image (b, 1, z, y, x) to scores (b, c, z, y, x).
        image: (b, 1, z, y, x).
        num_flips: 1 to 8.
    """
    total = score(image)
    for axes in FLIPS[1:num_flips]:
        total = total + torch.flip(score(torch.flip(image, axes)), axes)
    return total / num_flips
