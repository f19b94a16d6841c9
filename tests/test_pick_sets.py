"""The union of several sets of picks, less what was rejected."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from octopi.pick_sets import PickCounts, sum_counts, unite

RADIUS = 100.0  # Å: within 50 Å two points are one particle
NOWHERE = np.zeros((0, 3))
# on a lattice, so that points of two sets are often near or equal, and never at 50 Å exactly
COORDINATE = st.integers(-5, 5).map(lambda number: 31.0 * number)
POINTS = st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE), max_size=12).map(
    lambda points: np.array(points, float).reshape(-1, 3)
)


def at(*x):
    """Points on a line, at these x."""
    return np.array([[value, 0.0, 0.0] for value in x]).reshape(-1, 3)


def unite_all(sets, rejected, *, is_by_last=True):
    """Unite sets of which the last is of the user who rejected the places, or of another."""
    by_last = np.full(len(rejected), is_by_last)
    return unite(sets, rejected, radius=RADIUS, is_by_last=by_last)


def united(sets, rejected=NOWHERE):
    """Return the points of the union, by set."""
    union = unite_all(sets, rejected)
    return [points[keep] for points, keep in zip(sets, union.kept, strict=True)]


def spread(points):
    """Keep points of one set that are a radius apart, as particles are."""
    kept = []
    for point in points:
        if all(np.linalg.norm(point - other) >= RADIUS for other in kept):
            kept.append(point)
    return np.array(kept).reshape(-1, 3)


def nearest(points, others):
    return cdist(points, others).min() if len(points) and len(others) else np.inf


@given(st.lists(POINTS, min_size=1, max_size=3), POINTS)
def test_no_two_points_of_different_sets_nor_a_rejected_place_are_near(sets, rejected):
    union = unite_all(sets, rejected)
    parts = united(sets, rejected)
    for number, points in enumerate(parts):
        for others in parts[number + 1 :]:
            assert nearest(points, others) >= RADIUS / 2
        assert nearest(points, rejected[union.is_rejected]) >= RADIUS / 2
    left = sum(map(len, sets)) - sum(map(len, parts))
    assert union.num_merged + union.num_rejected == left


@given(st.lists(POINTS, min_size=2, max_size=3))
def test_all_of_the_last_set_is_kept_and_each_point_left_out_has_one_near_it(sets):
    parts = united(sets)
    assert np.array_equal(parts[-1], sets[-1])
    for number, (points, kept) in enumerate(zip(sets[:-1], parts[:-1], strict=True)):
        later = np.concatenate(sets[number + 1 :])
        for point in points:
            assert (point == kept).all(1).any() == (nearest(point[None], later) >= RADIUS / 2)


@given(POINTS, POINTS)
def test_the_number_of_particles_does_not_depend_on_which_of_two_sets_is_last(first, second):
    first, second = spread(first), spread(second)
    numbers = [sum(map(len, united(sets))) for sets in ([first, second], [second, first])]
    assert numbers[0] == numbers[1]


@given(POINTS, POINTS, POINTS, st.randoms(use_true_random=False))
def test_the_order_within_a_set_does_not_matter(first, second, rejected, random):
    shuffled = list(range(len(first)))
    random.shuffle(shuffled)
    one, other = united([first, second], rejected), united([first[shuffled], second], rejected)
    for points, others in zip(one, other, strict=True):
        assert sorted(map(tuple, points)) == sorted(map(tuple, others))


def test_points_within_one_set_are_never_merged():
    assert len(united([at(0, 10, 20)])[0]) == 3
    assert [len(points) for points in united([NOWHERE, at(0, 10, 20)])] == [0, 3]


def test_a_chain_through_three_sets_is_one_particle_at_the_place_of_the_last():
    assert [points[:, 0].tolist() for points in united([at(0), at(40), at(80)])] == [[], [], [80]]


def test_half_a_radius_is_far_enough():
    assert len(united([at(0), at(50)])[0]) == 1
    assert len(united([at(0), at(49.9)])[0]) == 0


def test_a_rejected_place_takes_away_all_but_the_picks_of_the_last_set():
    union = unite_all([at(0, 200), at(30)], at(0, 200, 400))
    assert [keep.tolist() for keep in union.kept] == [[False, False], [True]]
    assert union.is_rejected.tolist() == [False, True, True]
    assert (union.num_merged, union.num_rejected) == (0, 2)


def test_the_last_set_of_somebody_else_does_not_stand_against_a_rejected_place():
    union = unite_all([at(0, 200), at(30)], at(0, 200, 400), is_by_last=False)
    assert [keep.tolist() for keep in union.kept] == [[False, False], [False]]
    assert union.is_rejected.all()
    assert union.num_rejected == 3


def test_a_rejected_place_takes_away_picks_of_a_set_that_is_alone():
    union = unite_all([at(0, 200)], at(10))
    assert union.kept[0].tolist() == [False, True]
    assert union.is_rejected.tolist() == [True]


@pytest.mark.parametrize("sets", [[NOWHERE], [NOWHERE, NOWHERE]])
def test_sets_without_points_are_united(sets):
    union = unite_all(sets, NOWHERE)
    assert not any(map(len, union.kept))
    assert unite_all(sets, at(1)).is_rejected.all()


def test_counts_say_where_picks_come_from():
    plain = sum_counts(["curation/0"], [PickCounts({"curation/0": 4}), PickCounts({})])
    assert str(plain) == "4 picks of curation/0"
    assert str(sum_counts(["a/1"], [])) == "0 picks of a/1"
    counts = PickCounts(
        {"octopi/1": 30, "curator/1": 12},
        num_merged=8,
        num_rejected=3,
        num_places=2,
        num_contradicted=1,
    )
    assert counts.total == 31
    assert str(counts) == (
        "31 picks (30 of octopi/1, 12 of curator/1, 8 merged, 3 rejected); 2 rejected places; "
        "1 picked again"
    )
