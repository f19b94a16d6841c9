"""Thresholds that hold on tomograms they were not chosen on, also where picks are missing."""

import numpy as np
import pytest

from octopi.evaluation import calibration
from octopi.evaluation.chances import fit_complete
from octopi.evaluation.matching import ComparedCandidates
from octopi.evaluation.scores import fbeta
from octopi.geometry import Points

ONE = {"radii": {"a": 60.0}, "weights": {"a": 1.0}, "tolerance_scale": 0.5}


def calibrate_one(candidates, truth, beta=4.0, **settings):
    found = {run: {"a": points} for run, points in candidates.items()}
    there = {run: {"a": points} for run, points in truth.items()}
    return calibration.calibrate(found, there, **ONE, betas=[beta], **settings)


def threshold_of(candidates, truth, beta=4.0):
    (thresholds,) = calibrate_one(candidates, truth, beta).thresholds.values()
    return thresholds["a"]


def best_score(scores, hits, num_particles, beta):
    """The threshold that calibration chooses, as a score of the network."""
    chance = fit_complete(ComparedCandidates(scores, hits, num_particles))
    return chance.to_score(calibration.best_threshold(scores, chance, num_particles, beta))


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
        cut = best_score(scores, found, 25, beta)
        smooth.append(fbeta_at(cut, *everywhere, 20_000, beta))
        tooth = highest_tooth(scores, found, 25, beta)
        jagged.append(fbeta_at(tooth, *everywhere, 20_000, beta))
    assert np.mean(smooth) > np.mean(jagged)
    assert np.min(smooth) > np.min(jagged)


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_with_many_particles_the_threshold_is_nearly_the_best_there_is(beta):
    scores, found = drawn(np.random.default_rng(1), 5000)
    best = fbeta_at(highest_tooth(scores[::50], found[::50], 100, beta), scores, found, 5000, beta)
    got = fbeta_at(best_score(scores, found, 5000, beta), scores, found, 5000, beta)
    assert got > best - 0.01


def test_the_more_recall_weighs_the_lower_the_threshold():
    scores, found = drawn(np.random.default_rng(2), 200)
    cuts = [best_score(scores, found, 200, beta) for beta in (0.5, 1.0, 2.0, 4.0)]
    assert cuts == sorted(cuts, reverse=True)
    assert cuts[0] > cuts[-1]


def test_a_threshold_separates_clearly_right_from_clearly_wrong_candidates():
    positions = np.concatenate([line(20), line(20, 500)])
    scores = [*np.linspace(0.95, 0.8, 20), *np.linspace(0.02, 0.01, 20)]
    cut = threshold_of({"r": Points(positions, scores)}, {"r": Points(line(20))}, beta=1.0)
    assert 0.02 < cut < 0.8


def test_where_all_candidates_are_right_the_threshold_is_half_the_lowest_score():
    found = calibrate_one({"r": Points(line(3), [0.9, 0.6, 0.5])}, {"r": Points(line(3))})
    assert found.chances["a"].to_score(found.thresholds["4"]["a"]) == pytest.approx(0.25)


def test_no_threshold_separates_equal_scores():
    scores, gains = np.array([0.8, 0.5, 0.5, 0.5, 0.2]), np.array([1, 1, 1, 0, 0])
    assert best_score(scores, gains, 3, 1.0) in (pytest.approx(0.65), pytest.approx(0.35), 0.1)


def test_the_threshold_of_an_object_that_is_never_found_is_one():
    never = {"r": Points(line(3, 500), [0.9, 0.8, 0.7])}
    assert threshold_of(never, {"r": Points(line(3))}) == 1


def test_the_threshold_of_an_object_without_truth_is_the_default():
    assert threshold_of({"r": Points(line(3), [0.9, 0.8, 0.7])}, {"r": Points.empty()}) == 0.5


def test_an_object_that_no_total_counts_gets_the_threshold_for_beta_one():
    rng = np.random.default_rng(2)
    scores, found = drawn(rng, 60)
    places = np.where(found[:, None] == 1, 0.0, 5000.0) + line(len(scores))
    truth = {"run": dict.fromkeys("ab", Points(places[found == 1]))}
    candidates = {"run": dict.fromkeys("ab", Points(places, scores))}
    settings = {"radii": {"a": 60.0, "b": 60.0}, "tolerance_scale": 0.5}
    cuts = calibration.calibrate(
        candidates, truth, **settings, weights={"a": 1.0, "b": 0.0}, betas=[0.5, 1.0, 2.0, 4.0]
    ).thresholds
    counted, uncounted = ([cuts[beta][name] for beta in ("0.5", "1", "2", "4")] for name in "ab")
    assert counted[0] > counted[1] > counted[2] > counted[3]
    assert uncounted == [counted[0], counted[1], counted[1], counted[1]]


def thinned(rng, keep):
    """Candidates of 300 particles and 900 others, the particles, and those that are annotated."""
    scores, found = drawn(rng, 300)
    places = np.where(found[:, None] == 1, 0.0, 5000.0) + line(len(scores))
    particles = Points(places[found == 1])
    return Points(places, scores), particles, particles[rng.random(300) < keep]


def test_where_picks_are_missing_the_threshold_is_that_of_complete_picks():
    candidates, particles, annotated = thinned(np.random.default_rng(4), 0.3)
    complete = threshold_of({"r": candidates}, {"r": particles}, 1.0)
    partial = calibrate_one({"r": candidates}, {"r": annotated}, 1.0, partial={"a"})
    mistaken = calibrate_one({"r": candidates}, {"r": annotated}, 1.0)
    assert abs(partial.thresholds["1"]["a"] - complete) < 0.1
    score = mistaken.chances["a"].to_score(mistaken.thresholds["1"]["a"])
    assert abs(score - partial.chances["a"].to_score(partial.thresholds["1"]["a"])) > 0.05


def test_an_object_counts_only_in_the_runs_where_it_is_annotated():
    candidates, particles, _ = thinned(np.random.default_rng(5), 1.0)
    found, there = {"r": {"a": candidates}}, {"r": {"a": particles}}
    alone = calibration.calibrate(found, there, **ONE, betas=[1.0])
    with_other = calibration.calibrate(
        {**found, "not annotated": {"a": candidates}},
        {**there, "not annotated": {}},
        **ONE,
        betas=[1.0],
    )
    assert with_other == alone


def test_picks_are_scored_by_their_chances():
    candidates, particles, _ = thinned(np.random.default_rng(6), 1.0)
    result = calibrate_one({"r": candidates}, {"r": particles}, 1.0)
    picks = result.pick({"r": {"a": candidates}}, 1.0)["r"]["a"]
    assert picks.scores.min() >= result.thresholds["1"]["a"]
    assert picks.scores.mean() == pytest.approx(
        (picks.positions[:, 1] == 0).mean(), abs=0.05
    )  # particles lie at y = 0
