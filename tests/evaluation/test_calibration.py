import numpy as np
import pytest

from octopi.evaluation.calibration import FLAT, best_cut, calibrate
from octopi.evaluation.matching import match_one_to_one
from octopi.evaluation.scores import fbeta
from octopi.geometry import Points


def threshold_of(candidates, truth, beta=4.0):
    found = {run: {"a": points} for run, points in candidates.items()}
    there = {run: {"a": points} for run, points in truth.items()}
    return calibrate(found, there, radii={"a": 60.0}, tolerance_scale=0.5, beta=beta)["a"]


def line(num, y=0.0):
    return np.stack([np.arange(num) * 200.0, np.full(num, y), np.zeros(num)], axis=1)


def at(threshold, candidates, truth, beta):
    counts = [
        match_one_to_one(candidates[r].above(threshold).positions, truth[r].positions, 30.0)
        for r in truth
    ]
    return float(fbeta(np.sum(counts, axis=0), beta))


@pytest.mark.parametrize("beta", [1.0, 4.0])
@pytest.mark.parametrize("seed", range(10))
def test_no_other_threshold_is_better_for_all_runs_together(seed, beta):
    rng = np.random.default_rng(seed)
    candidates, truth = {}, {}
    for run in "abc":
        truth[run] = Points(rng.uniform(0, 500, (30, 3)))
        hits = truth[run].positions[:25] + rng.normal(0, 12, (25, 3))
        positions = np.concatenate([hits, rng.uniform(0, 500, (60, 3))])
        scores = np.concatenate([rng.beta(3, 3, 25), rng.beta(1, 4, 60)])
        candidates[run] = Points(positions, np.round(scores, 2))
    got = at(threshold_of(candidates, truth, beta), candidates, truth, beta)
    cuts = np.unique(np.concatenate([p.scores for p in candidates.values()]))
    best = max(at(cut, candidates, truth, beta) for cut in cuts)
    assert best - FLAT <= got <= best


def test_the_cut_lies_midway_between_the_last_kept_and_the_first_dropped():
    positions = np.concatenate([line(4), line(4, 500)])
    scores = [0.9, 0.8, 0.7, 0.6, 0.2, 0.1, 0.1, 0.1]
    cut = threshold_of({"r": Points(positions, scores)}, {"r": Points(line(4))})
    assert cut == pytest.approx(0.4)


def test_where_all_candidates_are_right_the_cut_is_half_the_lowest_score():
    cut = threshold_of({"r": Points(line(3), [0.9, 0.6, 0.5])}, {"r": Points(line(3))})
    assert cut == pytest.approx(0.25)


def test_of_many_cuts_as_good_the_middle_is_taken():
    gains = np.array([1] * 1000 + [0] * 4)
    scores = np.concatenate([np.full(1000, 0.9), [0.7, 0.6, 0.5, 0.4]])
    assert best_cut(scores, gains, 1000, 4.0) == pytest.approx(0.45)


def test_equal_scores_are_never_parted():
    scores, gains = np.array([0.8, 0.5, 0.5, 0.5, 0.2]), np.array([1, 1, 1, 0, 0])
    assert best_cut(scores, gains, 3, 1.0) == pytest.approx(0.35)


def test_an_object_that_is_never_found_is_cut_at_one():
    never = {"r": Points(line(3, 500), [0.9, 0.8, 0.7])}
    assert threshold_of(never, {"r": Points(line(3))}) == 1
    assert threshold_of({}, {"r": Points(line(3))}) == 1


def test_runs_without_candidates_count_as_missed():
    good = Points(line(4), [0.9, 0.8, 0.3, 0.2])
    assert threshold_of({"r": good}, {"r": Points(line(4)), "s": Points(line(9))}) < 0.2
