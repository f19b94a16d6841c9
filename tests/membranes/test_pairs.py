import numpy as np
import pytest

from octopi.geometry import Points
from octopi.membranes.pairs import middles, pairs
from octopi.membranes.split import split_by_distance


def line(*xs):
    return np.array([[x, 0.0, 0.0] for x in xs])


def test_two_within_the_range_are_a_pair():
    assert pairs(line(0, 50, 500, 580), (40, 90)).tolist() == [[0, 1], [2, 3]]
    assert pairs(line(0, 50, 500, 580), (60, 90)).tolist() == [[2, 3]]
    assert pairs(line(0, 50), (50, 50)).tolist() == [[0, 1]]


def test_no_pick_is_in_two_pairs_and_the_nearest_go_first():
    assert pairs(line(0, 60, 110), (0, 100)).tolist() == [[1, 2]]
    assert pairs(line(0, 60, 110, 175), (0, 100)).tolist() == [[1, 2]]
    assert pairs(line(0, 10, 60), (20, 100)).tolist() == [[1, 2]]


def test_only_picks_of_one_label_are_a_pair():
    labels = np.array([1, 2, 1])
    assert pairs(line(0, 50, 80), (0, 100), labels).tolist() == [[0, 2]]


@pytest.mark.parametrize("number", [0, 1])
def test_fewer_than_two_make_none(number):
    assert pairs(np.zeros((number, 3)), (0, 10)).shape == (0, 2)


@pytest.mark.parametrize("apart", [(5, 1), (-1, 3), (0, np.inf), (np.nan, 1)])
def test_a_range_that_is_none_is_refused(apart):
    with pytest.raises(ValueError, match="distance of pairs"):
        pairs(line(0, 1), apart)


def test_the_middle_is_half_way_with_the_mean_score():
    points = Points(line(0, 50, 90), np.array([0.2, 0.6, 1.0]))
    middle = middles(points, np.array([[0, 1]]))
    np.testing.assert_array_equal(middle.positions, line(25))
    np.testing.assert_allclose(middle.scores, [0.4])
    assert middles(Points(line(0, 4)), np.array([[0, 1]])).scores is None
    assert len(middles(points, np.zeros((0, 2), dtype=int))) == 0


def test_every_pick_is_on_one_side():
    split = split_by_distance(np.array([-np.inf, -31, -30, 0, 100, 101, np.inf]), (-30, 100))
    assert {name: np.flatnonzero(keep).tolist() for name, keep in split.items()} == {
        "inside": [0, 1],
        "near": [2, 3, 4],
        "outside": [5, 6],
    }


def test_sides_want_a_range():
    with pytest.raises(ValueError, match="near goes from"):
        split_by_distance(np.zeros(1), (1, 0))
