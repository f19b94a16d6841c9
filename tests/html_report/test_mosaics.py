"""Pictures of volumes show the voxels at their positions, within the bytes allowed."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from octopi.geometry import Grid, Points
from octopi.html_report.mosaics import (
    MAX_EDGE,
    SCORE_LEVELS,
    particle_gallery,
    score_mosaic,
    tomogram_mosaic,
)


def slices_of(mosaic):
    """Decode the slices of a mosaic: (z, y, x, red green blue)."""
    nz, ny, nx = mosaic.shape
    with Image.open(io.BytesIO(mosaic.picture)) as image:
        sheet = np.asarray(image.convert("RGB"))
    rows = -(-nz // mosaic.columns)
    tiles = sheet.reshape(rows, ny, mosaic.columns, nx, 3).transpose(0, 2, 1, 3, 4)
    return tiles.reshape(-1, ny, nx, 3)[:nz]


def smooth(shape):
    z, y, x = (np.arange(n) for n in shape)
    field = np.sin(z / 3)[:, None, None] + np.cos(y / 7)[:, None] + np.sin(x / 5)
    return field.astype(np.float32)


def test_a_mosaic_holds_the_slices_of_the_tomogram():
    volume = smooth((13, 40, 60))
    mosaic = tomogram_mosaic(volume, Grid.cubic(volume.shape, 10.0), max_bytes=10**6)
    assert mosaic.shape == volume.shape
    slices = slices_of(mosaic)[..., 0].astype(float)
    assert np.corrcoef(slices.ravel(), volume.ravel())[0, 1] > 0.995


def test_a_tomogram_is_binned_until_it_fits_into_the_bytes():
    volume = np.random.default_rng(0).normal(size=(24, 120, 120)).astype(np.float32)
    grid = Grid.cubic(volume.shape, 10.0)
    free = tomogram_mosaic(volume, grid, max_bytes=10**6)
    tight = tomogram_mosaic(volume, grid, max_bytes=8000)
    assert free.shape == volume.shape
    assert len(tight.picture) <= 8000
    assert tight.shape < free.shape


def test_too_few_bytes_are_refused():
    volume = smooth((8, 30, 30))
    with pytest.raises(ValueError, match="too few"):
        tomogram_mosaic(volume, Grid.cubic(volume.shape, 10.0), max_bytes=10)


def test_a_bright_voxel_stays_where_it_is_when_binned():
    grid = Grid.cubic((4, 6, 2 * MAX_EDGE), 10.0)
    volume = np.zeros(grid.shape, dtype=np.float32)
    volume[2:4, 4:6, 100:102] = 1
    mosaic = tomogram_mosaic(volume, grid, max_bytes=10**6)
    assert mosaic.shape == (2, 3, MAX_EDGE)
    z, y, x = np.unravel_index(np.argmax(slices_of(mosaic)[..., 0]), mosaic.shape)
    at = [o + i * s for o, i, s in zip(mosaic.origin, (z, y, x), mosaic.spacing, strict=True)]
    assert at == [25.0, 45.0, 1005.0]


def test_the_highest_score_and_its_object_are_exact():
    scores = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 9)).astype(np.uint8)
    slices = slices_of(score_mosaic(scores, Grid.cubic((5, 7, 9), 10.0), [3, 1]))
    level = np.rint(np.sqrt(scores.max(axis=0) / 255) * SCORE_LEVELS)
    assert np.array_equal(slices[..., 0], level * 17)
    which = np.where(level == 0, 0, np.array([3, 1])[scores.argmax(axis=0)])
    assert np.array_equal(slices[..., 1], which)


@pytest.mark.parametrize(
    "position", [(200.0, 200.0, 100.0), (0.0, 0.0, 0.0), (395.0, 395.0, 195.0)]
)
def test_a_particle_is_in_the_middle_of_its_picture(position):
    grid = Grid.cubic((20, 40, 40), 10.0)
    axes = [np.arange(n) * 10.0 for n in grid.shape]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    x0, y0, z0 = position
    volume = np.exp(-((x - x0) ** 2 + (y - y0) ** 2 + (z - z0) ** 2) / 800).astype(np.float32)
    gallery = particle_gallery(volume, grid, Points(np.array([position])), radius=50.0)
    content = base64.b64decode(gallery["picture"].partition(",")[2])
    with Image.open(io.BytesIO(content)) as image:
        grey = np.asarray(image.convert("L")).astype(float)
    assert grey.shape == (gallery["size"], gallery["size"])
    peak = np.argwhere(grey >= grey.max() - 4).mean(axis=0)
    assert np.abs(peak - (gallery["size"] - 1) / 2).max() < 2.5
