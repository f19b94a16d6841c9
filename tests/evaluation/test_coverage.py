"""What is compared: objects that were both picked and annotated in a run."""

import numpy as np

from octopi.evaluation.coverage import keep_comparable
from octopi.geometry import Points

ONE, NONE = Points(np.zeros((1, 3))), Points.empty()


def test_an_empty_file_counts_and_a_missing_one_does_not():
    picks = {"a": {"x": NONE, "y": ONE}, "b": {"y": ONE}, "c": {"x": ONE, "z": ONE}}
    truth = {"a": {"x": ONE, "y": NONE}, "b": {"x": ONE, "y": ONE}, "c": {"y": ONE}}
    coverage = keep_comparable(picks, truth)
    assert coverage.truth == {"a": truth["a"], "b": {"y": ONE}, "c": {}}
    assert coverage.picks == {"a": picks["a"], "b": picks["b"], "c": {"z": ONE}}  # z has no truth
    assert coverage.remarks == [
        "x is not scored in 1 of 3 runs that have no picks of it: b.",
        "y is not scored in 1 of 3 runs that have no picks of it: c.",
        "x is not scored in 1 of 3 runs that have no truth of it: c.",
    ]


def test_complete_picks_and_truth_are_compared_as_they_are():
    points = {"a": {"x": ONE}, "b": {"x": NONE}}
    coverage = keep_comparable(points, points)
    assert (coverage.picks, coverage.truth, coverage.remarks) == (points, points, [])
