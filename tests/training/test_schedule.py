"""Learning-rate factors."""

import pytest

from octopi.training.schedule import Constant, WarmupCosine


def test_the_rate_rises_then_falls_to_its_floor():
    schedule = WarmupCosine(warmup_steps=4, min_lr_factor=0.1)
    assert [schedule(step=s, progress=0.0) for s in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert schedule(step=9, progress=0.5) == pytest.approx(0.55)
    assert schedule(step=9, progress=1.0) == pytest.approx(0.1)
    assert schedule(step=9, progress=2.0) == pytest.approx(0.1)


def test_a_constant_rate_stays():
    schedule = Constant(warmup_steps=2)
    assert [schedule(step=s, progress=s / 4) for s in range(5)] == [0.5, 1, 1, 1, 1]


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="min_lr_factor"):
        WarmupCosine(warmup_steps=1, min_lr_factor=1.5)
