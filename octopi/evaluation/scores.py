"""Scores of picks against the truth: per object, pooled over runs, with bootstrap intervals."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.evaluation.matching import ComparedCandidates, first_hit_czii, first_hit_one_to_one
from octopi.evaluation.score_report import Interval, Report, Score
from octopi.geometry import PicksByRun, Points
from octopi.ranges import Beta, Factor, NumResamples, Seed, validated


@validated
@dataclass(kw_only=True)
class Scorer(ABC):
    """Score picks against truth, matched by the rule of a subclass, the counts of all runs pooled.

    Args:
        tolerance_scale: greatest distance of pick and particle, parts of the object's radius.
        beta: recall weighs β² times precision.
        num_resamples: how often the runs are resampled for the intervals.
        seed: of the resampling.
    """

    tolerance_scale: Factor
    beta: Beta
    num_resamples: NumResamples
    seed: Seed

    @staticmethod
    @abstractmethod
    def first_hits(picks: NDArray, truth: NDArray, tolerance: float) -> NDArray[np.int64]:
        """Return the pick that first finds each particle of one object in one run, or -1 (m,).

        Args:
            picks: (n, 3) in Å, best first.
            truth: (m, 3) in Å.
            tolerance: Å.
        """

    def __call__(
        self,
        picks: PicksByRun,
        truth: PicksByRun,
        *,
        radii: Mapping[str, float],
        weights: Mapping[str, float],
    ) -> Report:
        """Score the picks of every run with picks or truth, all runs pooled.

        Args:
            picks: run name -> object name -> picks.
            truth: the same of the particles.
            radii: object name -> Å, of the objects to score.
            weights: object name -> weight in the total.
        """
        names, runs = list(radii), sorted({*picks, *truth})
        compared = [
            [self._compare(picks, truth, run, name, radii[name]) for name in names] for run in runs
        ]
        counts = np.array(
            [[one.counts for one in by_object] for by_object in compared], dtype=np.int64
        ).reshape(len(runs), len(names), 3)
        pooled, resampled = counts.sum(axis=0), self._resample(counts)
        has_truth = (pooled[:, 0] + pooled[:, 2]) > 0
        object_weights = has_truth * np.array([weights[name] for name in names], dtype=float)
        total, interval = _mean(pooled, resampled, self.beta, object_weights)
        mean_f1, mean_f1_interval = _mean(pooled, resampled, 1.0, has_truth.astype(float))
        return Report(
            beta=self.beta,
            scores={
                name: _score(pooled[j], resampled[:, j], self.beta, float(weights[name]))
                for j, name in enumerate(names)
            },
            total=total,
            interval=interval,
            mean_f1=mean_f1,
            mean_f1_interval=mean_f1_interval,
            runs={
                run: dict(zip(names, map(_triple, counts[i]), strict=True))
                for i, run in enumerate(runs)
            },
            curves={
                name: _curve(ComparedCandidates.pool([run[j] for run in compared]), self.beta)
                for j, name in enumerate(names)
            },
        )

    def _compare(
        self, picks: PicksByRun, truth: PicksByRun, run: str, name: str, radius: float
    ) -> ComparedCandidates:
        """Compare picks and particles of one object (radius in Å) in one run."""
        picked, particles = (
            by_run.get(run, {}).get(name, Points.empty()) for by_run in (picks, truth)
        )
        tolerance = self.tolerance_scale * radius
        return ComparedCandidates.in_run(picked, particles, tolerance, self.first_hits)

    def _resample(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Draw runs with replacement and pool their counts (resamples, objects, 3).

        Fewer than two runs give no resamples: they do not show how runs differ.
        """
        num = len(counts)
        if num < 2:
            return np.zeros((0, *counts.shape[1:]), dtype=np.int64)
        rng = np.random.default_rng(self.seed)
        draws = rng.multinomial(num, np.full(num, 1 / num), size=self.num_resamples)
        return np.einsum("br,rok->bok", draws, counts)


def _triple(counts: NDArray[np.int64]) -> tuple[int, int, int]:
    """Convert counts (3,) to integers of Python."""
    tp, fp, fn = (int(n) for n in counts)
    return tp, fp, fn


def _score(
    counts: NDArray[np.int64], resampled: NDArray[np.int64], beta: float, weight: float
) -> Score:
    """Make an object's score from its pooled counts (3,) and resampled counts (resamples, 3)."""
    tp, fp, fn = _triple(counts)
    if tp + fn == 0:
        return Score(tp, fp, fn, None, None, None, None, None, weight, {})
    value: dict[str, Any] = {name: float(v) for name, v in compute_figures(counts, beta).items()}
    spread = {name: interval_of(v) for name, v in compute_figures(resampled, beta).items()}
    interval = spread.pop("fbeta")
    intervals = {name: both for name, both in spread.items() if both is not None}
    return Score(tp, fp, fn, **value, interval=interval, weight=weight, intervals=intervals)


def compute_figures(counts: NDArray[np.int64], beta: float) -> dict[str, NDArray[np.float64]]:
    """Compute the figures of counts (…, 3) = tp, fp, fn, by name; NaN where there is no truth."""
    tp, fp, fn = np.moveaxis(counts, -1, 0)
    has_truth = tp + fn > 0
    return {
        "precision": np.where(has_truth, tp / np.where(tp + fp, tp + fp, 1), math.nan),
        "recall": np.where(has_truth, tp / np.where(has_truth, tp + fn, 1), math.nan),
        "fbeta": fbeta(counts, beta),
        "f1": fbeta(counts, 1),
    }


def _curve(compared: ComparedCandidates, beta: float) -> dict[str, list[float]]:
    """Compute precision, recall and F-beta of one object at every threshold, best score first.

    Returns:
        Lists by the names threshold, precision, recall and fbeta; the last two are empty where
        there is no truth.
    """
    # Equal scores share a threshold, so a curve has a point at the last of them only.
    last = np.flatnonzero(np.diff(compared.scores, append=-np.inf))
    num, tp = last + 1, np.cumsum(compared.hits)[last]
    counts = np.stack([tp, num - tp, compared.num_particles - tp], axis=-1)
    recall, value = np.empty(0), np.empty(0)
    if compared.num_particles:
        recall, value = tp / compared.num_particles, fbeta(counts, beta)
    columns = {"threshold": compared.scores[last], "precision": tp / num}
    columns |= {"recall": recall, "fbeta": value}
    return {name: column.tolist() for name, column in columns.items()}


def _mean(
    pooled: NDArray[np.int64],
    resampled: NDArray[np.int64],
    beta: float,
    object_weights: NDArray[np.float64],
) -> tuple[float | None, Interval | None]:
    """Average F-beta over objects by weight; return it and its 95 % interval.

    Args:
        pooled: counts (objects, 3).
        resampled: counts (resamples, objects, 3).
        beta: recall weighs β² times precision.
        object_weights: (objects,), 0 for one without truth.
    """
    if object_weights.sum() == 0:
        return None, None
    # A resample may miss every run with an object: its weight goes to the others.
    total, means = (weighted_means(fbeta(c, beta), object_weights) for c in (pooled, resampled))
    return float(total), interval_of(means)


def weighted_means(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray:
    """Average values (…, objects) over the objects by weight, without those that are NaN.

    NaN where no object with a weight has a value.
    """
    present = np.where(np.isnan(values), 0, weights)
    norm = present.sum(axis=-1)
    sums = (np.nan_to_num(values) * present).sum(axis=-1)
    return np.divide(sums, norm, out=np.full(norm.shape, math.nan), where=norm > 0)


def interval_of(values: NDArray[np.float64], tail: float = 0.025) -> Interval | None:
    """Return the interval that leaves out a part of the values on each side; None without any.

    Args:
        values: of which those that are NaN are left out.
        tail: the part.
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def fbeta(counts: NDArray, beta: float) -> NDArray[np.float64]:
    """Compute F-beta (…) of counts (…, 3) = tp, fp, fn; NaN where there is no truth."""
    tp, fp, fn = np.moveaxis(np.asarray(counts, dtype=float), -1, 0)
    b2 = beta * beta
    with np.errstate(invalid="ignore", divide="ignore"):
        value = (1 + b2) * tp / ((1 + b2) * tp + b2 * fn + fp)
    return np.where(tp + fn > 0, value, math.nan)


class Matched(Scorer):
    """One pick finds at most one particle, and one particle counts for at most one pick."""

    first_hits = staticmethod(first_hit_one_to_one)


class Czii(Scorer):
    """The rule of the CZII cryo-ET object identification challenge, to the bit."""

    first_hits = staticmethod(first_hit_czii)
