"""Thresholds that hold on tomograms they were not chosen on."""

import numpy as np
import pytest

from octopi.evaluation.calibration import (
    best_threshold,
    calibrate,
    calibrate_all_betas,
    particle_probabilities,
)
from octopi.evaluation.scores import fbeta
from octopi.geometry import Points


def threshold_of(candidates, truth, beta=4.0):
    found = {run: {"a": points} for run, points in candidates.items()}
    there = {run: {"a": points} for run, points in truth.items()}
    return calibrate(found, there, radii={"a": 60.0}, tolerance_scale=0.5, beta=beta)["a"]


def line(num, y=0.0):
    return np.stack([np.arange(num) * 200.0, np.full(num, y), np.zeros(num)], axis=1)


def drawn(rng, num):
    """Scores, best first, of `num` particles and three times as many others, and which is which."""
    scores = np.concatenate([rng.beta(2.5, 2, num), rng.beta(1, 4, 3 * num)])
    found = np.concatenate([np.ones(num, int), np.zeros(3 * num, int)])
    order = np.argsort(-scores)
    return scores[order], found[order]


def fbeta_at(threshold, scores, found, total, beta):
    kept = scores >= threshold
    tp = int(found[kept].sum())
    return float(fbeta(np.array([tp, kept.sum() - tp, total - tp]), beta))


def highest_tooth(scores, found, total, beta):
    """The threshold that is best for these very candidates."""
    return max(scores, key=lambda cut: fbeta_at(cut, scores, found, total, beta))


@pytest.mark.parametrize("beta", [1.0, 2.0, 4.0])
def test_a_threshold_from_few_particles_does_better_on_others_than_the_best_for_those_few(beta):
    rng = np.random.default_rng(0)
    everywhere = drawn(rng, 20_000)
    smooth, jagged = [], []
    for _ in range(60):
        scores, found = drawn(rng, 25)
        cut = best_threshold(scores, found, 25, beta)
        smooth.append(fbeta_at(cut, *everywhere, 20_000, beta))
        tooth = highest_tooth(scores, found, 25, beta)
        jagged.append(fbeta_at(tooth, *everywhere, 20_000, beta))
    assert np.mean(smooth) > np.mean(jagged)
    assert np.min(smooth) > np.min(jagged)


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_with_many_particles_the_threshold_is_nearly_the_best_there_is(beta):
    scores, found = drawn(np.random.default_rng(1), 5000)
    best = fbeta_at(highest_tooth(scores[::50], found[::50], 100, beta), scores, found, 5000, beta)
    got = fbeta_at(best_threshold(scores, found, 5000, beta), scores, found, 5000, beta)
    assert got > best - 0.01


def test_the_more_recall_weighs_the_lower_the_threshold():
    scores, found = drawn(np.random.default_rng(2), 200)
    cuts = [best_threshold(scores, found, 200, beta) for beta in (0.5, 1.0, 2.0, 4.0)]
    assert cuts == sorted(cuts, reverse=True)
    assert cuts[0] > cuts[-1]


def test_fitted_probabilities_rise_with_the_score_and_add_up_to_the_particles():
    scores, found = drawn(np.random.default_rng(3), 400)
    fitted = particle_probabilities(scores, found)
    assert (np.diff(fitted) <= 0).all()
    assert fitted.sum() == pytest.approx(found.sum(), rel=0.02)


def test_with_few_candidates_the_probability_is_near_the_score():
    scores = np.array([0.9, 0.5, 0.2])
    assert particle_probabilities(scores, np.array([1, 1, 0])) == pytest.approx(scores, abs=0.35)


def test_a_threshold_separates_clearly_right_from_clearly_wrong_candidates():
    positions = np.concatenate([line(20), line(20, 500)])
    scores = [*np.linspace(0.95, 0.8, 20), *np.linspace(0.02, 0.01, 20)]
    cut = threshold_of({"r": Points(positions, scores)}, {"r": Points(line(20))}, beta=1.0)
    assert 0.02 < cut < 0.8


def test_where_all_candidates_are_right_the_threshold_is_half_the_lowest_score():
    cut = threshold_of({"r": Points(line(3), [0.9, 0.6, 0.5])}, {"r": Points(line(3))})
    assert cut == pytest.approx(0.25)


def test_no_threshold_separates_equal_scores():
    scores, gains = np.array([0.8, 0.5, 0.5, 0.5, 0.2]), np.array([1, 1, 1, 0, 0])
    assert best_threshold(scores, gains, 3, 1.0) in (pytest.approx(0.65), pytest.approx(0.35), 0.1)


def test_the_threshold_of_an_object_that_is_never_found_is_one():
    never = {"r": Points(line(3, 500), [0.9, 0.8, 0.7])}
    assert threshold_of(never, {"r": Points(line(3))}) == 1
    assert threshold_of({}, {"r": Points(line(3))}) == 1


def test_the_threshold_of_an_object_without_truth_is_the_default():
    assert threshold_of({"r": Points(line(3), [0.9, 0.8, 0.7])}, {"r": Points.empty()}) == 0.5


def test_an_object_that_no_total_counts_gets_the_threshold_for_beta_one():
    rng = np.random.default_rng(2)
    scores, found = drawn(rng, 60)
    places = np.where(found[:, None] == 1, 0.0, 5000.0) + line(len(scores))
    truth = {"run": dict.fromkeys("ab", Points(places[found == 1]))}
    candidates = {"run": dict.fromkeys("ab", Points(places, scores))}
    settings = {"radii": {"a": 60.0, "b": 60.0}, "tolerance_scale": 0.5}
    cuts = calibrate_all_betas(
        candidates, truth, **settings, weights={"a": 1.0, "b": 0.0}, betas=[0.5, 1.0, 2.0, 4.0]
    )
    counted, uncounted = ([cuts[beta][name] for beta in (0.5, 1, 2, 4)] for name in "ab")
    assert counted[0] > counted[1] > counted[2] > counted[3]
    assert uncounted == [counted[0], counted[1], counted[1], counted[1]]
