"""Unite several sets of picks of one object, and take out of them the places that were rejected."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from octopi.geometry import distances_to_nearest

SAME_PARTICLE = 0.5  # radii of the object; nearer points of two sets are one particle


@dataclass(frozen=True)
class Union:
    """What is left of several sets of points.

    Args:
        kept: for each set, which of its points (n,) are in the union.
        is_rejected: which of the rejected places (n,) have no point of the union near them.
        num_merged: points left out because a set named later has one there.
        num_rejected: points left out because their place was rejected.
    """

    kept: list[NDArray[np.bool_]]
    is_rejected: NDArray[np.bool_]
    num_merged: int
    num_rejected: int


def unite(
    sets: Sequence[NDArray[np.float64]],
    rejected: NDArray[np.float64],
    *,
    radius: float,
    is_by_last: NDArray[np.bool_],
) -> Union:
    """Choose the points of several sets that together name each particle once.

    A point is left out where a set named later has one nearer than half a radius. Points of one set
    are never merged with one another, so that their order does not matter.

    First, rejected places take away the points nearer than half a radius. Only the last of several
    sets keeps its points there, and only at places that its own user rejected: it is the newest
    word of that person, and such places are no longer rejected.

    Args:
        sets: positions (n, 3) in Å, the newest last.
        rejected: positions (m, 3) in Å of what was found to be no particle.
        radius: of the object, Å.
        is_by_last: which rejected places (m,) are of the user whose set is the last.
    """
    limit = SAME_PARTICLE * radius
    against_all = [rejected] * len(sets)
    if len(sets) > 1:
        against_all[-1] = rejected[~is_by_last]
    kept = [
        distances_to_nearest(points, places) >= limit
        for points, places in zip(sets, against_all, strict=True)
    ]
    num_rejected = sum(int((~keep).sum()) for keep in kept)
    remaining = [points[keep] for points, keep in zip(sets, kept, strict=True)]
    num_merged = 0
    for number, points in enumerate(remaining[:-1]):
        later = np.concatenate(remaining[number + 1 :])
        is_merged = distances_to_nearest(points, later) < limit
        kept[number][kept[number]] = ~is_merged
        num_merged += int(is_merged.sum())
    union = [points[keep] for points, keep in zip(sets, kept, strict=True)]
    remaining_points = np.concatenate([np.zeros((0, 3)), *union])
    is_rejected = distances_to_nearest(rejected, remaining_points) >= limit
    return Union(kept, is_rejected, num_merged, num_rejected)


@dataclass(frozen=True)
class PickCounts:
    """How many picks of an object came from where.

    Args:
        sets: user/session -> number of its picks.
        num_merged: picks left out because a set named later has one there.
        num_rejected: picks left out because their place was rejected.
        num_places: rejected places that remain.
        num_contradicted: rejected places that the same user has picked in the last set.
    """

    sets: Mapping[str, int]
    num_merged: int = 0
    num_rejected: int = 0
    num_places: int = 0
    num_contradicted: int = 0

    @property
    def total(self) -> int:
        """Number of picks of the union."""
        return sum(self.sets.values()) - self.num_merged - self.num_rejected

    @property
    def is_plain(self) -> bool:
        """Whether all are of one set, and nothing was rejected."""
        return len(self.sets) == 1 and not (
            self.num_rejected or self.num_places or self.num_contradicted
        )

    def __add__(self, other: "PickCounts") -> "PickCounts":
        """Add the counts of another run."""
        names = dict.fromkeys([*self.sets, *other.sets])
        return PickCounts(
            {name: self.sets.get(name, 0) + other.sets.get(name, 0) for name in names},
            self.num_merged + other.num_merged,
            self.num_rejected + other.num_rejected,
            self.num_places + other.num_places,
            self.num_contradicted + other.num_contradicted,
        )

    def __str__(self) -> str:
        """Say how many there are: `6 picks of curation/0`, or how a union comes about."""
        if self.is_plain:
            return f"{self.total} picks of {next(iter(self.sets))}"
        parts = [f"{number} of {name}" for name, number in self.sets.items()]
        parts += [f"{self.num_merged} merged"] if len(self.sets) > 1 else []
        places = f"; {self.num_places} rejected places" if self.num_places else ""
        places += f"; {self.num_contradicted} picked again" if self.num_contradicted else ""
        return f"{self.total} picks ({', '.join(parts)}, {self.num_rejected} rejected){places}"


def sum_counts(sets: Iterable[str], counts: Iterable[PickCounts]) -> PickCounts:
    """Add up the counts of several runs, of all of these sets (user/session)."""
    return sum(counts, PickCounts(dict.fromkeys(sets, 0)))
