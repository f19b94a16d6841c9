"""Picks split by a plane at z = 95 Å, below which is the inside, and pairs on a line."""

import numpy as np
import pytest

from octopi.geometry import Grid, Points
from octopi.membranes.split import (
    PickGroup,
    find_pairs,
    pair_picks,
    rotations_to_normals,
    split_picks,
)
from octopi.membranes.surface import Surface

HEIGHTS = np.array([15.0, 90, 105, 185])
POINTS = Points(
    np.column_stack([[100.0, 80, 120, 100], [100.0] * 4, HEIGHTS]), [0.1, 0.2, 0.4, 0.8]
)
FLIPPED = np.tile(np.diag([1.0, -1, -1]), (4, 1, 1))


@pytest.fixture
def surface():
    mask = np.zeros((20, 20, 20), dtype=np.uint8)
    mask[:10] = 5
    return Surface(mask, Grid.cubic(mask.shape, 10.0), smoothing=0)


def heights(group):
    return group.points.positions[:, 2].tolist()


def test_picks_are_split_with_their_scores_labels_and_orientations(surface):
    groups = split_picks(PickGroup(POINTS, FLIPPED), surface, (-20, 20), orient=False)
    assert {side: heights(group) for side, group in groups.items()} == {
        "inside": [15],
        "near": [90, 105],
        "outside": [185],
    }
    np.testing.assert_allclose(groups["near"].points.scores, [0.2, 0.4])
    np.testing.assert_array_equal(groups["near"].orientations, FLIPPED[:2])
    np.testing.assert_array_equal(groups["near"].labels, [5, 5])


def test_only_near_picks_are_turned_to_the_surface(surface):
    groups = split_picks(PickGroup(POINTS, FLIPPED), surface, (-20, 20), orient=True)
    np.testing.assert_allclose(groups["near"].orientations, [np.eye(3)] * 2, atol=1e-6)
    np.testing.assert_array_equal(groups["outside"].orientations, FLIPPED[:1])


def test_a_pair_has_a_middle_and_two_ends(surface):
    near = PickGroup(POINTS[1:3], None, labels=np.array([5, 5]))
    groups = pair_picks(near, (0, 50), surface)
    assert heights(groups["middle"]) == [97.5]
    assert heights(groups["ends"]) == [90, 105]
    np.testing.assert_allclose(groups["middle"].orientations, [np.eye(3)], atol=1e-6)
    assert pair_picks(near, (0, 50), None)["middle"].orientations is None


def test_a_pick_just_beyond_either_end_of_the_range_is_not_near(surface):
    groups = split_picks(PickGroup(POINTS, None), surface, (-5.5, 10.5), orient=False)
    assert heights(groups["near"]) == [90, 105]
    groups = split_picks(PickGroup(POINTS, None), surface, (-4.5, 9.5), orient=False)
    assert [len(groups[side].points) for side in ("inside", "near", "outside")] == [2, 0, 2]


def test_a_middle_has_the_mean_score_of_its_pair():
    assert pair_picks(PickGroup(POINTS[1:3], None), (0, 50), None)["middle"].points.scores == (
        pytest.approx([0.3])
    )
    unscored = PickGroup(Points(line(0, 4)), None)
    assert pair_picks(unscored, (0, 50), None)["middle"].points.scores is None
    assert len(pair_picks(unscored, (40, 50), None)["middle"].points) == 0


def test_picks_at_membranes_of_two_labels_make_no_pair():
    near = PickGroup(POINTS[1:3], None, labels=np.array([5, 6]))
    assert len(pair_picks(near, (0, 50), None)["ends"].points) == 0


def test_the_z_axis_is_turned_to_the_normal_by_the_shortest_way():
    normals = np.random.default_rng(0).normal(size=(150, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.concatenate([normals, [[0, 0, 1], [0, 0, -1], [1, 0, 0]]])
    rotations = rotations_to_normals(normals)
    np.testing.assert_allclose(rotations[:, :, 2], normals, atol=1e-12)
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), [np.eye(3)] * len(rotations), atol=1e-9
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1)
    angles = np.arccos(np.clip((np.trace(rotations, axis1=1, axis2=2) - 1) / 2, -1, 1))
    np.testing.assert_allclose(angles, np.arccos(normals[:, 2]), atol=1e-6)


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
