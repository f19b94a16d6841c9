import numpy as np

from octopi.localization.local_maxima import (
    TILE,
    local_maxima,
    merge_plateaus,
    relative_to,
    suppress_non_maxima,
    tiles,
    with_margin,
)


def test_tiles_cover_every_voxel_once():
    count = np.zeros((3, TILE + 1, 2 * TILE), dtype=int)
    for box in tiles(count.shape):
        count[box] += 1
    assert (count == 1).all()


def test_a_box_relative_to_itself_with_a_margin_is_the_box():
    volume = np.arange(6 * 7 * 8).reshape(6, 7, 8)
    box = (slice(0, 2), slice(3, 5), slice(6, 8))
    wide = with_margin(box, (1, 2, 3), volume.shape)
    assert (volume[wide][relative_to(box, wide)] == volume[box]).all()


def test_a_voxel_with_a_higher_neighbour_is_no_local_maximum():
    field = np.zeros((3, 3, 4))
    field[1, 1, 1], field[2, 2, 2], field[0, 0, 3] = 1, 2, 1
    assert local_maxima(field, field > 0).tolist() == [[0, 0, 3], [2, 2, 2]]


def test_neighbouring_maxima_are_merged_and_others_stay_apart():
    voxels = np.array([[0, 0, 9], [1, 1, 0], [0, 0, 0], [5, 5, 5]])
    middles, heights = merge_plateaus(voxels, np.array([1.0, 3.0, 3.0, 2.0]), (6, 6, 10))
    assert middles.tolist() == [[0.5, 0.5, 0], [0, 0, 9], [5, 5, 5]]
    assert heights.tolist() == [3, 1, 2]


def test_a_point_that_was_dropped_drops_no_other():
    positions = np.array([[0.0, 0, 0], [0.9, 0, 0], [1.8, 0, 0]])
    assert suppress_non_maxima(positions, np.ones(3)).tolist() == [0, 2]


def test_points_at_just_the_reach_both_stay():
    assert suppress_non_maxima(np.array([[0.0, 0, 0], [1, 0, 0]]), np.ones(2)).tolist() == [0, 1]


def test_the_larger_reach_counts_and_points_of_one_group_are_never_too_close():
    positions = np.array([[0.0, 0, 0], [1.5, 0, 0], [3.2, 0, 0]])
    reach = np.array([1.0, 2.0, 1.0])
    assert suppress_non_maxima(positions, reach).tolist() == [0, 2]
    assert suppress_non_maxima(positions, reach, np.array([7, 7, 8])).tolist() == [0, 1]
