"""Which picks are inside, near and outside, by their distances."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SIDES = ("inside", "near", "outside")


def sides(distances: NDArray[np.float64], near: Sequence[float]) -> dict[str, NDArray[np.bool_]]:
    """For each side the picks on it: every pick is on one.

    Args:
        distances: Å from the surface, negative inside.
        near: from and to which distance a pick is near, both included.
    """
    low, high = near
    if not low <= high:
        raise ValueError(f"near goes from the smaller to the larger distance, not {low} to {high}.")
    below, above = distances < low, distances > high
    return dict(zip(SIDES, (below, ~below & ~above, above), strict=True))
