import numpy as np
import pytest

from octopi.geometry import Grid
from octopi.localization.watershed import Watershed

SPACING = 10.0


def watershed(**changes):
    settings = {
        "threshold": 0.5,
        "min_scale": 0.3,
        "max_scale": 1.5,
        "min_distance": 0.8,
        "min_score": 0.0,
    }
    return Watershed(**{**settings, **changes})


def balls(shape, centres, radius, stretch=1.0):
    zyx = np.moveaxis(np.indices(shape), 0, -1)
    inside = [
        np.linalg.norm((zyx - centre) / (stretch, 1, 1), axis=-1) <= radius for centre in centres
    ]
    return np.where(np.any(inside, axis=0), 255, 0).astype(np.uint8)


def found_in(scores, *, radius, **changes):
    grid = Grid.cubic(scores.shape, SPACING)
    points = watershed(**changes)(scores[None], grid=grid, radii={"a": radius})["a"]
    return grid.to_voxels(points.positions), points.scores


def nearest(centres, voxels):
    return np.linalg.norm(np.asarray(centres)[:, None] - voxels, axis=-1).min(axis=1)


def test_touching_balls_are_split():
    centres = [(15, 15, 12), (15, 15, 24)]
    voxels, scores = found_in(balls((30, 30, 38), centres, 7), radius=70.0)
    assert len(voxels) == 2
    assert nearest(centres, voxels).max() < 0.5
    assert scores.tolist() == [1, 1]


def test_a_chain_longer_than_a_tile_falls_into_its_balls():
    centres = [(8, 8, 8 + 9 * i) for i in range(14)]
    voxels, _ = found_in(balls((17, 17, 134), centres, 5), radius=50.0)
    assert len(voxels) == 14
    assert nearest(centres, voxels).max() < 0.6


def test_every_ball_of_two_voxels_radius_is_found():
    rng = np.random.default_rng(0)
    lattice = np.stack(np.meshgrid(*(np.arange(5, 45, 8),) * 3, indexing="ij"), -1).reshape(-1, 3)
    centres = lattice + rng.uniform(-1, 1, lattice.shape)
    voxels, _ = found_in(balls((48, 48, 48), centres, 2), radius=20.0)
    assert len(voxels) == len(centres)
    assert nearest(centres, voxels).max() < 0.6


@pytest.mark.parametrize(("size", "stretch"), [(8.4, 1.0), (7.2, 1.6)])
def test_a_mask_that_is_wide_or_drawn_out_along_z_is_one_pick(size, stretch):
    centre = (20.3, 15, 15)
    voxels, _ = found_in(balls((40, 30, 30), [centre], size, stretch), radius=80.0)
    assert len(voxels) == 1
    assert nearest([centre], voxels).max() < 0.5


def test_rough_masks_are_one_pick_each():
    rng = np.random.default_rng(3)
    zyx = np.moveaxis(np.indices((32, 32, 32)), 0, -1) - 15.5
    away = np.linalg.norm(zyx, axis=-1)
    ways = rng.normal(size=(12, 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    for _ in range(10):
        bumps = np.cos(zyx / np.maximum(away, 1)[..., None] @ ways.T * 4) @ rng.normal(size=12)
        surface = 8 * (1 + 0.25 * bumps / np.abs(bumps).max())
        voxels, _ = found_in(np.where(away < surface, 255, 0).astype(np.uint8), radius=80.0)
        assert len(voxels) == 1
        assert nearest([(15.5,) * 3], voxels).max() < 2.5


def test_balls_cut_by_the_border_are_kept():
    voxels, _ = found_in(balls((24, 24, 24), [(0, 0, 12), (12, 23, 1)], 5), radius=50.0)
    assert len(voxels) == 2


def test_a_volume_that_is_all_mask_is_no_pick():
    assert len(found_in(np.full((70, 24, 24), 255, dtype=np.uint8), radius=50.0)[0]) == 0


def test_regions_of_an_unlikely_size_are_no_picks():
    shape = (20, 20, 80)
    scores = balls(shape, [(10, 10, 10)], 1) + balls(shape, [(10, 10, 30)], 4)
    scores[:, :, 50:] = 255
    voxels, _ = found_in(scores, radius=40.0, min_distance=5.0)
    assert voxels == pytest.approx(np.array([[10.0, 10, 30]]))


def test_the_score_is_the_mean_inside_and_the_best_comes_first():
    scores = np.zeros((12, 12, 40), dtype=np.float32)
    scores[4:8, 4:8, 4:8] = 0.6
    scores[4:8, 4:8, 20:24] = 0.9
    scores[4:8, 4:8, 32:36] = 0.51
    voxels, values = found_in(scores, radius=30.0, min_score=0.55)
    assert values == pytest.approx([0.9, 0.6])
    assert voxels == pytest.approx(np.array([[5.5, 5.5, 21.5], [5.5, 5.5, 5.5]]))


def test_an_empty_map_gives_no_picks():
    assert len(found_in(np.zeros((8, 8, 8), dtype=np.uint8), radius=30.0)[0]) == 0


@pytest.mark.parametrize(
    "changes", [{"threshold": 0.0}, {"min_scale": 2.0}, {"min_distance": 0.0}, {"min_score": 1.5}]
)
def test_a_setting_out_of_its_range_is_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        watershed(**changes)
