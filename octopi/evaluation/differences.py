"""The paired difference of two methods' scores, with a bootstrap interval over runs and seeds.

Both methods are scored on the same runs, in trainings with the same seeds. A resample draws runs
and seeds with replacement, the same for both (Efron and Tibshirani 1993, chapter 8): what makes a
run hard or a seed lucky for both cancels. Few runs vary less in resamples than in truth: the
interval is widened for their number (Hesterberg 2015, doi:10.1080/00031305.2015.1089789).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from octopi.evaluation.score_report import Interval
from octopi.evaluation.scores import fbeta, interval_of, weighted_means

BETTER, WORSE, NONE_SHOWN = "better", "worse", "no difference shown"
OVERALL = "all objects"


@dataclass(frozen=True)
class Difference:
    """The score of a method less that of the base; None = n/a.

    Args:
        base: score of the base, the mean of its seeds.
        method: score of the method, the mean of its seeds.
        interval: of the difference, 95 %; None for a single run.
    """

    base: float | None
    method: float | None
    interval: Interval | None

    @property
    def value(self) -> float | None:
        """How much better the method is."""
        if self.base is None or self.method is None:
            return None
        return self.method - self.base

    @property
    def verdict(self) -> str:
        """What the interval says, in words."""
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return NONE_SHOWN
        return BETTER if self.interval[0] > 0 else WORSE


@dataclass(frozen=True)
class Resampling:
    """How often each run and each seed counts: first once, then in each resample.

    Args:
        runs: (1 + resamples, runs).
        seeds: (1 + resamples, seeds).
    """

    runs: NDArray[np.int64]
    seeds: NDArray[np.int64]

    @classmethod
    def draw(cls, num_runs: int, num_seeds: int, num_resamples: int, seed: int) -> "Resampling":
        """Draw runs and seeds with replacement; fewer than two runs give no resamples."""
        rng = np.random.default_rng(seed)
        size = num_resamples if num_runs > 1 else 0
        runs, seeds = (
            np.vstack([np.ones(n, dtype=np.int64), rng.multinomial(n, np.full(n, 1 / n), size)])
            for n in (num_runs, num_seeds)
        )
        return cls(runs, seeds)


def compare_counts(
    base: NDArray[np.int64],
    method: NDArray[np.int64],
    *,
    beta: float,
    weights: Mapping[str, float],
    resampling: Resampling,
) -> dict[str, Difference]:
    """Compare two methods by F-beta: over all objects, and for each.

    Args:
        base: tp, fp, fn of the base (seeds, runs, objects, 3).
        method: the same of the method.
        beta: recall weighs β² times precision.
        weights: object name -> weight in the mean, in the order of the counts.
        resampling: of the runs and seeds, the same for both.
    """
    object_weights = np.array(list(weights.values()), dtype=float)
    scores = [_scores(counts, beta, object_weights, resampling) for counts in (base, method)]
    tail = expanded_tail(base.shape[1])
    intervals = [interval_of(column[1:], tail) for column in (scores[1] - scores[0]).T]
    return {
        name: Difference(_number(first), _number(second), interval)
        for name, first, second, interval in zip(
            [OVERALL, *weights], scores[0][0], scores[1][0], intervals, strict=True
        )
    }


def expanded_tail(num_runs: int) -> float:
    """Return the part of the resamples beyond each end of a 95 % interval, for so many runs."""
    if num_runs < 2:
        return 0.025
    return float(norm.cdf(math.sqrt(num_runs / (num_runs - 1)) * t.ppf(0.025, num_runs - 1)))


def _scores(
    counts: NDArray[np.int64],
    beta: float,
    object_weights: NDArray[np.float64],
    resampling: Resampling,
) -> NDArray[np.float64]:
    """Compute the mean score over seeds (1 + resamples, 1 + objects), of all objects first."""
    pooled = np.einsum("br,srok->bsok", resampling.runs, counts)
    by_object = fbeta(pooled, beta)
    overall = weighted_means(by_object, object_weights)
    scores = np.concatenate([overall[..., None], by_object], axis=-1)
    shares = resampling.seeds / resampling.seeds.sum(axis=1, keepdims=True)
    return np.einsum("bs,bso->bo", shares, scores)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def stack_counts(
    reports: Sequence[Mapping[str, Mapping[str, tuple[int, int, int]]]],
    run_names: Sequence[str],
    object_names: Sequence[str],
) -> NDArray[np.int64]:
    """Stack counts (seeds, runs, objects, 3) from run name -> object name -> (tp, fp, fn)."""
    return np.array(
        [[[report[run][name] for name in object_names] for run in run_names] for report in reports],
        dtype=np.int64,
    )
