"""Test-time augmentation: what a network says of a window seen from several sides, averaged.

The sides are the symmetries of the imaging: with the beam along z and the tilt axis along y the
missing wedge looks the same after any flip, but not after a quarter turn.
"""

from collections.abc import Callable

import torch
from torch import Tensor

SIDES: tuple[tuple[int, ...], ...] = (
    (),
    (-2, -1),
    (-1,),
    (-2,),
    (-3,),
    (-3, -2, -1),
    (-3, -1),
    (-3, -2),
)


def mean_over_sides(score: Callable[[Tensor], Tensor], image: Tensor, *, num_sides: int) -> Tensor:
    """The mean score of the first `num_sides` sides, in the frame of `image` (b, 1, z, y, x)."""
    total = score(image)
    for axes in SIDES[1:num_sides]:
        total = total + torch.flip(score(torch.flip(image, axes)), axes)
    return total / num_sides
