"""Pairs of picks at a given distance, and the points in their middle."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from octopi.geometry import Points


def find_pairs(
    positions: NDArray[np.float64], distance_range: Sequence[float], labels: NDArray | None = None
) -> NDArray[np.intp]:
    """Pair positions whose distance lies in a range, nearest first; none is in two pairs.

    Args:
        positions: (n, 3) in Å.
        distance_range: least and greatest distance (Å) of a pair, both included.
        labels: (n,); only positions with the same label make pairs. None = all do.

    Returns:
        The indices (m, 2) of the pairs.

    Raises:
        ValueError: the range is negative, reversed or infinite.
    """
    low, high = distance_range
    if not 0 <= low <= high < np.inf:
        raise ValueError(f"Need 0 <= from <= to for the distance of pairs, not {low} to {high}.")
    if len(positions) < 2:
        return np.zeros((0, 2), dtype=np.intp)
    candidates = KDTree(positions).query_pairs(high, output_type="ndarray")
    if labels is not None:
        candidates = candidates[labels[candidates[:, 0]] == labels[candidates[:, 1]]]
    first, second = candidates.T
    distances = np.linalg.norm(positions[first] - positions[second], axis=1)
    order = np.lexsort((second, first, distances))
    is_free, pairs = np.ones(len(positions), dtype=bool), []
    for pair in candidates[order[distances[order] >= low]]:
        if is_free[pair].all():
            is_free[pair] = False
            pairs.append(pair)
    return np.array(pairs, dtype=np.intp).reshape(-1, 2)


def find_middles(points: Points, pairs: NDArray[np.intp]) -> Points:
    """Return a point half-way between the two of each pair (m, 2), with their mean score."""
    positions = points.positions[pairs].mean(axis=1)
    return Points(positions, None if points.scores is None else points.scores[pairs].mean(axis=1))
