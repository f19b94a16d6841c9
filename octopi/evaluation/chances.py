"""Chances: how likely a candidate is a particle, where not every particle is annotated.

A candidate of score s is annotated with the probability c · σ(offset + slope · logit s): σ(…) is
its chance of being a particle, and c ≤ 1 the share of the particles that are annotated (Elkan and
Noto 2008, doi:10.1145/1401890.1401920). Shares are learned for each object on a grid, and objects
with few clear particles borrow from the others, since people overlook all objects in a similar way.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, logsumexp

from octopi.evaluation.matching import ComparedCandidates
from octopi.picking import SCORE_CLIP, Chance, log_odds

PRIOR = np.array([0.0, 1.0])  # offset and slope where the score is the chance
# Inverse variances of the prior: the slope's is worth a few particles whose scores are undecided,
# the offset is left to the data.
PRIOR_PRECISION = np.array([0.01, 1.0])
MIN_SLOPE = 0.05  # chances rise with scores
MIN_FOUND = 0.05  # of the particles; fewer tell nothing of how many there are
NEWTON_STEPS = 50
NUM_BINS = 400  # of log-odds, while shares are learned
SHARES = np.append(expit(np.linspace(-4, 3.5, 46)), 1.0)  # that are tried: 2 % to 97 %, and all
COMPLETE = 0.5  # prior probability that everything is annotated
COMPLETE_ALONE = 0.1  # the same of an object where others are incomplete
SPREAD = 0.4  # of the objects' shares around the common one, in log-odds

AnnotatedShare = list[float]  # of an object's particles, 0..1, and the ends of its 95 % interval


def fit_complete(compared: ComparedCandidates) -> Chance:
    """Fit the chances of an object whose particles are all annotated (Platt 1999)."""
    odds = log_odds(compared.scores)
    coefficients, covariance, _ = fit_logistic(odds, compared.hits, np.ones_like(odds), share=1.0)
    return make_chance(compared, coefficients, covariance)


def fit_partial(
    compared: Mapping[str, ComparedCandidates],
) -> dict[str, tuple[Chance, AnnotatedShare]]:
    """Fit chances and shares of objects of whose particles some may not be annotated.

    Args:
        compared: object name -> its candidates.

    Returns:
        object name -> its chance and share; where nothing can tell the share, it is what the other
        objects suggest, or 1.
    """
    if not compared:
        return {}
    fits = {name: _fit_all_shares(one) for name, one in compared.items()}
    posteriors = _share_posteriors(np.array([fit[2] for fit in fits.values()]))
    fitted = {}
    for (name, one), posterior in zip(compared.items(), posteriors, strict=True):
        coefficients, covariances, _ = fits[name]
        # Of the mixture over shares s with probabilities p_s, each a Gaussian with mean m_s and
        # covariance C_s, and m = Σ p_s m_s:  Σ p_s C_s + Σ p_s (m_s - m)(m_s - m)ᵀ
        differences = coefficients - posterior @ coefficients
        covariance = np.einsum("s,sij->ij", posterior, covariances)
        covariance += differences.T @ (differences * posterior[:, None])
        share = float(np.exp(posterior @ np.log(SHARES)))
        at_share = fit_logistic(*count_in_bins(one.scores, one.hits), share=share)[0]
        fitted[name] = (
            make_chance(one, at_share, covariance),
            [
                share,
                min(share, _quantile(posterior, 0.025)),
                max(share, _quantile(posterior, 0.975)),
            ],
        )
    return fitted


def make_chance(
    compared: ComparedCandidates, coefficients: NDArray[np.float64], covariance: NDArray[np.float64]
) -> Chance:
    """Gather what was fitted, and the part of the particles that have a candidate."""
    num_hits, num_particles = float(compared.hits.sum()), compared.num_particles
    found = num_hits / num_particles if num_particles else 1.0
    return Chance(
        offset=float(coefficients[0]),
        slope=float(coefficients[1]),
        covariance=[float(covariance[0, 0]), float(covariance[0, 1]), float(covariance[1, 1])],
        found=min(max(found, MIN_FOUND), 1.0),
    )


def fit_logistic(
    odds: NDArray[np.float64],
    hits: NDArray,
    totals: NDArray,
    *,
    share: float,
    start: NDArray[np.float64] = PRIOR,
    min_slope: float = -np.inf,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Fit offset and slope at a share, with a prior for scores that are the chance already.

    Args:
        odds: (n,) log-odds of scores.
        hits: (n,) number of candidates with these that are annotated.
        totals: (n,) number of candidates with these.
        share: of the particles that are annotated.
        start: offset and slope to begin with.
        min_slope: not to go below; where the fit ends below MIN_SLOPE, it is made again with this.

    Returns:
        Offset and slope (2,), their covariance (2, 2), and the log-likelihood of the share, offset
        and slope integrated out.
    """
    design = np.stack([np.ones_like(odds), odds], axis=1)
    coefficients = start
    precision = np.diag(PRIOR_PRECISION)
    for _ in range(NEWTON_STEPS):
        chance = expit(design @ coefficients)
        missed = (totals - hits) * share * chance / np.maximum(1 - share * chance, 1e-12)
        gradient = design.T @ ((hits - missed) * (1 - chance))
        gradient -= PRIOR_PRECISION * (coefficients - PRIOR)
        information = totals * share * chance * (1 - chance) ** 2
        information = information / np.maximum(1 - share * chance, 1e-12)
        curvature = (design * information[:, None]).T @ design + precision
        step = np.linalg.solve(curvature, gradient)
        if coefficients[1] + step[1] < min_slope:  # the best step that ends there
            step[1] = min_slope - coefficients[1]
            step[0] = (gradient[0] - curvature[0, 1] * step[1]) / curvature[0, 0]
        step = np.clip(step, -2, 2)
        coefficients = coefficients + step
        if np.abs(step).max() < 1e-6:
            break
    if coefficients[1] < MIN_SLOPE > min_slope:
        return fit_logistic(odds, hits, totals, share=share, min_slope=MIN_SLOPE)
    annotated = np.clip(share * expit(design @ coefficients), 1e-300, 1 - 1e-12)
    likelihood = hits @ np.log(annotated) + (totals - hits) @ np.log1p(-annotated)
    likelihood -= 0.5 * PRIOR_PRECISION @ (coefficients - PRIOR) ** 2
    likelihood -= 0.5 * np.linalg.slogdet(curvature)[1]
    return coefficients, np.linalg.inv(curvature), float(likelihood)


def _fit_all_shares(
    compared: ComparedCandidates,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Fit at every share: coefficients (s, 2), covariances (s, 2, 2), log-likelihoods (s,)."""
    odds, hits, totals = count_in_bins(compared.scores, compared.hits)
    fits, start = [], PRIOR
    for share in SHARES[::-1]:  # neighbours have similar fits
        fits.append(fit_logistic(odds, hits, totals, share=share, start=start))
        start = fits[-1][0]
    coefficients, covariances, likelihoods = zip(*fits[::-1], strict=True)
    return np.array(coefficients), np.array(covariances), np.array(likelihoods)


def count_in_bins(
    scores: NDArray, hits: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Count candidates and hits in bins of log-odds.

    Args:
        scores: (n,), 0..1.
        hits: (n,).

    Returns:
        Mean log-odds (b,), hits (b,) and candidates (b,) of the bins that hold any.
    """
    odds = log_odds(scores)
    edge = logit(1 - SCORE_CLIP)
    index = np.minimum(((odds + edge) / (2 * edge) * NUM_BINS).astype(int), NUM_BINS - 1)
    totals = np.bincount(index, minlength=NUM_BINS)
    used = totals > 0
    sums = np.bincount(index, weights=odds, minlength=NUM_BINS)
    hits = np.bincount(index, weights=hits, minlength=NUM_BINS)
    return sums[used] / totals[used], hits[used], totals[used]


def _share_posteriors(likelihoods: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of every share for every object (k, s), shared between objects.

    The objects' shares scatter around a common one; with a probability of COMPLETE all are 1.

    Args:
        likelihoods: logarithms (k, s).
    """
    positions = logit(SHARES[:-1])
    around = np.exp(-(((positions[None] - positions[:, None]) / SPREAD) ** 2) / 2)
    around /= around.sum(axis=1, keepdims=True)
    num = len(SHARES)
    conditional = np.zeros((num, num))  # common share, the object's share
    conditional[:-1, :-1] = (1 - COMPLETE_ALONE) * around
    conditional[:-1, -1] = COMPLETE_ALONE
    conditional[-1, -1] = 1.0
    prior = np.append(np.full(num - 1, (1 - COMPLETE) / (num - 1)), COMPLETE)
    with np.errstate(divide="ignore"):
        log_conditional, log_prior = np.log(conditional), np.log(prior)
    # (k, common share): the likelihood of an object, its own share summed out
    evidence = np.asarray(logsumexp(likelihoods[:, None] + log_conditional, axis=2))
    posteriors = np.empty_like(likelihoods)
    for k, likelihood in enumerate(likelihoods):
        common = log_prior + evidence.sum(axis=0) - evidence[k]  # what the other objects tell
        joint = likelihood + logsumexp(common[:, None] + log_conditional, axis=0)
        posteriors[k] = np.exp(joint - logsumexp(joint))
    return posteriors


def _quantile(posterior: NDArray[np.float64], level: float) -> float:
    """Return the share below which a part of the probability lies."""
    index = int(np.searchsorted(np.cumsum(posterior), level))
    return float(SHARES[min(index, len(SHARES) - 1)])
