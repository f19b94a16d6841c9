"""Calibration: what a score means, and from which chance on a candidate becomes a pick.

With few particles F-beta against threshold is noisy, so its maximum is chance. The probability that
a candidate is a particle is therefore fitted as a smooth function of its score first, and the
threshold is the one with the best expected F-beta.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from octopi.evaluation.chances import AnnotatedShare, fit_complete, fit_partial
from octopi.evaluation.coverage import keep_comparable
from octopi.evaluation.matching import ComparedCandidates, first_hit_one_to_one
from octopi.evaluation.scores import fbeta
from octopi.geometry import PicksByRun, Points
from octopi.picking import DEFAULT_THRESHOLD, Chance, apply_chance, beta_key

THRESHOLD_IF_NEVER_FOUND = 1.0  # of an object none of whose particles is a candidate


@dataclass(frozen=True)
class Calibration:
    """What the scores of each object mean, and from which chance on its candidates are picks.

    Args:
        thresholds: key of a β -> object name -> chance.
        chances: object name -> its chances; an object without particles has none.
        shares: object name -> the share of its particles that seems annotated.
    """

    thresholds: dict[str, dict[str, float]]
    chances: dict[str, Chance]
    shares: dict[str, AnnotatedShare]

    def pick(self, candidates: PicksByRun, beta: float) -> dict[str, dict[str, Points]]:
        """Return the candidates at or above the thresholds for this β, scored by their chances.

        Args:
            candidates: run name -> object name -> candidates, with scores as the network gives.
            beta: one that there are thresholds for.
        """
        thresholds = self.thresholds[beta_key(beta)]
        return {
            run: {
                name: apply_chance(points, self.chances.get(name, Chance())).above(thresholds[name])
                for name, points in by_object.items()
            }
            for run, by_object in candidates.items()
        }


def calibrate(
    candidates: PicksByRun,
    truth: PicksByRun,
    *,
    radii: Mapping[str, float],
    weights: Mapping[str, float],
    tolerance_scale: float,
    betas: Iterable[float],
    partial: Collection[str] = (),
) -> Calibration:
    """Fit the chances of each object and choose its thresholds with the best expected F-beta.

    All runs are pooled; an object counts in those where it is annotated. A threshold lies mid-way
    between two candidates. An object without truth gets 0.5, one that is never found gets 1. No
    total counts an object of weight 0, so more recall of it is not worth false picks: where β is
    above 1 it gets its threshold for β = 1.

    Args:
        candidates: run name -> object name -> scored candidates, down to low scores.
        truth: run name -> object name -> particles; no key where an object is not annotated.
        radii: object name -> Å.
        weights: object name -> its weight in the total.
        tolerance_scale: greatest distance of pick and particle, parts of the radius.
        betas: to choose thresholds for: how much recall outweighs precision.
        partial: objects of whose particles some may not be annotated.
    """
    compared = compare_all(candidates, truth, radii=radii, tolerance_scale=tolerance_scale)
    with_hits = {name: one for name, one in compared.items() if one.hits.any()}
    # What is said to be complete tells nothing of the share of what is not.
    groups = [{n: c for n, c in with_hits.items() if (n in partial) is p} for p in (True, False)]
    fitted = {name: both for group in groups for name, both in fit_partial(group).items()}
    shares = {name: share for name, (_, share) in fitted.items()}
    chances = {
        name: fitted[name][0] if name in partial else fit_complete(one)
        for name, one in with_hits.items()
    }

    def threshold(name: str, beta: float) -> float:
        if not compared[name].num_particles:
            return DEFAULT_THRESHOLD
        if name not in with_hits:
            return THRESHOLD_IF_NEVER_FOUND
        share = shares[name][0] if name in partial else 1.0
        beta = min(beta, 1.0) if weights.get(name) == 0 else beta
        num_particles = with_hits[name].num_particles / share
        return best_threshold(with_hits[name].scores, chances[name], num_particles, beta)

    thresholds = {beta_key(b): {name: threshold(name, b) for name in radii} for b in betas}
    return Calibration(thresholds, chances, shares)


def compare_all(
    candidates: PicksByRun,
    truth: PicksByRun,
    *,
    radii: Mapping[str, float],
    tolerance_scale: float,
) -> dict[str, ComparedCandidates]:
    """Compare the candidates of each object with its annotated particles, the runs pooled.

    Args:
        candidates: run name -> object name -> scored candidates.
        truth: the same of the particles.
        radii: object name -> Å, of the objects to compare.
        tolerance_scale: greatest distance of candidate and particle, parts of the radius.
    """
    coverage = keep_comparable(candidates, truth)
    compared = {}
    for name, radius in radii.items():
        runs = [
            ComparedCandidates.in_run(
                by_object.get(name, Points.empty()),
                coverage.truth[run].get(name, Points.empty()),
                tolerance_scale * radius,
                first_hit_one_to_one,
            )
            for run, by_object in coverage.picks.items()
        ]
        compared[name] = ComparedCandidates.pool(runs)
    return compared


def best_threshold(scores: NDArray, chance: Chance, num_particles: float, beta: float) -> float:
    """Return the threshold with the best expected F-beta of particles, as a chance.

    Args:
        scores: (n,) of candidates, 0..1, best first.
        chance: of the candidates.
        num_particles: those without a candidate included.
        beta: recall weighs β² times precision.
    """
    num = np.arange(1, len(scores) + 1)
    tp = np.minimum(np.cumsum(chance.of(scores)), num_particles)
    value = fbeta(np.stack([tp, num - tp, num_particles - tp], axis=-1), beta)
    below = np.append(scores[1:], 0.0)
    value[scores == below] = -1  # no threshold separates equal scores
    best = int(np.argmax(value))
    return float(chance.of((scores[best] + below[best]) / 2))
