"""Thresholds: for each object the score from which a candidate had better be a pick.

A few dozen particles make a jagged curve of F-beta against the threshold, whose highest tooth is
chance. So the chance that a candidate is a particle is first fitted as a smooth function of its
score, and the threshold is the one whose expected F-beta is best.
"""

import functools
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from octopi.evaluation.matching import gains_one_to_one
from octopi.evaluation.scores import Runs, fbeta, pooled_gains
from octopi.geometry import Points

UNKNOWN = 0.5  # the threshold of an object that nothing is known of
NEVER = 1.0  # of one that no candidate ever was
PRIOR = np.array([0.0, 1.0])  # offset and slope of a score that is the probability it claims to be
# How firmly the prior is believed, in inverse variances: the slope's is worth a few particles
# whose scores are undecided, the offset is left to the data.
BELIEF = np.array([0.01, 1.0])
NEWTON_STEPS = 50
EXTREME = 1e-4  # scores nearer to 0 or 1 are taken for this near


def calibrate(
    candidates: Runs,
    truth: Runs,
    *,
    radii: Mapping[str, float],
    tolerance_scale: float,
    beta: float,
) -> dict[str, float]:
    """Object name -> the threshold with the best expected F-beta, pooled over runs.

    It lies mid-way between the scores of two candidates. An object without truth gets 0.5; one
    that is never found, 1.

    Args:
        candidates: run name -> object name -> scored candidates, down to low scores.
        truth: run name -> object name -> particles.
        radii: object name -> Å.
        tolerance_scale: greatest distance of pick and particle, parts of the radius.
        beta: recall weighs β² times precision.
    """
    thresholds = {}
    for name, radius in radii.items():
        found = {run: c.get(name, Points.empty()) for run, c in candidates.items()}
        there = {run: t.get(name, Points.empty()) for run, t in truth.items()}
        total = sum(len(points) for points in there.values())
        scores, gains = pooled_gains(
            found, there, tolerance=tolerance_scale * radius, matcher=gains_one_to_one
        )
        thresholds[name] = best_cut(scores, gains, total, beta) if total else UNKNOWN
    return thresholds


def calibrate_all_betas(
    candidates: Runs,
    truth: Runs,
    *,
    radii: Mapping[str, float],
    weights: Mapping[str, float],
    tolerance_scale: float,
    betas: Iterable[float],
) -> dict[float, dict[str, float]]:
    """β -> object name -> threshold, as `calibrate` chooses it.

    No total counts an object of weight 0, so that more recall of it is worth no false picks: it is
    cut for β = 1 wherever β is greater.
    """
    cut = functools.partial(
        calibrate, candidates, truth, radii=radii, tolerance_scale=tolerance_scale
    )
    cuts = {beta: cut(beta=beta) for beta in dict.fromkeys([*betas, 1.0])}
    uncounted = [name for name in radii if weights.get(name) == 0]
    return {
        beta: held | {name: cuts[min(beta, 1.0)][name] for name in uncounted}
        for beta, held in cuts.items()
    }


def best_cut(
    scores: NDArray[np.float64], gains: NDArray[np.int64], total: int, beta: float
) -> float:
    """The best threshold for candidates, best first, of which some are among `total` particles.

    Args:
        scores: 0..1, best first.
        gains: 1 for a candidate that is a particle, else 0.
        total: number of particles.
        beta: recall weighs β² times precision.
    """
    if not gains.any():
        return NEVER
    num = np.arange(1, len(scores) + 1)
    tp = np.minimum(np.cumsum(chances(scores, gains)), total)
    value = fbeta(np.stack([tp, num - tp, total - tp], axis=-1), beta)
    below = np.append(scores[1:], 0.0)
    value[scores == below] = -1  # no threshold separates equal scores
    best = int(np.argmax(value))
    return float((scores[best] + below[best]) / 2)


def chances(scores: NDArray[np.float64], found: NDArray[np.integer]) -> NDArray[np.float64]:
    """The fitted probability that each candidate is a particle, rising with its score.

    Logistic in the log-odds of the score (Platt 1999), with a prior for a score that is right.

    Args:
        scores: 0..1.
        found: 1 for a candidate that is a particle, else 0.
    """
    odds = logit(np.clip(scores, EXTREME, 1 - EXTREME))
    design = np.stack([np.ones_like(odds), odds], axis=1)
    weights = PRIOR.copy()
    for _ in range(NEWTON_STEPS):
        guess = expit(design @ weights)
        slope = design.T @ (found - guess) - BELIEF * (weights - PRIOR)
        curvature = (design * (guess * (1 - guess))[:, None]).T @ design + np.diag(BELIEF)
        step = np.clip(np.linalg.solve(curvature, slope), -2, 2)
        weights += step
        if np.abs(step).max() < 1e-8:
            break
    return expit(design @ weights)
