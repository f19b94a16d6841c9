"""Scores against a truth of which a part is missing."""

import numpy as np
import pytest

from octopi.evaluation.partial import estimate_scores
from octopi.evaluation.scores import Matched
from octopi.geometry import Points

SCORER = Matched(tolerance_scale=0.5, beta=1.0, num_resamples=0, seed=0)
ARGUMENTS = {"radii": {"a": 60.0, "b": 60.0}, "weights": {"a": 1.0, "b": 1.0}}


def line(num, y=0.0):
    return Points(np.stack([np.arange(num) * 200.0, np.full(num, y), np.zeros(num)], axis=1))


def report(num_annotated):
    """80 of 100 particles are picked, and 20 places that are none; the first are annotated."""
    picks = Points(np.concatenate([line(80).positions, line(20, 900).positions]))
    picked, annotated = {"r": dict.fromkeys("ab", picks)}, line(100)[:num_annotated]
    truth = {"r": {"a": annotated, "b": line(100)}}
    return SCORER(picked, truth, **ARGUMENTS)


def test_precision_is_that_of_the_particles_and_recall_stays():
    complete, partial = report(100), report(40)
    estimated = estimate_scores(partial, {"a": [0.4, 0.35, 0.45]})
    assert partial.scores["a"].precision == 0.4
    assert estimated.scores["a"].precision == 1.0  # only picks beyond the 40th are unmatched
    assert estimated.scores["a"].recall == partial.scores["a"].recall
    assert estimated.scores["b"] == complete.scores["b"]


def test_the_interval_is_that_of_the_share():
    estimated = estimate_scores(report(40), {"a": [0.5, 0.4, 0.8]})
    score = estimated.scores["a"]
    assert score.precision == pytest.approx(0.8)
    assert score.intervals["precision"] == pytest.approx((0.5, 1.0))
    assert score.interval[0] < score.fbeta < score.interval[1]
    assert score.annotated_share == [0.5, 0.4, 0.8]


def test_the_totals_are_those_of_the_estimates_and_marked():
    partial = report(40)
    estimated = estimate_scores(partial, {"a": [0.5, 0.4, 0.8]})
    scores = [score.fbeta for score in estimated.scores.values()]
    assert estimated.total == pytest.approx(np.mean(scores))
    assert estimated.total > partial.total
    rows = {line.split()[0]: line for line in estimated.table().splitlines()}
    assert "~0.800" in rows["a"]
    assert "~" not in rows["b"]
    assert "~" in rows["weighted"]


def test_without_a_truth_nothing_is_estimated():
    nothing = SCORER({"r": {"a": line(3)}}, {"r": {}}, **ARGUMENTS)
    assert estimate_scores(nothing, {"a": [1.0, 1.0, 1.0]}).scores["a"].precision is None
