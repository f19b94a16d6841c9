"""Thresholds: for each object the score from which a candidate becomes a pick.

With few particles F-beta against threshold is noisy, so its maximum is chance. The probability that
a candidate is a particle is therefore fitted as a smooth function of its score first, and the
threshold is the one with the best expected F-beta.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from octopi.evaluation.matching import new_hits_one_to_one
from octopi.evaluation.scores import fbeta, pool_hits, select_object
from octopi.geometry import PicksByRun
from octopi.picking import DEFAULT_THRESHOLD

THRESHOLD_IF_NEVER_FOUND = 1.0  # of an object none of whose particles is a candidate
PRIOR = np.array([0.0, 1.0])  # offset and slope where the score is the probability
# Inverse variances of the prior: the slope's is worth a few particles whose scores are undecided,
# the offset is left to the data.
PRIOR_PRECISION = np.array([0.01, 1.0])
NEWTON_STEPS = 50
SCORE_CLIP = 1e-4  # scores nearer than this to 0 or 1 are clipped


def calibrate(
    candidates: PicksByRun,
    truth: PicksByRun,
    *,
    radii: Mapping[str, float],
    tolerance_scale: float,
    beta: float,
) -> dict[str, float]:
    """Choose the threshold with the best expected F-beta for each object, pooled over runs.

    It lies mid-way between the scores of two candidates. An object without truth gets 0.5, one
    that is never found gets 1.

    Args:
        candidates: run name -> object name -> scored candidates, down to low scores.
        truth: run name -> object name -> particles.
        radii: object name -> Å.
        tolerance_scale: greatest distance of pick and particle, parts of the radius.
        beta: recall weighs β² times precision.

    Returns:
        object name -> threshold.
    """
    thresholds = {}
    for name, radius in radii.items():
        picks, particles = select_object(candidates, name), select_object(truth, name)
        num_particles = sum(len(points) for points in particles.values())
        scores, hits = pool_hits(
            picks, particles, tolerance=tolerance_scale * radius, matcher=new_hits_one_to_one
        )
        thresholds[name] = DEFAULT_THRESHOLD
        if num_particles:
            thresholds[name] = best_threshold(scores, hits, num_particles, beta)
    return thresholds


def calibrate_all_betas(
    candidates: PicksByRun,
    truth: PicksByRun,
    *,
    radii: Mapping[str, float],
    weights: Mapping[str, float],
    tolerance_scale: float,
    betas: Iterable[float],
) -> dict[float, dict[str, float]]:
    """Choose the thresholds as `calibrate` does, for several β.

    No total counts an object of weight 0, so more recall of it is not worth false picks: where β is
    above 1 it gets its threshold for β = 1.

    Args:
        candidates: as in `calibrate`.
        truth: as in `calibrate`.
        radii: object name -> Å.
        weights: object name -> its weight in the total.
        tolerance_scale: as in `calibrate`.
        betas: to choose thresholds for; 1 is always added.

    Returns:
        β -> object name -> threshold.
    """
    thresholds_by_beta = {
        beta: calibrate(candidates, truth, radii=radii, tolerance_scale=tolerance_scale, beta=beta)
        for beta in dict.fromkeys([*betas, 1.0])
    }
    uncounted = [name for name in radii if weights.get(name) == 0]
    return {
        beta: thresholds | {name: thresholds_by_beta[min(beta, 1.0)][name] for name in uncounted}
        for beta, thresholds in thresholds_by_beta.items()
    }


def best_threshold(
    scores: NDArray[np.float64], hits: NDArray[np.int64], num_particles: int, beta: float
) -> float:
    """Return the threshold with the best expected F-beta.

    Args:
        scores: (n,) of candidates, 0..1, best first.
        hits: (n,), 1 for a candidate that is a particle, else 0.
        num_particles: those without a candidate included.
        beta: recall weighs β² times precision.
    """
    if not hits.any():
        return THRESHOLD_IF_NEVER_FOUND
    num = np.arange(1, len(scores) + 1)
    tp = np.minimum(np.cumsum(particle_probabilities(scores, hits)), num_particles)
    value = fbeta(np.stack([tp, num - tp, num_particles - tp], axis=-1), beta)
    below = np.append(scores[1:], 0.0)
    value[scores == below] = -1  # no threshold separates equal scores
    best = int(np.argmax(value))
    return float((scores[best] + below[best]) / 2)


def particle_probabilities(
    scores: NDArray[np.float64], is_particle: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Fit the probability (n,) that each candidate is a particle, rising with its score.

    The fit is logistic in the log-odds of the score (Platt 1999), with a prior for scores that are
    the probability already.

    Args:
        scores: (n,), 0..1.
        is_particle: (n,), 1 for a candidate that is a particle, else 0.
    """
    odds = logit(np.clip(scores, SCORE_CLIP, 1 - SCORE_CLIP))
    design = np.stack([np.ones_like(odds), odds], axis=1)
    coefficients = PRIOR.copy()
    for _ in range(NEWTON_STEPS):
        predicted = expit(design @ coefficients)
        slope = design.T @ (is_particle - predicted) - PRIOR_PRECISION * (coefficients - PRIOR)
        curvature = (design * (predicted * (1 - predicted))[:, None]).T @ design + np.diag(
            PRIOR_PRECISION
        )
        step = np.clip(np.linalg.solve(curvature, slope), -2, 2)
        coefficients += step
        if np.abs(step).max() < 1e-8:
            break
    return expit(design @ coefficients)
