"""Read the picks of a run of which several sets count together, or that its target knows."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.errors import NotInProjectError
from octopi.geometry import Points
from octopi.pick_sets import PickCounts, unite
from octopi.project.objects import has_unknown_voxels
from octopi.project.provenance import digest_sets
from octopi.project.queries import PickSets, PicksQuery, SegmentationQuery
from octopi.project.run import Run
from octopi.project.selection import REJECTED_SUFFIX
from octopi.targets import drop_unknown

NOWHERE = np.zeros((0, 3))


@dataclass(frozen=True)
class UnitedPicks:
    """The picks of one object in a run, and the places found to be none of it.

    Args:
        points: the union of the sets; None where the run has no file of any of them.
        kept: for each set, which of its points are in the union.
        rejected: positions (n, 3) in Å.
        counts: how many picks came from where.
        digest: of the sets, see `provenance.digest_sets`.
        rejected_digest: of the sets of rejected places; "" without any.
    """

    points: Points | None
    kept: list[NDArray[np.bool_]]
    rejected: NDArray[np.float64]
    counts: PickCounts
    digest: str
    rejected_digest: str = ""


def read_united_picks(
    run: Run,
    picks: Mapping[str, PickSets],
    rejected: Mapping[str, PickSets],
    radii: Mapping[str, float] | None = None,
) -> dict[str, UnitedPicks]:
    """Read the picks of each object, see `pick_sets.unite`; sets that the run lacks are empty.

    Args:
        run: of the picks.
        picks: object name -> sets of its picks.
        rejected: object name -> sets of places found to be none of it.
        radii: object name -> Å, as when a target was painted; else those of the copick config.

    Raises:
        DataError: an object of several sets, or with rejected places, has no radius.
    """
    sets = [*picks.values(), *(rejected[name] for name in picks if name in rejected)]
    stored = run.read_existing_picks({query: query for one in sets for query in one.queries})
    return unite_stored(run, stored, picks, rejected, radii)


def unite_stored(
    run: Run,
    stored: Mapping[PicksQuery, Points],
    picks: Mapping[str, PickSets],
    rejected: Mapping[str, PickSets],
    radii: Mapping[str, float] | None = None,
) -> dict[str, UnitedPicks]:
    """Unite the picks of each object that were read from a run, see `read_united_picks`."""
    return {
        name: unite_sets(
            stored, of_object, rejected.get(name), partial(_radius, run, name, radii or {})
        )
        for name, of_object in picks.items()
    }


def _radius(run: Run, name: str, radii: Mapping[str, float]) -> float:
    """Return the radius of an object (Å), that of the copick config where none is given."""
    if name in radii:
        return radii[name]
    if name not in run.objects:
        raise NotInProjectError("The copick config", "object", name, run.objects)
    return run.objects[name].require_radius()


def unite_sets(
    stored: Mapping[PicksQuery, Points],
    sets: PickSets,
    rejected: PickSets | None,
    radius: Callable[[], float],
) -> UnitedPicks:
    """Unite the sets of an object that were stored; a pick without a score is certain.

    Args:
        stored: the picks of a run, at least those of the sets that it has.
        sets: of the object.
        rejected: sets of its rejected places; None without any.
        radius: returns that of the object, Å; called where there are several sets.
    """
    points = [stored.get(query, Points.empty()) for query in sets.queries]
    counts = dict(zip(sets.user_sessions, map(len, points), strict=True))
    is_annotated = any(query in stored for query in sets.queries)
    digest = digest_sets(stored, sets)
    if len(points) == 1 and rejected is None:
        kept = [np.ones(len(points[0]), bool)]
        union = points[0] if is_annotated else None
        return UnitedPicks(union, kept, NOWHERE, PickCounts(counts), digest)
    others = [] if rejected is None else [q for q in rejected.queries if q in stored]
    places = np.concatenate([NOWHERE, *(stored[q].positions for q in others)])
    last_user = sets.queries[-1].user_id
    by_last = [[q.user_id == f"{last_user}{REJECTED_SUFFIX}"] * len(stored[q]) for q in others]
    is_by_last = np.array([*itertools.chain(*by_last)], bool)
    positions = [one.positions for one in points]
    union = unite(positions, places, radius=radius(), is_by_last=is_by_last)
    kept = [one[keep] for one, keep in zip(points, union.kept, strict=True)]
    scores = [one.scores_or_ones for one in kept]
    remain = union.is_rejected
    all_points = Points(np.concatenate([one.positions for one in kept]), np.concatenate(scores))
    return UnitedPicks(
        all_points if is_annotated else None,
        union.kept,
        places[remain],
        PickCounts(
            counts,
            num_merged=union.num_merged,
            num_rejected=union.num_rejected,
            num_places=int(remain.sum()),
            num_contradicted=int((~remain).sum()),
        ),
        digest,
        "" if rejected is None else digest_sets(stored, rejected),
    )


def read_target_attributes(run: Run, target: SegmentationQuery | None) -> Mapping[str, Any]:
    """Read what is stored with a run's target; return {} where it has none."""
    if target is None or not run.segmentations_of(target):
        return {}
    return run.segmentation_attributes(target)


def first_target_attributes(
    runs: Iterable[Run], target: SegmentationQuery | None
) -> Mapping[str, Any]:
    """Read what is stored with the target of the first run that has one; return {} without any."""
    return next((found for run in runs if (found := read_target_attributes(run, target))), {})


def read_true_picks(
    run: Run, sets: Mapping[str, PickSets], target: SegmentationQuery | None
) -> dict[str, Points]:
    """Read the particles of a run; leave out those in voxels that its target leaves unknown.

    Args:
        run: of the picks.
        sets: object name -> sets of its picks; objects that the run lacks are left out.
        target: of the run; it may have none.
    """
    attributes = read_target_attributes(run, target)
    missing = attributes.get("not_annotated", ())
    rejected = {n: PickSets.parse(text) for n, text in attributes.get("rejected", {}).items()}
    annotated = {name: of_object for name, of_object in sets.items() if name not in missing}
    united = read_united_picks(run, annotated, rejected, attributes.get("object_radii", {}))
    picks = {name: one.points for name, one in united.items() if one.points is not None}
    if target is None or not has_unknown_voxels(attributes):
        return picks
    labels, grid, _ = run.read_segmentation(target)
    return drop_unknown(picks, labels, grid)
