"""Thresholds: for each object the score from which a candidate had better be a pick."""

from collections.abc import Mapping

import numpy as np

from octopi.evaluation.matching import gains_one_to_one
from octopi.evaluation.scores import Runs, fbeta, pooled_gains
from octopi.geometry import Points

FLAT = 0.005  # F-beta this close to the best counts as best: the middle of the plateau is taken


def calibrate(
    candidates: Runs,
    truth: Runs,
    *,
    radii: Mapping[str, float],
    tolerance_scale: float,
    beta: float,
) -> dict[str, float]:
    """Object name -> the threshold with the best F-beta, pooled over runs.

    It lies mid-way between the scores of two candidates and, where many cuts are as good, in the
    middle of them. An object without truth gets 0.5; one that is never found, 1.

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
        thresholds[name] = best_cut(scores, gains, total, beta) if total else 0.5
    return thresholds


def best_cut(scores: np.ndarray, gains: np.ndarray, total: int, beta: float) -> float:
    """The best threshold for candidates, best first, that each add `gains` to `total` particles."""
    if not gains.any():
        return 1.0
    tp = np.cumsum(gains)
    num = np.arange(1, len(tp) + 1)
    value = fbeta(np.stack([tp, num - tp, total - tp], axis=-1), beta)
    below = np.append(scores[1:], 0.0)
    cut = scores > below  # no threshold separates equal scores
    good = cut & (value >= np.max(value[cut]) - FLAT)
    peak = int(np.flatnonzero(cut & (value == np.max(value[cut])))[0])
    lower = upper = peak
    while lower + 1 < len(good) and (good[lower + 1] or not cut[lower + 1]):
        lower += 1
    while upper > 0 and (good[upper - 1] or not cut[upper - 1]):
        upper -= 1
    while not cut[lower]:
        lower -= 1
    return float((scores[upper] + below[lower]) / 2)
