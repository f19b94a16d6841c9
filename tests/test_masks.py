import numpy as np
import pytest

from octopi.errors import DataError
from octopi.geometry import Grid
from octopi.masks import align_mask, coarsen_mask, fit_mask


def test_a_mask_that_is_cropped_or_padded_keeps_its_first_voxel():
    mask = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    aligned = align_mask(mask, (4, 3, 2))
    assert aligned.shape == (4, 3, 2)
    assert np.array_equal(aligned[:3], mask[:, :, :2])
    assert not aligned[3].any()


def test_a_mask_of_another_tomogram_is_refused_with_both_shapes():
    with pytest.raises(DataError, match=r"3×3×3.*3×6×3"):
        align_mask(np.zeros((3, 3, 3), bool), (3, 6, 3))


def test_a_thin_sheet_survives_coarsening():
    mask = np.zeros((16, 16, 16), bool)
    mask[7] = True
    coarse = coarsen_mask(mask, (8, 8, 8))
    assert coarse.any(axis=0).all()
    assert coarse.any(axis=(1, 2)).sum() == 1


@pytest.mark.parametrize("start", range(4, 12))
def test_a_tilted_sheet_of_one_voxel_survives_coarsening_without_holes(start):
    mask = np.zeros((32, 32, 32), bool)
    mask[start + np.arange(32) // 3, np.arange(32)] = True
    coarse = coarsen_mask(mask, (12, 12, 12))
    assert coarse.any(axis=0).all()
    assert coarse.any(axis=0).sum() <= coarse.sum() <= 2 * 12 * 12


@pytest.mark.parametrize(("factor", "thickness"), [(2, 2), (2, 3), (2, 7), (4, 4), (4, 9)])
def test_a_slab_keeps_its_thickness_and_place_in_coarsening(factor, thickness):
    counts, shifts = [], []
    for start in range(8, 8 + 2 * factor):
        mask = np.zeros((16 * factor, 4, 4), bool)
        mask[start : start + thickness] = True
        (sections,) = np.nonzero(coarsen_mask(mask, (16, 4, 4))[:, 2, 2])
        counts.append(len(sections))
        shifts.append(factor * sections.mean() - (start + (thickness - 1) / 2))
    assert np.mean(counts) == pytest.approx(thickness / factor)
    assert np.abs(shifts).max() <= factor / 2
    assert np.mean(shifts) == pytest.approx(0, abs=0.3)


def test_a_ball_keeps_its_volume_and_centre_in_coarsening():
    z, y, x = np.indices((60, 60, 60))
    ball = (z - 30) ** 2 + (y - 28) ** 2 + (x - 31) ** 2 <= 20**2
    coarse = coarsen_mask(ball, (24, 24, 24))
    assert coarse.sum() * 2.5**3 == pytest.approx(ball.sum(), rel=0.02)
    centre = np.argwhere(coarse).mean(axis=0) * 2.5
    assert centre == pytest.approx([30, 28, 31], abs=0.1)


def test_a_mask_of_the_tomogram_fits_the_coarser_grid_of_a_target():
    mask = np.zeros((16, 16, 17), np.uint8)
    mask[7] = 1
    target_grid = Grid.cubic((8, 8, 8), 20.0)
    fitted = fit_mask(mask, Grid.cubic(mask.shape, 10.0), target_grid)
    assert np.array_equal(fitted, coarsen_mask(mask[:, :, :16], (8, 8, 8)))
    assert np.array_equal(fit_mask(fitted, target_grid, target_grid), fitted)


@pytest.mark.parametrize(
    ("coarse", "shape"),
    [((8, 6, 5), (16, 12, 10)), ((4, 4, 3), (12, 12, 9)), ((5, 7, 4), (12, 17, 10))],
)
def test_a_mask_coarser_than_the_target_leaves_no_holes(coarse, shape):
    grid = Grid.cubic(shape, 10.0)
    mask_grid = grid.with_shape(coarse)
    assert fit_mask(np.ones(coarse, np.uint8), mask_grid, grid).all()
    mask = np.random.default_rng(0).integers(0, 2, coarse).astype(np.uint8)
    voxels = np.indices(shape).reshape(3, -1).T * np.array(coarse) / shape
    nearest = np.minimum(np.floor(voxels + 0.5).astype(int), np.array(coarse) - 1)
    expected = mask[tuple(nearest.T)].reshape(shape)
    assert np.array_equal(fit_mask(mask, mask_grid, grid), expected)
