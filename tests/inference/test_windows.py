"""Windows tile a volume exactly, and no voxel is believed near a cut."""

import numpy as np
import pytest

from octopi.inference.windows import padded_shape, windows

HALO = (0, 0, 0)
CASES = [
    ((20, 30, 41), (16, 16, 16), (3, 3, 3)),
    ((16, 16, 16), (16, 16, 16), (4, 4, 4)),
    ((17, 100, 33), (16, 32, 32), (2, 8, 5)),
    ((5, 9, 64), (8, 12, 16), (2, 2, 7)),
]


@pytest.mark.parametrize(("shape", "size", "halo"), CASES)
def test_every_voxel_is_kept_exactly_once(shape, size, halo):
    padded, fitted = padded_shape(shape, size, divisor=4, halo=halo)
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
    _, fitted = padded_shape(shape, size, divisor=4, halo=halo)
    for window in windows(shape, fitted, halo=halo):
        for n, h, look, inner in zip(
            shape, halo, window.input_region, window.valid_region, strict=True
        ):
            if look.start > 0:
                assert inner.start >= h
            if look.stop < n:
                assert look.stop - look.start - inner.stop >= h


def test_a_window_longer_than_the_volume_shrinks_to_a_legal_size():
    assert padded_shape((5, 9, 64), (8, 12, 16), divisor=4, halo=HALO) == ([8, 12, 64], [8, 12, 16])
    assert padded_shape((5, 9, 64), (64, 64, 64), divisor=8, halo=HALO) == (
        [8, 16, 64],
        [8, 16, 64],
    )
    assert padded_shape((5, 9, 64), None, divisor=4, halo=HALO) == ([8, 12, 64], [8, 12, 64])


def test_windows_are_as_short_as_their_number_allows():
    shape, halo = (64, 256, 630), (12, 16, 16)
    _, size = padded_shape(shape, (64, 128, 128), divisor=4, halo=halo)
    assert size == [64, 108, 120]
    many = [sum(1 for _ in windows(shape, s, halo=halo)) for s in (size, (64, 128, 128))]
    assert many[0] == many[1] == 21
    _, smaller = padded_shape(shape, (64, 104, 116), divisor=4, halo=halo)
    assert sum(1 for _ in windows(shape, smaller, halo=halo)) > 21
