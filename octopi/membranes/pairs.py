"""Picks that belong together in twos, and the picks in their middle."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from octopi.geometry import Points


def pairs(
    positions: NDArray[np.float64], apart: Sequence[float], labels: NDArray | None = None
) -> NDArray[np.intp]:
    """The pairs (m, 2) of positions (Å) that far apart, nearest first; no pick is in two.

    Args:
        positions: (n, 3).
        apart: from and to which distance (Å) two make a pair, both included.
        labels: (n,), only picks with the same one make pairs; None = all do.
    """
    low, high = apart
    if not 0 <= low <= high < np.inf:
        raise ValueError(f"Need 0 <= from <= to for the distance of pairs, not {low} to {high}.")
    if len(positions) < 2:
        return np.zeros((0, 2), dtype=np.intp)
    found = KDTree(positions).query_pairs(high, output_type="ndarray")
    if labels is not None:
        found = found[labels[found[:, 0]] == labels[found[:, 1]]]
    lengths = np.linalg.norm(positions[found[:, 0]] - positions[found[:, 1]], axis=1)
    order = np.lexsort((found[:, 1], found[:, 0], lengths))
    free, taken = np.ones(len(positions), dtype=bool), []
    for index in order[lengths[order] >= low]:
        if free[found[index]].all():
            free[found[index]] = False
            taken.append(found[index])
    return np.array(taken, dtype=np.intp).reshape(-1, 2)


def middles(points: Points, paired: NDArray[np.intp]) -> Points:
    """A point half-way between the two of each pair, with the mean of their scores."""
    positions = points.positions[paired].mean(axis=1)
    return Points(positions, None if points.scores is None else points.scores[paired].mean(axis=1))
