"""Distances and normals of planes, spheres, ellipsoids and shells, where both are known."""

import numpy as np
import pytest

from octopi.geometry import Grid
from octopi.membranes.surface import Surface, fill_enclosed

SPACING = 10.0
SMOOTHING = 40.0
HALF_VOXEL = 0.5 * SPACING


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def directions(number=150, seed=0):
    return unit(np.random.default_rng(seed).normal(size=(number, 3)))


def degrees_between(first, second):
    return np.degrees(np.arccos(np.clip(np.sum(first * second, axis=1), -1, 1)))


def voxels_of(shape):
    """Return the coordinates x, y, z of all voxels, in voxels."""
    return np.indices(shape)[::-1]


def ball(axes, shape):
    """Make a solid ellipsoid; return its mask and its centre (Å, x y z), between voxels."""
    centre = np.array(shape[::-1]) / 2 + [0.3, -0.2, 0.1]
    parts = [(c - m) / a for c, m, a in zip(voxels_of(shape), centre, axes, strict=True)]
    return sum(p**2 for p in parts) <= 1, centre * SPACING


def on_ellipsoid(axes, number=150):
    """Return points (Å) on an ellipsoid about 0, and its normals there."""
    points = directions(number) * axes
    return points * SPACING, unit(points / np.square(axes))


@pytest.mark.parametrize("distance", [-60.0, 0.0, 12.0, 80.0, 250.0, 2500.0])
@pytest.mark.parametrize(
    ("axes", "shape"), [((20, 20, 20), (50, 52, 54)), ((50, 45, 40), (96, 104, 112))]
)
def test_distances_and_normals_of_an_ellipsoid_are_exact_to_half_a_voxel_and_a_degree(
    axes, shape, distance
):
    mask, centre = ball(axes, shape)
    points, normals = on_ellipsoid(np.array(axes))
    nearest = Surface(mask, Grid.cubic(shape, SPACING), smoothing=SMOOTHING).nearest(
        centre + points + distance * normals
    )
    assert np.abs(nearest.distances - distance).max() < HALF_VOXEL
    assert np.quantile(degrees_between(nearest.normals, normals), 0.99) < 1
    assert degrees_between(nearest.normals, normals).max() < 1.5
    assert set(nearest.labels) == {1}


@pytest.mark.parametrize("normal", [(0, 0, 1), (0.3, -0.5, 0.8), (1, 1, 0), (0.2, 0.1, 1)])
def test_distances_and_normals_of_a_plane(normal):
    normal = unit(np.array([normal], dtype=float))[0]
    shape = (64, 64, 64)
    middle = np.array([31.7, 32.2, 32.4])
    offset = sum(n * (c - m) for n, c, m in zip(normal, voxels_of(shape), middle, strict=True))
    surface = Surface(offset <= 0, Grid.cubic(shape, SPACING), smoothing=SMOOTHING)
    beside = np.cross(normal, directions(60, seed=1)) * 8 * SPACING
    for distance in (-90, -20, 0, 35, 120):
        nearest = surface.nearest(middle * SPACING + beside + distance * normal)
        assert np.abs(nearest.distances - distance).max() < HALF_VOXEL
        assert degrees_between(nearest.normals, normal[None]).max() < 1


@pytest.mark.parametrize("half_thickness", [0.5, 1.5, 2.5])
def test_the_normals_on_both_sides_of_a_thin_shell_point_away_from_it(half_thickness):
    shape, radius = (60, 60, 60), 20
    centre = np.array([30.3, 29.8, 30.1])
    away = np.sqrt(sum((c - m) ** 2 for c, m in zip(voxels_of(shape), centre, strict=True)))
    mask = np.abs(away - radius) <= half_thickness
    surface = Surface(mask, Grid.cubic(shape, SPACING), smoothing=SMOOTHING)
    out = directions()
    for side, sign in ((radius + half_thickness, 1), (radius - half_thickness, -1)):
        nearest = surface.nearest((centre + out * (side + sign * 4)) * SPACING)
        assert np.abs(nearest.distances - 40).max() < HALF_VOXEL
        off = degrees_between(nearest.normals, sign * out)
        assert np.mean(off) < (2 if half_thickness > 1 else 10)
        assert off.max() < 30


def test_the_normal_of_a_plane_nearly_along_the_voxels_is_exact_to_its_angle_to_them():
    # The steps of its mask are 19 voxels apart, which is wider than the smoothing.
    normal = unit(np.array([[0.02, 0.05, 1.0]]))[0]
    offset = sum(n * (c - 31.8) for n, c in zip(normal, voxels_of((64, 64, 64)), strict=True))
    surface = Surface(offset <= 0, Grid.cubic((64, 64, 64), SPACING), smoothing=SMOOTHING)
    beside = np.cross(normal, directions(60, seed=1)) * 8 * SPACING
    nearest = surface.nearest(318.0 + beside + 50 * normal)
    assert np.abs(nearest.distances - 50).max() < HALF_VOXEL
    assert degrees_between(nearest.normals, normal[None]).max() < 3.1  # the normal's own angle to z


def test_distances_beyond_the_end_of_a_plate_are_from_its_rim():
    mask = np.zeros((40, 40, 40), dtype=bool)
    mask[18:22, :, :20] = True  # ends between voxels 19 and 20 of x
    surface = Surface(mask, Grid.cubic(mask.shape, SPACING), smoothing=SMOOTHING)
    away = np.array([[100.0, 0, 0], [200, 0, 150], [80, 0, -60], [1500, 0, 900], [3, 0, 1]])
    end = np.array([195.0, 200, 195])
    nearest = surface.nearest(end + away)
    exact = np.hypot(away[:, 0], np.maximum(np.abs(away[:, 2]) - 20, 0))  # the plate is 40 Å thick
    assert np.abs(nearest.distances - exact).max() < SPACING
    np.testing.assert_allclose(np.linalg.norm(nearest.normals, axis=1), 1)


def test_voxel_spacings_may_differ_between_axes():
    shape = (40, 60, 60)
    grid = Grid(shape, (15.0, 10.0, 10.0))
    z, y, x = np.indices(shape) * np.reshape(grid.spacing, (3, 1, 1, 1))
    centre = np.array([300.0, 296.0, 303.0])
    mask = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 <= 200**2
    out = directions()
    nearest = Surface(mask, grid, smoothing=SMOOTHING).nearest(centre + 260 * out)
    assert np.abs(nearest.distances - 60).max() < 7.5
    assert degrees_between(nearest.normals, out).max() < 2


def test_the_label_of_the_nearest_part_is_returned():
    mask = np.zeros((20, 20, 40), dtype=np.uint8)
    mask[8:12, 8:12, 4:10] = 3
    mask[8:12, 8:12, 30:36] = 7
    surface = Surface(mask, Grid.cubic(mask.shape, SPACING), smoothing=0)
    assert list(surface.nearest(np.array([[140, 100, 100], [260, 100, 100]])).labels) == [3, 7]


@pytest.mark.parametrize(("fill", "side"), [(0, np.inf), (1, -np.inf)])
def test_without_a_surface_all_distances_are_infinite(fill, side):
    surface = Surface(np.full((8, 8, 8), fill), Grid.cubic((8, 8, 8), SPACING), smoothing=0)
    assert list(surface.nearest(np.ones((2, 3))).distances) == [side] * 2
    assert len(surface.nearest(np.zeros((0, 3))).normals) == 0


def test_no_positions_give_empty_arrays():
    mask, _ = ball((5, 5, 5), (16, 16, 16))
    nearest = Surface(mask, Grid.cubic(mask.shape, SPACING), smoothing=0).nearest(np.zeros((0, 3)))
    assert nearest.distances.shape == (0,)
    assert nearest.normals.shape == (0, 3)


def test_what_a_shell_encloses_is_filled_also_where_the_volume_cuts_the_shell():
    shape = (30, 60, 60)
    x, y, z = voxels_of(shape)
    complete = np.sqrt((x - 20) ** 2 + (y - 30) ** 2 + (z - 15) ** 2)
    cut = np.sqrt((x - 59) ** 2 + (y - 30) ** 2 + (z - 15) ** 2)
    mask = np.where(np.abs(complete - 10) <= 1.5, 1, 0) + np.where(np.abs(cut - 10) <= 1.5, 2, 0)
    out = fill_enclosed(mask.astype(np.uint8))
    np.testing.assert_array_equal(out == 1, complete <= 11.5)
    np.testing.assert_array_equal(out == 2, cut <= 11.5)


def test_a_mask_that_encloses_nothing_is_unchanged():
    mask, _ = ball((5, 5, 5), (16, 16, 16))
    np.testing.assert_array_equal(fill_enclosed(mask), mask)
