"""Picks split by a plane at z = 95 Å, below which is the inside."""

import numpy as np
import pytest

from octopi.geometry import Grid, Points
from octopi.membranes.split import (
    PickGroup,
    pair_picks,
    rotations_to_normals,
    split_by_distance,
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


def test_each_distance_is_on_one_side():
    distances = np.array([-np.inf, -31, -30, 0, 100, 101, np.inf])
    sides = split_by_distance(distances, (-30, 100))
    assert {side: np.flatnonzero(mask).tolist() for side, mask in sides.items()} == {
        "inside": [0, 1],
        "near": [2, 3, 4],
        "outside": [5, 6],
    }


def test_a_reversed_range_is_refused():
    with pytest.raises(ValueError, match="smaller distance comes first"):
        split_by_distance(np.zeros(1), (1, 0))


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
