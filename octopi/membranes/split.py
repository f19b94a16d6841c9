"""Picks inside, near and outside a surface, by their distances."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SIDES = ("inside", "near", "outside")


def split_by_distance(
    distances: NDArray[np.float64], near: Sequence[float]
) -> dict[str, NDArray[np.bool_]]:
    """Split picks into those inside, near and outside a surface; every pick is in one part.

    Args:
        distances: (n,) in Å from the surface, negative inside.
        near: least and greatest distance of a pick that is near, Å, both included.

    Returns:
        side -> mask (n,) of the picks on it.

    Raises:
        ValueError: the range is reversed.
    """
    low, high = near
    if not low <= high:
        raise ValueError(
            f"near_distance goes from the smaller to the larger distance, not {low} to {high}."
        )
    below, above = distances < low, distances > high
    return dict(zip(SIDES, (below, ~below & ~above, above), strict=True))
