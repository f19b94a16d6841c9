import numpy as np
import pytest

from octopi.geometry import Grid
from octopi.localization.components import Components


def found_in(scores, *, grid=None, radius=30.0, **changes):
    settings = {"threshold": 0.5, "min_scale": 0.4, "max_scale": 1.5, "min_score": 0.0}
    grid = grid or Grid.cubic(scores.shape, 10.0)
    points = Components(**{**settings, **changes})(scores[None], grid=grid, radii={"a": radius})
    return points["a"]


def cubes(*starts, size=4, value=255):
    scores = np.zeros((12, 12, 40), dtype=np.uint8)
    for start in starts:
        scores[4 : 4 + size, 4 : 4 + size, start : start + size] = value
    return scores


def test_each_region_is_a_pick_at_its_centre_in_angstrom():
    grid = Grid((12, 12, 40), (10.0, 9.0, 8.0))
    points = found_in(cubes(4, 20), grid=grid)
    assert points.positions.tolist() == [[44.0, 49.5, 55.0], [172.0, 49.5, 55.0]]


def test_the_score_is_the_mean_inside_and_the_best_comes_first():
    scores = cubes(4, value=153)
    scores[4:8, 4:8, 20:24] = 204
    points = found_in(scores)
    assert points.scores == pytest.approx([0.8, 0.6])
    assert points.positions[0, 0] == 215.0
    assert len(found_in(scores, min_score=0.7)) == 1


def test_the_centre_leans_to_where_the_score_is():
    scores = np.zeros((12, 12, 12), dtype=np.float32)
    scores[4:8, 4:8, 4:6], scores[4:8, 4:8, 6:8] = 0.5, 1.0
    assert found_in(scores).positions[0, 0] > 55.5


def test_a_voxel_at_the_threshold_belongs_to_a_region():
    assert len(found_in(cubes(4, value=128), threshold=128 / 255)) == 1
    assert len(found_in(cubes(4, value=127), threshold=128 / 255)) == 0


def test_specks_and_sheets_are_no_picks():
    scores = cubes(4)
    scores[1, 1, 30] = 255
    scores[:, :, 34:] = 255
    assert len(found_in(scores)) == 1


def test_touching_particles_are_one_region():
    assert len(found_in(cubes(4, 8), max_scale=2.0)) == 1


def test_an_empty_map_gives_no_picks():
    assert len(found_in(np.zeros((4, 4, 4), dtype=np.uint8))) == 0
