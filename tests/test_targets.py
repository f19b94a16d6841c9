"""The label of each painted voxel follows from its distances to the centres."""

import resource
import tracemalloc

import numpy as np
import pytest

from octopi.errors import SettingError
from octopi.geometry import Grid, Points
from octopi.targets import (
    MAX_REJECTED_LABEL,
    UNKNOWN,
    add_masks,
    check_has_marks,
    drop_unknown,
    mark_rejected,
    paint,
    partial_objects,
    rejected_value,
    target_labels,
)

GRID = Grid.cubic((16, 20, 24), 10.0)


def brute_force(grid, spheres):
    """Label each voxel by the nearest centre whose sphere contains it, from all distances."""
    zyx = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1).reshape(-1, 3)
    best = np.full(len(zyx), np.inf)
    labels = np.zeros(len(zyx), np.uint8)
    for label in sorted(spheres):
        positions, radius = spheres[label]
        for centre in grid.to_voxels(positions):
            distance = np.sqrt((((zyx - centre) * grid.spacing) ** 2).sum(1))
            nearer = (distance <= radius) & (distance < best)
            best[nearer], labels[nearer] = distance[nearer], label
    return labels.reshape(grid.shape)


def test_a_sphere_is_every_voxel_within_its_radius():
    target = paint(GRID, {3: ([[100.0, 80.0, 60.0]], 25.0)})  # voxel z 6, y 8, x 10
    assert target[6, 8, 10] == 3
    assert target[6, 8, 12] == 3  # 20 Å away
    assert target[6, 8, 13] == 0  # 30 Å away
    assert np.count_nonzero(target) == 81  # lattice points within 2.5 of the origin


def test_centres_keep_their_sub_voxel_place():
    centred = paint(GRID, {1: ([[100.0, 80.0, 60.0]], 16.0)})
    shifted = paint(GRID, {1: ([[104.9, 80.0, 60.0]], 16.0)})
    assert centred[6, 8, 9] == centred[6, 8, 11] == 1
    assert shifted[6, 8, 12] == 1
    assert shifted[6, 8, 8] == 0


def test_painting_agrees_with_the_definition_on_crowded_random_spheres():
    rng = np.random.default_rng(3)
    box = np.array([240.0, 200.0, 160.0])
    spheres = {k: (rng.random((15, 3)) * box, r) for k, r in ((1, 22.0), (2, 41.0), (5, 31.0))}
    assert np.array_equal(paint(GRID, spheres), brute_force(GRID, spheres))


def test_thousands_of_centres_in_one_place_take_little_memory():
    centres = 100 + np.random.default_rng(0).random((4000, 3))
    tracemalloc.start()
    target = paint(GRID, {1: (centres, 30.0), 2: ([[100.0, 100.0, 120.0]], 30.0)})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(np.unique(target)) == {0, 1, 2}
    assert peak < 30e6  # a list of all pairs would take 128e6


def test_the_nearer_centre_wins_whatever_the_label_or_the_order():
    big, small = ([[60.0, 80.0, 80.0]], 50.0), ([[100.0, 80.0, 80.0]], 30.0)
    for first, second in ((1, 2), (2, 1)):
        target = paint(GRID, {first: big, second: small})
        again = paint(GRID, {second: small, first: big})
        assert target[8, 8, 7] == first  # 10 Å from the big one, 30 Å from the small one
        assert target[8, 8, 9] == second  # inside both, 10 Å from the small one
        assert np.array_equal(target, again)


def test_a_particle_smaller_than_a_voxel_paints_its_nearest_voxel():
    target = paint(GRID, {1: ([[104.0, 76.0, 64.0]], 1.0)})
    assert np.argwhere(target).tolist() == [[6, 8, 10]]


def test_spheres_are_cut_at_the_border_and_those_far_outside_paint_nothing():
    inside = paint(GRID, {1: ([[0.0, 0.0, 0.0]], 15.0)})
    assert np.count_nonzero(inside) == 7  # the octant of 19 lattice points that is in the volume
    assert paint(GRID, {1: ([[-20.0, 0.0, 0.0]], 25.0)})[0, 0, 0] == 1
    assert not paint(GRID, {1: ([[-500.0, 0.0, 0.0]], 1.0)}).any()


def test_anisotropic_spacing_is_respected():
    target = paint(Grid((9, 9, 9), (20.0, 10.0, 10.0)), {1: ([[40.0, 40.0, 80.0]], 21.0)})
    assert target[5, 4, 4] == target[4, 6, 4] == 1
    assert target[6, 4, 4] == target[4, 7, 4] == 0


@pytest.mark.parametrize(
    ("spheres", "reason"),
    [
        ({0: ([[1.0, 1.0, 1.0]], 5.0)}, "label"),
        ({256: ([[1.0, 1.0, 1.0]], 5.0)}, "label"),
        ({1: ([[1.0, 1.0, 1.0]], -5.0)}, "radius"),
        ({1: ([[1.0, np.nan, 1.0]], 5.0)}, "not numbers"),
    ],
)
def test_labels_radii_and_positions_out_of_range_are_refused(spheres, reason):
    with pytest.raises(ValueError, match=reason):
        paint(GRID, spheres)


def test_no_particles_paint_nothing():
    assert not paint(GRID, {}).any()
    assert not paint(GRID, {1: (np.zeros((0, 3)), 5.0)}).any()


def test_labels_are_consecutive_and_each_object_has_one():
    assert target_labels(["ribosome", "apo"]) == {"ribosome": 1, "apo": 2}
    with pytest.raises(ValueError, match="twice"):
        target_labels(["apo", "ribosome", "apo"])
    with pytest.raises(ValueError, match="254"):
        target_labels([str(i) for i in range(255)])


def test_masks_are_painted_on_background_only():
    target = np.array([[[1, 0, 0]]], np.uint8)
    painted = add_masks(target, {2: np.array([[[1, 1, 0]]]), 3: np.array([[[1, 1, 1]]])})
    assert painted.tolist() == [[[1, 2, 3]]]


def test_painting_a_full_tomogram_takes_little_more_memory_than_the_target():
    grid = Grid.cubic((184, 630, 630), 10.012)
    rng = np.random.default_rng(0)
    box = np.array([630, 630, 184]) * 10.012
    spheres = {k: (rng.random((150, 3)) * box, 0.7 * r) for k, r in enumerate((60, 90, 150), 1)}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    target = paint(grid, spheres)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KB
    assert set(np.unique(target)) == {0, 1, 2, 3}


def test_points_in_unknown_voxels_are_dropped():
    target = np.zeros(GRID.shape, np.uint8)
    target[..., 5:] = UNKNOWN
    positions = np.array([[4.0, 1, 1], [5, 1, 1], [500, 1, 1], [-500, 1, 1]]) * GRID.spacing[0]
    points = {"apo": Points(positions, np.arange(4)), "none": Points.empty()}
    known = drop_unknown(points, target, GRID)
    assert known["apo"].scores.tolist() == [0, 3]
    assert not len(known["none"])


def test_a_rejected_place_outside_what_is_annotated_is_known_for_its_object_alone():
    target = np.full(GRID.shape, rejected_value(1, else_unknown=True), np.uint8)
    points = {name: Points(np.array([[50.0, 50, 50]])) for name in ("apo", "ribosome")}
    known = drop_unknown(points, target, GRID, {"apo": 1, "ribosome": 2})
    assert {name: len(of_object) for name, of_object in known.items()} == {"apo": 1, "ribosome": 0}


def test_annotation_is_partial_for_all_objects_or_by_object():
    names = ["ribosome", "apo"]
    assert partial_objects("complete", names) == []
    assert partial_objects("partial", names) == ["apo", "ribosome"]
    assert partial_objects({"apo": "partial", "ribosome": "complete"}, names) == ["apo"]
    with pytest.raises(SettingError, match="names ribosom,"):
        partial_objects({"ribosom": "partial"}, names)


def test_rejected_places_are_marked_on_background_and_on_what_is_unknown():
    target = paint(GRID, {1: ([(100.0, 50, 50)], 20.0)})
    target[..., 15:] = UNKNOWN
    places = {1: ([(100.0, 60, 50), (200, 50, 50)], 20.0), 2: ([(50.0, 50, 50)], 20.0)}
    marked = mark_rejected(target, GRID, places)
    spheres = paint(GRID, places)
    is_free = np.isin(target, [0, UNKNOWN])
    assert np.array_equal(marked[~is_free], target[~is_free])
    for label in (1, 2):
        for value, mark in (
            (0, rejected_value(label)),
            (UNKNOWN, rejected_value(label, else_unknown=True)),
        ):
            assert np.array_equal(marked == mark, (target == value) & (spheres == label))
    assert (marked[..., 15:] == rejected_value(1, else_unknown=True)).any()
    assert mark_rejected(target, GRID, {1: (np.zeros((0, 3)), 20.0)}) is target


def test_so_many_objects_leave_no_values_for_marks():
    names = [f"object{number}" for number in range(MAX_REJECTED_LABEL + 1)]
    check_has_marks(names, [])
    check_has_marks(names[1:], names[:1])
    with pytest.raises(SettingError, match="up to 84 objects, not 85"):
        check_has_marks(names, names[:1])
