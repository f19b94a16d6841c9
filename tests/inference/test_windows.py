"""Windows tile a volume exactly, and no voxel is believed near a cut."""

import itertools
import math

import numpy as np
import pytest

from octopi.config.files import CONF_DIR
from octopi.inference.windows import fit_window, windows
from octopi.system.files import read_yaml

HALO = (0, 0, 0)
CASES = [
    ((20, 30, 41), (16, 16, 16), (3, 3, 3)),
    ((16, 16, 16), (16, 16, 16), (4, 4, 4)),
    ((17, 100, 33), (16, 32, 32), (2, 8, 5)),
    ((5, 9, 64), (8, 12, 16), (2, 2, 7)),
]


@pytest.mark.parametrize(("shape", "size", "halo"), CASES)
def test_every_voxel_is_kept_exactly_once(shape, size, halo):
    fitted = fit_window(shape, size, divisor=4, halo=halo)
    padded = [max(n, w) for n, w in zip(shape, fitted, strict=True)]
    times = np.zeros(shape, int)
    for window in windows(shape, fitted, halo=halo):
        times[window.output_region] += 1
        assert [s.stop - s.start for s in window.input_region] == list(fitted)
        assert all(
            s.start >= 0 and s.stop <= n for s, n in zip(window.input_region, padded, strict=True)
        )
        for look, inner, target in zip(
            window.input_region, window.valid_region, window.output_region, strict=True
        ):
            assert look.start + inner.start == target.start
            assert inner.stop - inner.start == target.stop - target.start
    assert (times == 1).all()


@pytest.mark.parametrize(("shape", "size", "halo"), CASES)
def test_what_is_kept_is_a_halo_away_from_every_inner_border(shape, size, halo):
    fitted = fit_window(shape, size, divisor=4, halo=halo)
    for window in windows(shape, fitted, halo=halo):
        for n, h, look, inner in zip(
            shape, halo, window.input_region, window.valid_region, strict=True
        ):
            if look.start > 0:
                assert inner.start >= h
            if look.stop < n:
                assert look.stop - look.start - inner.stop >= h


def test_a_window_longer_than_the_volume_shrinks_to_a_legal_size():
    assert fit_window((5, 9, 64), (8, 12, 16), divisor=4, halo=HALO) == [8, 12, 16]
    assert fit_window((5, 9, 64), (64, 64, 64), divisor=8, halo=HALO) == [8, 16, 64]
    assert fit_window((5, 9, 64), None, divisor=4, halo=HALO) == [8, 12, 64]


def passes(shape, size, halo):
    """Voxels that go through the network for each voxel of the volume."""
    return sum(1 for _ in windows(shape, size, halo=halo)) * math.prod(size) / math.prod(shape)


@pytest.mark.parametrize(("shape", "limit", "halo"), CASES)
def test_no_window_of_as_many_voxels_covers_the_volume_with_fewer(shape, limit, halo):
    size = fit_window(shape, limit, divisor=4, halo=halo)
    assert math.prod(size) <= math.prod(limit)
    assert all(edge % 4 == 0 for edge in size)
    for edges in itertools.product(*(range(-(-w // 8) * 4, 2 * w + 1, 4) for w in limit)):
        other = [min(edge, -(-n // 4) * 4) for edge, n in zip(edges, shape, strict=True)]
        too_short = any(e <= 2 * h for e, h in zip(edges, halo, strict=True))
        if not too_short and math.prod(other) <= math.prod(limit):
            assert passes(shape, size, halo) <= passes(shape, other, halo)


@pytest.mark.parametrize(
    "shape", [(64, 256, 256), (92, 315, 315), (184, 630, 630), (200, 960, 928), (300, 1000, 1000)]
)
def test_the_default_windows_compute_a_quarter_more_than_the_volume_at_most(shape):
    default = read_yaml(CONF_DIR / "predictor" / "default.yaml")
    limit, halo = default["window_size"], default["halo"]
    size = fit_window(shape, limit, divisor=8, halo=halo)
    assert passes(shape, size, halo) <= 1.25
    assert all(w / 2 <= n <= 2 * w for n, w in zip(size, limit, strict=True))
