"""Matching of picks with particles: the CZII challenge's rule and one-to-one matching.

A rule says, for one object in one run, which pick first finds each particle when picks are added
best first: that gives the counts at every threshold. SciPy has the maximum matching, but not one
for each threshold.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from octopi.geometry import Points

Rule = Callable[[NDArray, NDArray, float], NDArray[np.int64]]  # see `first_hit_one_to_one`


@dataclass(frozen=True)
class ComparedCandidates:
    """The scored candidates of an object, compared with the picks that somebody made.

    Args:
        scores: (n,), 0..1, best first.
        hits: (n,), annotated particles that each candidate is the first to find.
        num_particles: annotated particles, those without a candidate included.
    """

    scores: NDArray[np.float64]
    hits: NDArray[np.int64]
    num_particles: int

    @classmethod
    def in_run(cls, candidates: Points, particles: Points, tolerance: float, rule: Rule) -> Self:
        """Compare candidates and particles of a run; candidates without scores count as 1."""
        scores = candidates.scores_or_ones.astype(float)
        order = np.argsort(-scores, kind="stable")
        first_hits = rule(candidates.positions[order], particles.positions, tolerance)
        return cls(scores[order], count_new_hits(first_hits, len(scores)), len(particles))

    @classmethod
    def pool(cls, runs: Sequence[Self]) -> Self:
        """Pool what was compared in each run."""
        scores = np.concatenate([np.zeros(0), *(one.scores for one in runs)])
        hits = np.concatenate([np.zeros(0, dtype=np.int64), *(one.hits for one in runs)])
        order = np.argsort(-scores, kind="stable")
        return cls(scores[order], hits[order], sum(one.num_particles for one in runs))

    @property
    def counts(self) -> tuple[int, int, int]:
        """Particles found, candidates that found none, particles not found: tp, fp, fn."""
        tp = int(self.hits.sum())
        return tp, len(self.hits) - tp, self.num_particles - tp


def count_new_hits(first_hits: NDArray[np.int64], num_picks: int) -> NDArray[np.int64]:
    """Count the particles that each pick is the first to find (n,)."""
    return np.bincount(first_hits[first_hits >= 0], minlength=num_picks)


def first_hit_czii(
    picks: NDArray[np.float64], truth: NDArray[np.float64], tolerance: float
) -> NDArray[np.int64]:
    """Return the first pick within the tolerance of each particle, or -1, as the CZII challenge.

    Every pick that is not needed for that is a false positive. A pick between two particles finds
    both, so there can be more particles found than picks.

    Args:
        picks: (n, 3) in Å, best first.
        truth: (m, 3) in Å.
        tolerance: Å, inclusive.

    Returns:
        (m,) indices of picks.
    """
    first_hits = np.full(len(truth), -1, dtype=np.int64)
    for pick, particles in enumerate(neighbours_of(picks, truth, tolerance)):
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
    neighbours = neighbours_of(picks, truth, tolerance)
    pick_of: dict[int, int] = {}
    unreachable: set[int] = set()
    matched = [i for i in range(len(picks)) if _augment(i, neighbours, pick_of, unreachable)]
    first_hits = np.full(len(truth), -1, dtype=np.int64)
    first_hits[list(pick_of)] = matched  # a dictionary keeps the order in which its keys came
    return first_hits


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
            end = particle  # match each particle on the path, from here back, with the pick before
            while (before := reached_from[end]) != pick:
                pick_of[end] = before
                end = particle_of[before]
            pick_of[end] = pick
            return True
    unreachable.update(reached_from)
    return False


def neighbours_of(
    points: NDArray[np.float64], others: NDArray[np.float64], distance: float
) -> list[list[int]]:
    """List, for each point (n, 3), the indices of the others (m, 3) within a distance."""
    if not len(points) or not len(others):
        return [[] for _ in range(len(points))]
    return KDTree(points).query_ball_tree(KDTree(others), r=distance)
