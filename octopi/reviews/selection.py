"""Choose the places that a person should look at, the most informative first."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from octopi.evaluation.matching import neighbours_of
from octopi.geometry import Points, distances_to_nearest
from octopi.picking import log_odds

UNCERTAIN, UNMARKED, DOUBTED = "uncertain", "unmarked", "doubted"
SAME_PLACE = 0.5  # radii within which two points are one place


@dataclass(frozen=True)
class RunToReview:
    """What is known of a run.

    Args:
        name: of the run.
        candidates: object name -> candidates, scored by their chances.
        annotated: object name -> the particles trained on; objects that are not annotated in the
            run are left out.
        decided: object name -> places that the person has decided before.
    """

    name: str
    candidates: Mapping[str, Points]
    annotated: Mapping[str, Points] = field(default_factory=dict)
    decided: Mapping[str, Points] = field(default_factory=dict)

    def expected_mistakes(self, thresholds: Mapping[str, float]) -> float:
        """Estimate how many picks at the thresholds are wrong, and how many are missed."""
        total = 0.0
        for name, points in self.candidates.items():
            chances = _chances(points)
            total += np.where(chances < thresholds[name], chances, 1 - chances).sum()
        return float(total)


@dataclass(frozen=True)
class Card:
    """A place to look at.

    Args:
        run_name: of the run.
        object_name: which is asked about.
        position: Å, x y z.
        chance: that the object is there, as the network says; 0 where it sees no candidate.
        kind: UNCERTAIN, UNMARKED or DOUBTED.
        gain: how much a decision teaches, 0..1.
        other: another object that is likelier there than not, or likelier than this one.
    """

    run_name: str
    object_name: str
    position: tuple[float, float, float]
    chance: float
    kind: str
    gain: float
    other: str | None = None


def choose_cards(
    runs: Sequence[RunToReview],
    radii: Mapping[str, float],
    thresholds: Mapping[str, float],
    num: int,
) -> list[Card]:
    """Choose what to look at, the most informative first, balanced over objects and runs.

    There are three kinds of places. *Uncertain*: the network's chance is near the threshold, above
    or below. *Unmarked*: a confident candidate, where that object is annotated in the run but not
    at that place. *Doubted*: an annotated place whose best candidate is below the threshold.

    With q the chance, shifted in log-odds so that the threshold is at 1/2, an uncertain place gains
    4q(1-q), an unmarked one q, a doubted one 1-q. Of these a candidate has the kind that gains
    most. The k-th place of an object in a run counts its gain divided by k, so that all objects
    and runs get their turn, and those with nothing to learn a short one. A place is shown once,
    with the likeliest other object as a suggestion. Neither the order of the runs nor anything
    random matters.

    Args:
        runs: to choose from.
        radii: object name -> Å.
        thresholds: object name -> chance.
        num: of places at most.
    """
    runs = sorted(runs, key=lambda run: run.name)
    queues = [_cards_of(run, name, radii[name], thresholds[name]) for run in runs for name in radii]
    ranked = [(card.gain / k, card) for queue in queues for k, card in enumerate(queue, start=1)]
    by_name, chosen, shown = {run.name: run for run in runs}, [], {}
    for _, card in sorted(ranked, key=lambda pair: -pair[0]):  # stable: equal ones by run, object
        if len(chosen) == num:
            break
        places = shown.setdefault(card.run_name, [])
        if not any(_is_same_place(card, other, radii) for other in places):
            places.append(card)
            other = _likeliest_other(card, by_name[card.run_name], radii, thresholds)
            chosen.append(replace(card, other=other))
    return chosen


def count_kinds(cards: Sequence[Card]) -> str:
    """Count the cards of each kind, as text."""
    counts = Counter(card.kind for card in cards)
    return ", ".join(f"{counts[kind]} {kind}" for kind in (UNCERTAIN, UNMARKED, DOUBTED))


def _cards_of(run: RunToReview, name: str, radius: float, threshold: float) -> list[Card]:
    """Return all places of an object in a run, the most informative first."""
    points = run.candidates.get(name, Points.empty())
    q = _shift(_chances(points), threshold)
    gains, kinds, keep = 4 * q * (1 - q), np.full(len(q), UNCERTAIN), np.ones(len(q), bool)
    annotated = run.annotated.get(name)
    doubted: Iterator[Card] = iter(())
    if annotated is not None:
        is_unmarked = (q >= 0.5) & (q > gains)
        gains, kinds = np.where(is_unmarked, q, gains), np.where(is_unmarked, UNMARKED, kinds)
        keep = distances_to_nearest(points.positions, annotated.positions) > SAME_PLACE * radius
        doubted = _doubted(run, name, radius, threshold)
    cards = [
        Card(run.name, name, _place(points, i), float(_chances(points)[i]), str(kinds[i]), gain)
        for i, gain in enumerate(gains.tolist())
        if keep[i]
    ]
    cards = sorted([*cards, *doubted], key=lambda card: (-card.gain, card.position))
    places = Points(np.array([card.position for card in cards]))
    decided = run.decided.get(name, Points.empty())
    is_new = distances_to_nearest(places.positions, decided.positions) > SAME_PLACE * radius
    return [card for card, new in zip(cards, is_new, strict=True) if new]


def _doubted(run: RunToReview, name: str, radius: float, threshold: float) -> Iterator[Card]:
    """Yield the annotated places of an object where no candidate reaches the threshold."""
    points, annotated = run.candidates.get(name, Points.empty()), run.annotated[name]
    chances = _chances(points)
    nearby = neighbours_of(annotated.positions, points.positions, radius)
    for i, indices in enumerate(nearby):
        best = float(chances[indices].max(initial=0))
        if best < threshold:
            gain = float(1 - _shift(np.array([best]), threshold)[0])
            yield Card(run.name, name, _place(annotated, i), best, DOUBTED, gain)


def _likeliest_other(
    card: Card, run: RunToReview, radii: Mapping[str, float], thresholds: Mapping[str, float]
) -> str | None:
    """Return the object beside the card's own that a likely candidate at its place is of."""
    card_point, likely = np.array([card.position]), {}
    for name, points in run.candidates.items():
        if name != card.object_name:
            reach = SAME_PLACE * max(radii[name], radii[card.object_name])
            (nearby,) = neighbours_of(card_point, points.positions, reach)
            chance = float(_chances(points)[nearby].max(initial=0))
            if chance >= min(thresholds[name], max(card.chance, 0.01)):
                likely[name] = chance
    return max(likely, key=likely.__getitem__, default=None)


def _is_same_place(card: Card, other: Card, radii: Mapping[str, float]) -> bool:
    distance = np.linalg.norm(np.subtract(card.position, other.position))
    return bool(distance <= SAME_PLACE * max(radii[card.object_name], radii[other.object_name]))


def _shift(chances: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """Shift chances in log-odds so that the threshold is at 1/2."""
    return 1 / (1 + np.exp(log_odds(threshold) - log_odds(chances)))


def _chances(points: Points) -> NDArray[np.float64]:
    return points.scores_or_ones.astype(np.float64)


def _place(points: Points, index: int) -> tuple[float, float, float]:
    x, y, z = np.round(points.positions[index], 2).tolist()
    return x, y, z
