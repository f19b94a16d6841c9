"""Whether the scores of picks are chances."""

import numpy as np
import pytest

from octopi.evaluation.reliability import reliability
from octopi.evaluation.reliability_figure import plot_reliability


def drawn(rng, num, power=1.0):
    """Scores, and whether each pick is right, with the chance score ** power."""
    scores = rng.random(num)
    return scores, (rng.random(num) < scores**power).astype(int)


def test_scores_that_are_chances_have_a_small_error():
    assert reliability(*drawn(np.random.default_rng(0), 20_000)).error < 0.02


def test_scores_that_promise_too_much_have_the_error_of_their_promise():
    found = reliability(*drawn(np.random.default_rng(1), 20_000, power=3.0))
    assert found.error == pytest.approx(0.25, abs=0.03)  # mean of x - x³
    assert all(
        right <= chance + 0.02 for chance, right in zip(found.chance, found.right, strict=True)
    )


def test_picks_that_nobody_annotated_are_counted_through_the_share():
    rng = np.random.default_rng(2)
    scores, right = drawn(rng, 20_000)
    annotated = right * (rng.random(len(right)) < 0.3)
    assert reliability(scores, annotated).error > 0.2
    assert reliability(scores, annotated, share=0.3).error < 0.03


def test_a_pick_that_finds_two_particles_is_right_once():
    assert reliability(np.array([0.95, 0.95]), np.array([2, 1])).right == [1.0]


def test_without_picks_there_is_no_error():
    nothing = reliability(np.zeros(0), np.zeros(0, int))
    assert nothing.error is None
    assert not any(axes.get_visible() for axes in plot_reliability({"ribosome": nothing}, []).axes)


def test_the_diagram_marks_estimates():
    found = reliability(*drawn(np.random.default_rng(0), 50))
    axes = plot_reliability({"apo": found, "ribosome": found}, ["ribosome"]).axes
    assert [f"~{found.error:.3f}" in panel.get_title() for panel in axes] == [False, True]
