"""Which picks found which particles: the challenge's rule and one-to-one matching.

Both count tp, fp, fn for one object in one run. A `Matcher` tells more: how many more particles
are found by each pick when picks are added best first, so the counts at every threshold.
"""

from collections.abc import Callable
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import KDTree

Matcher = Callable[[NDArray[np.float64], NDArray[np.float64], float], NDArray[np.int64]]


def match_czii(
    picks: NDArray[np.float64], truth: NDArray[np.float64], tolerance: float
) -> tuple[int, int, int]:
    """Counts tp, fp, fn by the rule of the CZII challenge.

    A particle is found if any pick is within the tolerance; every pick that is not needed for
    that is a false positive. A pick between two particles finds both, so fp can be negative.

    Args:
        picks: (n, 3) in Å.
        truth: (m, 3) in Å.
        tolerance: Å, inclusive.
    """
    tp = len(set(chain.from_iterable(_neighbours(picks, truth, tolerance))))
    return tp, len(picks) - tp, len(truth) - tp


def match_one_to_one(
    picks: NDArray[np.float64], truth: NDArray[np.float64], tolerance: float
) -> tuple[int, int, int]:
    """Counts tp, fp, fn with as many pairs as there can be, each pick and particle in one at most.

    Args:
        picks: (n, 3) in Å.
        truth: (m, 3) in Å.
        tolerance: Å, inclusive.
    """
    near = _neighbours(picks, truth, tolerance)
    ends = np.concatenate([[0], np.cumsum([len(particles) for particles in near])])
    found = np.fromiter(chain.from_iterable(near), dtype=np.int32, count=int(ends[-1]))
    if not len(found):
        return 0, len(picks), len(truth)
    pairs = csr_array((np.ones(len(found)), found, ends), shape=(len(picks), len(truth)))
    tp = int((maximum_bipartite_matching(pairs, perm_type="column") >= 0).sum())
    return tp, len(picks) - tp, len(truth) - tp


def gains_czii(
    picks: NDArray[np.float64], truth: NDArray[np.float64], tolerance: float
) -> NDArray[np.int64]:
    """For each pick, in the order given, how many particles the picks before it had not found."""
    return _gains(finders_czii(picks, truth, tolerance), len(picks))


def gains_one_to_one(
    picks: NDArray[np.float64], truth: NDArray[np.float64], tolerance: float
) -> NDArray[np.int64]:
    """For each pick, in the order given, 1 if it makes the largest matching larger, else 0."""
    return _gains(finders_one_to_one(picks, truth, tolerance), len(picks))


def finders_czii(
    picks: NDArray[np.float64], truth: NDArray[np.float64], tolerance: float
) -> NDArray[np.int64]:
    """For each particle, the pick with which, in the order given, it is first found; else -1."""
    finders = np.full(len(truth), -1, dtype=np.int64)
    for pick, particles in enumerate(_neighbours(picks, truth, tolerance)):
        for particle in particles:
            if finders[particle] < 0:
                finders[particle] = pick
    return finders


def finders_one_to_one(
    picks: NDArray[np.float64], truth: NDArray[np.float64], tolerance: float
) -> NDArray[np.int64]:
    """For each particle, the pick with which, in the order given, it joins the matching; else -1.

    A pick or particle that is in the largest matching of the best picks stays in it when more
    picks are added, so one pass tells the matching at every threshold.
    """
    near = _neighbours(picks, truth, tolerance)
    owner: dict[int, int] = {}
    settled: set[int] = set()
    winners = [i for i in range(len(near)) if _augment(i, near, owner, settled)]
    finders = np.full(len(truth), -1, dtype=np.int64)
    finders[list(owner)] = winners  # a dictionary keeps the order in which its keys came
    return finders


def _gains(finders: NDArray[np.int64], num_picks: int) -> NDArray[np.int64]:
    return np.bincount(finders[finders >= 0], minlength=num_picks)


def _augment(pick: int, near: list[list[int]], owner: dict[int, int], settled: set[int]) -> bool:
    """Whether the pick gets a particle, if need be by moving the owners of others.

    Where it does not, the particles it reached can never be won by a later pick: settled.
    """
    reached_from: dict[int, int] = {}
    lost: dict[int, int] = {}  # what each rival in the queue would give up
    queue = [pick]
    for rival in queue:
        for particle in near[rival]:
            if particle in settled or particle in reached_from:
                continue
            reached_from[particle] = rival
            if particle in owner:
                lost[owner[particle]] = particle
                queue.append(owner[particle])
                continue
            owner[particle] = winner = rival
            while winner != pick:
                given_up = lost[winner]
                owner[given_up] = winner = reached_from[given_up]
            return True
    settled.update(reached_from)
    return False


def _neighbours(
    picks: NDArray[np.float64], truth: NDArray[np.float64], tolerance: float
) -> list[list[int]]:
    """For each pick, the particles within the tolerance."""
    if not len(picks) or not len(truth):
        return [[] for _ in range(len(picks))]
    return KDTree(picks).query_ball_tree(KDTree(truth), r=tolerance)
