"""Chances: what a score means, and the share of particles that is annotated."""

import numpy as np
import pytest
from scipy.special import expit

from octopi.evaluation.chances import SHARES, fit_complete, fit_partial
from octopi.evaluation.matching import ComparedCandidates

OBJECTS = {"clear": (200, 3.0), "other": (100, 2.0), "faint": (60, -2.0)}  # particles, separation


def simulated(rng, keep, num, separation):
    """Candidates of `num` particles and 1000 others, and which of them are particles."""
    odds = np.concatenate([rng.normal(separation, 1.2, num), rng.normal(-4, 1.5, 1000)])
    is_particle = np.repeat([1, 0], [num, 1000])
    hits = is_particle * (rng.random(len(odds)) < keep)
    order = np.argsort(-odds)
    return ComparedCandidates(expit(odds)[order], hits[order], int(hits.sum())), is_particle[order]


def simulated_objects(seed, keep):
    rng = np.random.default_rng(seed)
    return {name: simulated(rng, keep, *settings) for name, settings in OBJECTS.items()}


def fitted(objects):
    return fit_partial({name: annotated for name, (annotated, _) in objects.items()})


def test_with_complete_annotation_all_shares_are_one():
    for _, (share, _, _) in fitted(simulated_objects(0, 1.0)).values():
        assert share > 0.9


@pytest.mark.parametrize("keep", [0.1, 0.3, 0.6])
def test_the_share_lies_in_its_interval_in_most_cases(keep):
    inside = []
    for seed in range(5):
        for _, (_, low, high) in fitted(simulated_objects(seed, keep)).values():
            inside.append(low <= keep * 1.05 and keep * 0.95 <= high)
    assert np.mean(inside) > 0.85


def test_an_object_of_few_clear_particles_borrows_the_share_of_the_others():
    objects = simulated_objects(1, 0.3)
    together = fitted(objects)["faint"][1]
    alone = fitted({"faint": objects["faint"]})["faint"][1]
    assert together[2] - together[1] < alone[2] - alone[1]
    assert abs(together[0] - 0.3) < 0.15


@pytest.mark.parametrize("keep", [0.3, 1.0])
def test_the_chances_add_up_to_the_particles(keep):
    objects = simulated_objects(2, keep)
    chance, _ = fitted(objects)["clear"]
    annotated, is_particle = objects["clear"]
    assert chance.of(annotated.scores).sum() == pytest.approx(is_particle.sum(), rel=0.15)


def test_chances_rise_with_the_score_and_can_be_inverted():
    annotated, _ = simulated_objects(3, 1.0)["clear"]
    chance = fit_complete(annotated)
    assert (np.diff(chance.of(annotated.scores)) <= 0).all()
    assert chance.of(chance.to_score(0.3)) == pytest.approx(0.3)


def test_with_few_candidates_the_chance_is_near_the_score():
    scores = np.array([0.9, 0.5, 0.2])
    chance = fit_complete(ComparedCandidates(scores, np.array([1, 1, 0]), 2))
    assert chance.of(scores) == pytest.approx(scores, abs=0.35)


def test_without_a_hit_nothing_tells_the_share_and_everything_counts_as_annotated():
    nothing = ComparedCandidates(np.array([0.4, 0.2]), np.zeros(2, int), 3)
    assert fit_partial({"a": nothing})["a"][1][2] == SHARES[-1]


@pytest.mark.parametrize("times", [1, 300])
def test_an_object_that_is_complete_stays_so_beside_others_that_are_not(times):
    rng = np.random.default_rng(5)

    def many(keep, num):
        annotated, _ = simulated(rng, keep, num, 3.0)
        repeated = (np.repeat(values, times) for values in (annotated.scores, annotated.hits))
        return ComparedCandidates(*repeated, annotated.num_particles * times)

    shares = fit_partial({"all": many(1.0, 60), "b": many(0.3, 600), "c": many(0.3, 600)})
    assert shares["all"][1][2] == 1
    assert shares["all"][1][0] > 0.85
    assert shares["b"][1][0] == pytest.approx(0.3, abs=0.05)


def check_laws(compared):
    """Check what holds of any candidates: chances rise within 0..1, and shares are in order."""
    partial, (share, low, high) = fit_partial({"a": compared})["a"]
    assert 0 < low <= share <= high <= 1
    grid = np.array([0, 1e-9, 1e-4, *np.linspace(0.01, 0.99, 50), 1 - 1e-4, 1])
    for chance in (partial, fit_complete(compared)):
        chances = chance.of(grid)
        assert np.isfinite([chance.offset, chance.slope, *chance.covariance]).all()
        assert (np.diff(chances) >= 0).all()
        assert chances.min() >= 0
        assert chances.max() <= 1
        variance, shared, slope_variance = chance.covariance
        assert min(variance, slope_variance, variance * slope_variance - shared**2) > 0
        assert 0 < chance.found <= 1


@pytest.mark.parametrize(
    ("scores", "hits", "num_particles"),
    [
        ([], [], 0),
        ([], [], 5),
        ([1.0], [1], 1),
        ([0.0], [1], 1),
        ([1.0], [0], 1),
        ([1.0] * 50, [1] * 50, 50),
        ([1.0] * 50 + [0.0] * 500, [1] * 20 + [0] * 530, 30),
        ([0.0] * 50, [0] * 49 + [1], 1),
        ([0.5] * 1000, [1] * 300 + [0] * 700, 300),
        ([1.0] * 100 + [0.0] * 100, [0] * 100 + [1] * 100, 100),
    ],
)
def test_the_laws_hold_of_extreme_scores(scores, hits, num_particles):
    check_laws(ComparedCandidates(np.array(scores, float), np.array(hits, int), num_particles))


@pytest.mark.parametrize("seed", range(5))
def test_the_laws_hold_of_random_candidates(seed):
    rng = np.random.default_rng(seed)
    num = int(rng.integers(1, 400))
    scores = np.sort(np.round(rng.beta(*rng.uniform(0.1, 3, 2), num), int(rng.integers(1, 5))))
    hits = (rng.random(num) < rng.random()).astype(int)
    check_laws(ComparedCandidates(scores[::-1], hits, int(hits.sum() + rng.integers(0, 5))))


def test_where_high_scores_are_wrong_the_chances_add_up_nevertheless():
    scores = np.repeat([0.99, 0.5, 0.01], [500, 500, 500])
    hits = np.concatenate([np.arange(500) < num for num in (10, 50, 400)]).astype(int)
    compared = ComparedCandidates(scores, hits, 460)
    chance = fit_complete(compared)
    assert chance.slope == pytest.approx(0.05)
    assert chance.of(scores).sum() == pytest.approx(460, rel=0.01)


def test_candidates_that_occur_twice_weigh_twice():
    compared, _ = simulated_objects(4, 0.5)["clear"]
    twice = [np.repeat(values, 2) for values in (compared.scores, compared.hits)]
    chance, doubled = fit_complete(compared), fit_complete(ComparedCandidates(*twice, 100))
    assert doubled.covariance[0] < 0.6 * chance.covariance[0]
    assert doubled.slope == pytest.approx(chance.slope, rel=0.1)
