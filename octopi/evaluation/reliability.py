"""Whether scores are chances: of the picks with a score of 0.8, are eight of ten right?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 10


@dataclass(frozen=True)
class Reliability:
    """Scores of an object's picks beside how many of them are right, in bins of equal width.

    Args:
        chance: mean score of each bin that has picks.
        right: share of its picks that are particles.
        num: number of its picks.
        error: expected calibration error: mean distance of the two, weighed by the number of picks.
    """

    chance: list[float]
    right: list[float]
    num: list[int]
    error: float | None


def reliability(scores: NDArray, hits: NDArray, share: float = 1.0) -> Reliability:
    """Compare the scores of picks with how many of them are right.

    Args:
        scores: (n,), 0..1.
        hits: (n,), above 0 for a pick that is an annotated particle.
        share: of the particles that are annotated; the picks that are right are so many times more.
    """
    if not len(scores):
        return Reliability([], [], [], None)
    index = np.minimum((np.asarray(scores) * NUM_BINS).astype(int), NUM_BINS - 1)
    num = np.bincount(index, minlength=NUM_BINS)
    used = num > 0
    chance = np.bincount(index, weights=scores, minlength=NUM_BINS)[used] / num[used]
    right = np.bincount(index, weights=np.minimum(hits, 1), minlength=NUM_BINS)[used] / num[used]
    right = np.minimum(right / share, 1)
    error = float(np.average(np.abs(chance - right), weights=num[used]))
    return Reliability(chance.tolist(), right.tolist(), num[used].tolist(), error)
