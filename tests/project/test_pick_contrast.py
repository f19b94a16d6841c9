"""The contrast of picks: bright or dark, or not clear."""

import numpy as np
import pytest

from octopi.geometry import Grid
from octopi.project.pick_contrast import PickContrast, clear_sign

GRID = Grid.cubic((24, 40, 48), 10.0)
PICKS = np.array([[100.0, 100, 100], [300, 120, 120], [400, 300, 110], [5000, 0, 0]])


def contrasts(volume, step=100):
    contrast = PickContrast(GRID, {"ball": PICKS}, {"ball": 50.0})
    for y in range(0, 40, step):
        region = (slice(0, 24), slice(y, min(y + step, 40)), slice(0, 48))
        contrast.add(volume[region], region)
    return contrast.by_object()["ball"]


@pytest.mark.parametrize("sign", [1, -1])
def test_the_sign_of_the_contrast_is_that_of_the_objects(sign):
    volume = np.random.default_rng(0).normal(50, 1, GRID.shape)
    z, y, x = np.indices(GRID.shape) * 10
    for centre in PICKS:
        distances = np.hypot(np.hypot(x - centre[0], y - centre[1]), z - centre[2])
        volume[distances <= 50] += 2 * sign
    values = contrasts(volume)
    assert len(values) == 3  # the fourth lies outside
    assert clear_sign(values) == sign
    np.testing.assert_allclose(contrasts(volume, step=7), values)


def test_noise_has_no_clear_contrast():
    volume = np.random.default_rng(0).normal(50, 1, GRID.shape)
    assert clear_sign(contrasts(volume)) == 0
    assert clear_sign(np.array([3.0])) == 0
