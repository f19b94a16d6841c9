"""Pairs of picks on a line, whose distances are plain to see."""

import numpy as np
import pytest

from octopi.geometry import Points
from octopi.membranes.pairs import find_middles, find_pairs


def line(*xs):
    return np.array([[x, 0.0, 0.0] for x in xs])


def test_two_picks_within_the_range_are_a_pair():
    assert find_pairs(line(0, 50, 500, 580), (40, 90)).tolist() == [[0, 1], [2, 3]]
    assert find_pairs(line(0, 50, 500, 580), (60, 90)).tolist() == [[2, 3]]
    assert find_pairs(line(0, 50), (50, 50)).tolist() == [[0, 1]]


def test_no_pick_is_in_two_pairs_and_the_nearest_are_paired_first():
    assert find_pairs(line(0, 60, 110), (0, 100)).tolist() == [[1, 2]]
    assert find_pairs(line(0, 60, 110, 175), (0, 100)).tolist() == [[1, 2]]
    assert find_pairs(line(0, 10, 60), (20, 100)).tolist() == [[1, 2]]


def test_only_picks_of_the_same_label_are_a_pair():
    labels = np.array([1, 2, 1])
    assert find_pairs(line(0, 50, 80), (0, 100), labels).tolist() == [[0, 2]]


@pytest.mark.parametrize("number", [0, 1])
def test_fewer_than_two_picks_make_no_pair(number):
    assert find_pairs(np.zeros((number, 3)), (0, 10)).shape == (0, 2)


@pytest.mark.parametrize("distance_range", [(5, 1), (-1, 3), (0, np.inf), (np.nan, 1)])
def test_a_reversed_negative_or_infinite_range_is_refused(distance_range):
    with pytest.raises(ValueError, match="distance of pairs"):
        find_pairs(line(0, 1), distance_range)


def test_the_middle_of_a_pair_is_half_way_and_has_the_mean_score():
    points = Points(line(0, 50, 90), np.array([0.2, 0.6, 1.0]))
    middle = find_middles(points, np.array([[0, 1]]))
    np.testing.assert_array_equal(middle.positions, line(25))
    np.testing.assert_allclose(middle.scores, [0.4])
    assert find_middles(Points(line(0, 4)), np.array([[0, 1]])).scores is None
    assert len(find_middles(points, np.zeros((0, 2), dtype=int))) == 0
