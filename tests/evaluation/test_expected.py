"""What picks can be expected to be worth, from chances alone."""

from dataclasses import asdict

import numpy as np
import pytest
from scipy.special import expit

from octopi.evaluation.calibration import best_threshold
from octopi.evaluation.expected import MIN_PARTICLES, expect, threshold_for
from octopi.evaluation.scores import fbeta
from octopi.picking import Chance

CHANCE = Chance(offset=-0.5, slope=1.4, covariance=[0.04, 0.0, 0.01], found=0.95)


def drawn(rng, num_particles, num_others):
    """Scores whose chances are as CHANCE says at about 200 particles of 1200, and the particles."""
    scores = expit(np.concatenate([rng.normal(2, 2, num_particles), rng.normal(-4, 2, num_others)]))
    return scores, rng.random(len(scores)) < CHANCE.of(scores)


def test_precision_and_recall_lie_in_their_intervals_in_most_tomograms():
    inside = []
    for seed in range(40):
        scores, is_particle = drawn(np.random.default_rng(seed), 200, 1000)
        expected = expect(scores, CHANCE, 0.4)
        picks = CHANCE.of(scores) >= 0.4
        precision = is_particle[picks].mean()
        recall = is_particle[picks].sum() / is_particle.sum() * CHANCE.found
        for value, (low, high) in (
            (precision, expected.precision_interval),
            (recall, expected.recall_interval),
            (is_particle.sum() / CHANCE.found, expected.particles_interval),
        ):
            inside.append(low <= value <= high)
    assert np.mean(inside) > 0.9


def test_the_order_of_candidates_changes_nothing():
    scores, _ = drawn(np.random.default_rng(0), 100, 500)
    mixed = np.random.default_rng(1).permutation(scores)
    assert threshold_for(mixed, CHANCE, 1.0) == threshold_for(scores, CHANCE, 1.0)
    first, second = (asdict(expect(s, CHANCE, 0.3)) for s in (scores, mixed))
    assert first["num_picks"] == second["num_picks"]
    assert first["particles"] == pytest.approx(second["particles"])
    assert first["recall_interval"] == pytest.approx(second["recall_interval"])


@pytest.mark.parametrize("abundance", [0.2, 1.0, 5.0])
def test_a_threshold_by_the_data_is_nearly_the_best_for_what_is_there(abundance):
    rng = np.random.default_rng(2)
    scores, is_particle = drawn(rng, int(400 * abundance), 2000)
    order = np.argsort(-scores)
    tp, num = np.cumsum(is_particle[order]), np.arange(1, len(order) + 1)
    all_f1 = fbeta(np.stack([tp, num - tp, is_particle.sum() - tp], axis=-1), 1.0)
    picks = (CHANCE.of(scores) >= threshold_for(scores, CHANCE, 1.0)).sum()
    assert all_f1[picks - 1] > 0.97 * all_f1.max()


def test_too_few_particles_choose_no_threshold():
    scores = np.full(4, 0.9)
    assert CHANCE.of(scores).sum() < MIN_PARTICLES
    assert threshold_for(scores, CHANCE, 1.0) is None


def test_without_candidates_nothing_is_expected():
    expected = expect(np.zeros(0), CHANCE, 0.5)
    assert (expected.num_picks, expected.particles) == (0, 0)
    assert expected.precision is None
    assert expected.recall is None


def test_the_best_threshold_counts_particles_that_are_no_candidates():
    scores = np.linspace(0.9, 0.1, 50)
    few, many = (best_threshold(scores, CHANCE, num, 1.0) for num in (30, 300))
    assert many <= few
