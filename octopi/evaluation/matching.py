"""Matching of picks with particles: the CZII challenge's rule and one-to-one matching.

Each rule counts tp, fp, fn for one object in one run. Its `Matcher` counts how many more particles
each pick finds when picks are added best first, which gives the counts at every threshold: SciPy
has the maximum matching, but not one for each threshold.
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
    """Count tp, fp, fn by the rule of the CZII challenge.

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
    """Count tp, fp, fn with as many pairs as possible, each pick and particle in one at most.

    Args:
        picks: (n, 3) in Å.
        truth: (m, 3) in Å.
        tolerance: Å, inclusive.
    """
    neighbours = _neighbours(picks, truth, tolerance)
    ends = np.concatenate([[0], np.cumsum([len(particles) for particles in neighbours])])
    particles = np.fromiter(chain.from_iterable(neighbours), dtype=np.int32, count=int(ends[-1]))
    if not len(particles):
        return 0, len(picks), len(truth)
    pairs = csr_array((np.ones(len(particles)), particles, ends), shape=(len(picks), len(truth)))
    tp = int((maximum_bipartite_matching(pairs, perm_type="column") >= 0).sum())
    return tp, len(picks) - tp, len(truth) - tp


def new_hits_czii(
    picks: NDArray[np.float64], truth: NDArray[np.float64], tolerance: float
) -> NDArray[np.int64]:
    """Count the particles that each pick finds and no pick before it does (n,)."""
    return _count_hits(first_hit_czii(picks, truth, tolerance), len(picks))


def new_hits_one_to_one(
    picks: NDArray[np.float64], truth: NDArray[np.float64], tolerance: float
) -> NDArray[np.int64]:
    """Return 1 for each pick that enlarges the maximum matching of those before it, else 0 (n,)."""
    return _count_hits(first_hit_one_to_one(picks, truth, tolerance), len(picks))


def first_hit_czii(
    picks: NDArray[np.float64], truth: NDArray[np.float64], tolerance: float
) -> NDArray[np.int64]:
    """Return the first pick, best first, within the tolerance of each particle, or -1 (m,)."""
    first_hits = np.full(len(truth), -1, dtype=np.int64)
    for pick, particles in enumerate(_neighbours(picks, truth, tolerance)):
        for particle in particles:
            if first_hits[particle] < 0:
                first_hits[particle] = pick
    return first_hits


def first_hit_one_to_one(
    picks: NDArray[np.float64], truth: NDArray[np.float64], tolerance: float
) -> NDArray[np.int64]:
    """Return, for each particle, the pick that first adds it to the maximum matching, or -1.

    Particles and picks in the maximum matching of the best picks stay matched when more picks are
    added, so one pass gives the matching at every threshold.

    Args:
        picks: (n, 3) in Å, best first.
        truth: (m, 3) in Å.
        tolerance: Å, inclusive.

    Returns:
        (m,) indices of picks.
    """
    neighbours = _neighbours(picks, truth, tolerance)
    pick_of: dict[int, int] = {}
    unreachable: set[int] = set()
    matched = [i for i in range(len(picks)) if _augment(i, neighbours, pick_of, unreachable)]
    first_hits = np.full(len(truth), -1, dtype=np.int64)
    first_hits[list(pick_of)] = matched  # a dictionary keeps the order in which its keys came
    return first_hits


def _count_hits(first_hits: NDArray[np.int64], num_picks: int) -> NDArray[np.int64]:
    """Count the particles that each pick is the first to find."""
    return np.bincount(first_hits[first_hits >= 0], minlength=num_picks)


def _augment(
    pick: int, neighbours: list[list[int]], pick_of: dict[int, int], unreachable: set[int]
) -> bool:
    """Match one more pick if possible: Kuhn's algorithm, breadth first.

    Search for an augmenting path, from the pick over particles and the picks matched with them to
    a free particle, and match along it.

    Args:
        pick: not matched yet.
        neighbours: for each pick, the particles within the tolerance.
        pick_of: particle -> the pick matched with it; changed on success.
        unreachable: particles from which no path leads to a free particle, now or later; those of
            this search are added on failure.

    Returns:
        Whether the pick is matched.
    """
    reached_from: dict[int, int] = {}  # particle -> the pick before it on the path
    particle_of: dict[int, int] = {}  # matched pick on a path -> its particle
    queue = [pick]
    for current in queue:
        for particle in neighbours[current]:
            if particle in unreachable or particle in reached_from:
                continue
            reached_from[particle] = current
            if particle in pick_of:
                particle_of[pick_of[particle]] = particle
                queue.append(pick_of[particle])
                continue
            _match_along_path(particle, pick, pick_of, reached_from, particle_of)
            return True
    unreachable.update(reached_from)
    return False


def _match_along_path(
    particle: int,
    pick: int,
    pick_of: dict[int, int],
    reached_from: dict[int, int],
    particle_of: dict[int, int],
) -> None:
    """Match each particle on the path, from the free one back to the pick, with the pick before."""
    pick_of[particle] = reached_from[particle]
    while pick_of[particle] != pick:
        particle = particle_of[pick_of[particle]]
        pick_of[particle] = reached_from[particle]


def _neighbours(
    picks: NDArray[np.float64], truth: NDArray[np.float64], tolerance: float
) -> list[list[int]]:
    """List the particles within the tolerance of each pick."""
    if not len(picks) or not len(truth):
        return [[] for _ in range(len(picks))]
    return KDTree(picks).query_ball_tree(KDTree(truth), r=tolerance)
