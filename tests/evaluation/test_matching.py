import itertools

import numpy as np
import pytest
from scipy.spatial import KDTree

from octopi.evaluation.matching import count_new_hits, first_hit_czii, first_hit_one_to_one

RULES = [first_hit_czii, first_hit_one_to_one]


def count(rule, picks, truth, tolerance):
    """The counts tp, fp, fn."""
    tp = int((rule(picks, truth, tolerance) >= 0).sum())
    return tp, len(picks) - tp, len(truth) - tp


def official(candidates, references, radius):
    """The challenge's rule, written down again from its description."""
    if len(references) == 0:
        return 0, len(candidates), 0
    if len(candidates) == 0:
        return 0, 0, len(references)
    hits = KDTree(candidates).query_ball_tree(KDTree(references), r=radius)
    tp = len({reference for near in hits for reference in near})
    return tp, len(candidates) - tp, len(references) - tp


def largest_matching(picks, truth, tolerance):
    """By trying every way to hand particles to picks."""
    near = np.linalg.norm(picks[:, None] - truth, axis=2) <= tolerance
    spare = max(0, len(picks) - len(truth))
    near = np.hstack([near, np.zeros((len(picks), spare), dtype=bool)])
    ways = itertools.permutations(range(near.shape[1]), len(picks))
    return max(sum(near[i, j] for i, j in enumerate(way)) for way in ways)


def scattered(rng, num, size):
    return rng.uniform(0, size, (num, 3))


@pytest.mark.parametrize("seed", range(40))
def test_czii_counts_as_the_challenge_does(seed):
    rng = np.random.default_rng(seed)
    size = rng.choice([100, 300, 1000])
    picks, truth = (scattered(rng, rng.integers(0, 200), size) for _ in range(2))
    if seed % 2:  # on a lattice, many distances are the tolerance itself
        picks, truth = np.rint(picks / 10) * 10, np.rint(truth / 10) * 10
    assert count(first_hit_czii, picks, truth, 30.0) == official(picks, truth, 30.0)


def test_a_pick_between_two_particles_finds_both_by_czii_and_one_by_matching():
    truth = np.array([[0.0, 0, 0], [50, 0, 0]])
    pick = np.array([[25.0, 0, 0]])
    assert count(first_hit_czii, pick, truth, 30.0) == (2, -1, 0)
    assert count(first_hit_one_to_one, pick, truth, 30.0) == (1, 0, 1)


@pytest.mark.parametrize("rule", RULES)
def test_a_second_pick_on_a_particle_is_a_false_positive(rule):
    truth = np.array([[0.0, 0, 0]])
    assert count(rule, np.array([[1.0, 0, 0], [2.0, 0, 0]]), truth, 30.0) == (1, 1, 0)


@pytest.mark.parametrize("rule", RULES)
def test_a_pick_at_just_the_tolerance_finds_and_one_beyond_does_not(rule):
    truth = np.zeros((1, 3))
    assert count(rule, np.array([[30.0, 0, 0]]), truth, 30.0) == (1, 0, 0)
    assert count(rule, np.array([[30.001, 0, 0]]), truth, 30.0) == (0, 1, 1)


@pytest.mark.parametrize("rule", RULES)
def test_no_picks_and_no_particles_are_counted_too(rule):
    nothing, three = np.zeros((0, 3)), np.zeros((3, 3))
    assert count(rule, nothing, three, 1.0) == (0, 0, 3)
    assert count(rule, three, nothing, 1.0) == (0, 3, 0)
    assert count(rule, nothing, nothing, 1.0) == (0, 0, 0)
    assert count_new_hits(rule(nothing, three, 1.0), 0).tolist() == []
    assert count_new_hits(rule(three, nothing, 1.0), 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize("seed", range(20))
def test_one_to_one_finds_the_largest_matching(seed):
    rng = np.random.default_rng(seed)
    picks, truth = (scattered(rng, rng.integers(1, 7), 60) for _ in range(2))
    tp, fp, fn = count(first_hit_one_to_one, picks, truth, 30.0)
    assert tp == largest_matching(picks, truth, 30.0)
    assert (fp, fn) == (len(picks) - tp, len(truth) - tp)


def test_a_matched_pick_moves_to_another_particle_for_one_that_has_no_other():
    truth = np.array([[0.0, 0, 0], [20, 0, 0]])
    picks = np.array([[10.0, 0, 0], [-5, 0, 0]])
    assert count(first_hit_one_to_one, picks, truth, 12.0) == (2, 0, 0)
    first_hits = first_hit_one_to_one(picks, truth, 12.0)
    assert count_new_hits(first_hits, 2).tolist() == [1, 1]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("rule", RULES)
def test_a_particle_is_found_from_its_first_hit_on(rule, seed):
    rng = np.random.default_rng(seed)
    picks, truth = (scattered(rng, rng.integers(0, 50), 120) for _ in range(2))
    first_hits = rule(picks, truth, 30.0)
    added = count_new_hits(first_hits, len(picks))
    for num in range(len(picks) + 1):
        tp, _, fn = count(rule, picks[:num], truth, 30.0)
        is_found = (first_hits >= 0) & (first_hits < num)
        assert (is_found.sum(), (~is_found).sum()) == (tp, fn)
        assert added[:num].sum() == tp
