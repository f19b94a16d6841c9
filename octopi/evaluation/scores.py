"""Scores of picks against the truth: per object, pooled over runs, with bootstrap intervals."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from octopi.evaluation.matching import (
    Matcher,
    finders_czii,
    finders_one_to_one,
    gains_czii,
    gains_one_to_one,
    match_czii,
    match_one_to_one,
)
from octopi.evaluation.report import Interval, Report, Score
from octopi.geometry import Points

Runs = Mapping[str, Mapping[str, Points]]


class Scorer(ABC):
    """Matches picks with truth by the rule of a subclass and pools the counts of all runs.

    Args:
        tolerance_scale: greatest distance of pick and particle, parts of the object's radius.
        beta: recall weighs β² times precision.
        num_resamples: how often the runs are resampled for the intervals.
        seed: of the resampling.
    """

    def __init__(
        self, *, tolerance_scale: float, beta: float, num_resamples: int, seed: int
    ) -> None:
        if not tolerance_scale > 0 or not beta > 0 or num_resamples < 0:
            raise ValueError(
                "Need tolerance_scale > 0, beta > 0 and num_resamples >= 0, not "
                f"{tolerance_scale}, {beta} and {num_resamples}."
            )
        self.tolerance_scale = tolerance_scale
        self.beta = beta
        self.num_resamples = num_resamples
        self.seed = seed

    @staticmethod
    @abstractmethod
    def count(picks: NDArray, truth: NDArray, tolerance: float) -> tuple[int, int, int]:
        """(tp, fp, fn) of one object in one run; all in Å."""

    @staticmethod
    @abstractmethod
    def matcher(picks: NDArray, truth: NDArray, tolerance: float) -> NDArray[np.int64]:
        """The same rule, pick by pick."""

    @staticmethod
    @abstractmethod
    def finders(picks: NDArray, truth: NDArray, tolerance: float) -> NDArray[np.int64]:
        """The same rule, particle by particle: with which pick it is found, or -1."""

    def __call__(
        self, picks: Runs, truth: Runs, *, radii: Mapping[str, float], weights: Mapping[str, float]
    ) -> Report:
        """The report over every run of either; a run without picks has found nothing.

        Args:
            picks: run name -> object name -> picks.
            truth: the same of the particles.
            radii: object name -> Å; its keys are the objects judged.
            weights: object name -> share in the total.
        """
        names, runs = list(radii), sorted({*picks, *truth})
        counts = np.zeros((len(runs), len(names), 3), dtype=np.int64)
        for i, run in enumerate(runs):
            for j, name in enumerate(names):
                found = picks.get(run, {}).get(name, Points.empty()).positions
                there = truth.get(run, {}).get(name, Points.empty()).positions
                counts[i, j] = self.count(found, there, self.tolerance_scale * radii[name])
        pooled, resampled = counts.sum(axis=0), self._resampled(counts)
        scores = {
            name: _score(pooled[j], resampled[:, j], self.beta, float(weights[name]))
            for j, name in enumerate(names)
        }
        present = (pooled[:, 0] + pooled[:, 2]) > 0
        shares = present * np.array([weights[name] for name in names], dtype=float)
        total, interval = _mean(pooled, resampled, self.beta, shares)
        mean_f1, mean_f1_interval = _mean(pooled, resampled, 1.0, present.astype(float))
        return Report(
            beta=self.beta,
            scores=scores,
            total=total,
            interval=interval,
            mean_f1=mean_f1,
            mean_f1_interval=mean_f1_interval,
            runs={
                run: {name: _triple(counts[i, j]) for j, name in enumerate(names)}
                for i, run in enumerate(runs)
            },
            curves={
                name: pr_curve(
                    {run: found.get(name, Points.empty()) for run, found in picks.items()},
                    {run: there.get(name, Points.empty()) for run, there in truth.items()},
                    tolerance=self.tolerance_scale * radii[name],
                    beta=self.beta,
                    matcher=self.matcher,
                )
                for name in names
            },
        )

    def _resampled(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Pooled counts (resamples, objects, 3) of runs drawn with replacement.

        None at all from fewer than two runs: they tell nothing of how runs differ.
        """
        num = len(counts)
        if num < 2:
            return np.zeros((0, *counts.shape[1:]), dtype=np.int64)
        rng = np.random.default_rng(self.seed)
        times = rng.multinomial(num, np.full(num, 1 / num), size=self.num_resamples)
        return np.einsum("br,rok->bok", times, counts)


def _triple(counts: NDArray[np.int64]) -> tuple[int, int, int]:
    tp, fp, fn = (int(n) for n in counts)
    return tp, fp, fn


def _score(
    counts: NDArray[np.int64], resampled: NDArray[np.int64], beta: float, weight: float
) -> Score:
    tp, fp, fn = _triple(counts)
    if tp + fn == 0:
        return Score(tp, fp, fn, None, None, None, None, None, weight, {})
    value = {name: float(v) for name, v in _statistics(counts, beta).items()}
    spread = {name: _interval(v) for name, v in _statistics(resampled, beta).items()}
    interval = spread.pop("fbeta")
    intervals = {name: held for name, held in spread.items() if held is not None}
    return Score(tp, fp, fn, **value, interval=interval, weight=weight, intervals=intervals)


def _statistics(counts: NDArray[np.int64], beta: float) -> dict[str, NDArray[np.float64]]:
    """What is told of counts (…, 3) = tp, fp, fn, by name; NaN where there is no truth."""
    tp, fp, fn = np.moveaxis(counts, -1, 0)
    there = tp + fn > 0
    return {
        "precision": np.where(there, tp / np.where(tp + fp, tp + fp, 1), math.nan),
        "recall": np.where(there, tp / np.where(there, tp + fn, 1), math.nan),
        "fbeta": fbeta(counts, beta),
        "f1": fbeta(counts, 1),
    }


def _mean(
    pooled: NDArray[np.int64],
    resampled: NDArray[np.int64],
    beta: float,
    shares: NDArray[np.float64],
) -> tuple[float | None, Interval | None]:
    """The weighted mean F-beta of objects and its interval.

    Args:
        pooled: counts (objects, 3).
        resampled: counts (resamples, objects, 3).
        beta: recall weighs β² times precision.
        shares: weight of each object, 0 for one without truth.
    """
    if shares.sum() == 0:
        return None, None
    held = shares > 0
    total = float(np.average(fbeta(pooled, beta)[held], weights=shares[held]))
    # A resample may miss every run with an object: its weight goes to the others.
    each = fbeta(resampled, beta)
    weights = np.where(np.isnan(each), 0, shares)
    norm = weights.sum(axis=1)
    sums = (np.nan_to_num(each) * weights).sum(axis=1)
    return total, _interval(sums[norm > 0] / norm[norm > 0])


def _interval(values: NDArray[np.float64]) -> Interval | None:
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def fbeta(counts: NDArray[np.integer], beta: float) -> NDArray[np.float64]:
    """F-beta of counts (…, 3) = tp, fp, fn; NaN where there is no truth."""
    tp, fp, fn = np.moveaxis(np.asarray(counts, dtype=float), -1, 0)
    b2 = beta * beta
    with np.errstate(invalid="ignore", divide="ignore"):
        value = (1 + b2) * tp / ((1 + b2) * tp + b2 * fn + fp)
    return np.where(tp + fn > 0, value, math.nan)


class Matched(Scorer):
    """One pick finds at most one particle, and one particle counts for at most one pick."""

    count = staticmethod(match_one_to_one)
    matcher = staticmethod(gains_one_to_one)
    finders = staticmethod(finders_one_to_one)


class Czii(Scorer):
    """The rule of the CZII cryo-ET object identification challenge, to the bit."""

    count = staticmethod(match_czii)
    matcher = staticmethod(gains_czii)
    finders = staticmethod(finders_czii)


def pr_curve(
    picks: Mapping[str, Points],
    truth: Mapping[str, Points],
    *,
    tolerance: float,
    beta: float,
    matcher: Matcher,
) -> dict[str, list[float]]:
    """Precision, recall and F-beta of one object at every score threshold, best score first.

    Args:
        picks: run name -> scored picks; those without scores count as certain.
        truth: run name -> particles.
        tolerance: Å.
        beta: recall weighs β² times precision.
        matcher: the rule.
    """
    scores, gains = pooled_gains(picks, truth, tolerance=tolerance, matcher=matcher)
    there = sum(len(points) for points in truth.values())
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True)) if len(scores) else []
    tp = np.cumsum(gains)[last] if len(scores) else np.zeros(0, dtype=np.int64)
    num = np.asarray(last, dtype=np.int64) + 1
    counts = np.stack([tp, num - tp, there - tp], axis=-1)
    value = fbeta(counts, beta) if there else np.full(len(tp), math.nan)
    return {
        "threshold": [float(s) for s in scores[last]] if len(scores) else [],
        "precision": [float(p) for p in tp / np.maximum(num, 1)],
        "recall": [float(r) for r in tp / there] if there else [],
        "fbeta": [float(v) for v in value] if there else [],
    }


def pooled_gains(
    picks: Mapping[str, Points],
    truth: Mapping[str, Points],
    *,
    tolerance: float,
    matcher: Matcher,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scores of all runs' picks, best first, and what each adds to the particles found."""
    scores, gains = [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
    for run, points in picks.items():
        own = np.ones(len(points)) if points.scores is None else points.scores.astype(float)
        order = np.argsort(-own, kind="stable")
        there = truth.get(run, Points.empty()).positions
        scores.append(own[order])
        gains.append(matcher(points.positions[order], there, tolerance))
    every, added = np.concatenate(scores), np.concatenate(gains)
    order = np.argsort(-every, kind="stable")
    return every[order], added[order]
