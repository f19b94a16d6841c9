"""Paired differences of planted counts, and what their intervals say."""

import numpy as np
import pytest

from octopi.evaluation.differences import (
    BETTER,
    NONE_SHOWN,
    OVERALL,
    WORSE,
    Difference,
    Resampling,
    compare_counts,
    expanded_tail,
)

WEIGHTS = {"apo": 1.0, "ribosome": 3.0}


def plant_counts(hits, *, num_seeds=2, num_runs=6):
    """Return counts of ten particles of each object in each run, so many of which are found."""
    counts = np.zeros((num_seeds, num_runs, len(hits), 3), dtype=np.int64)
    for number, found in enumerate(hits):
        counts[..., number, 0], counts[..., number, 2] = found, 10 - found
    return counts


def compare(base, method, *, beta=1.0, num_resamples=200):
    resampling = Resampling.draw(base.shape[1], base.shape[0], num_resamples, seed=0)
    return compare_counts(base, method, beta=beta, weights=WEIGHTS, resampling=resampling)


def f1(found):
    return 2 * found / (2 * found + 10 - found)


def test_the_difference_is_of_the_scores_by_object_and_by_weight():
    differences = compare(plant_counts([5, 8]), plant_counts([7, 8]))
    assert differences["apo"].value == pytest.approx(f1(7) - f1(5))
    assert differences["ribosome"].value == 0
    assert differences[OVERALL].value == pytest.approx((f1(7) - f1(5)) / 4)


def test_a_difference_of_every_run_and_seed_is_shown_and_has_a_sign():
    worse, better = plant_counts([5, 8]), plant_counts([7, 9])
    assert compare(worse, better)[OVERALL].verdict == BETTER
    assert compare(better, worse)[OVERALL].verdict == WORSE
    assert compare(worse, better)["apo"].interval == pytest.approx([f1(7) - f1(5)] * 2)


def test_equal_methods_show_no_difference_however_their_runs_vary():
    counts = np.random.default_rng(1).integers(1, 10, (3, 6, 2, 3))
    differences = compare(counts, counts)
    assert {one.verdict for one in differences.values()} == {NONE_SHOWN}
    assert {one.interval for one in differences.values()} == {(0, 0)}


def test_what_makes_a_run_hard_for_both_cancels():
    rng = np.random.default_rng(2)
    hits = rng.integers(1, 9, (1, 8, 2))
    base = np.stack([hits, 0 * hits, 10 - hits], axis=-1)
    method = base + np.array([1, 0, -1])
    paired = compare(base, method)[OVERALL]
    unpaired = compare(base, method[:, ::-1])[OVERALL]
    assert paired.verdict == BETTER
    assert np.ptp(paired.interval) < 0.5 * np.ptp(unpaired.interval)


def test_seeds_that_disagree_widen_the_interval():
    base = plant_counts([5, 5], num_seeds=3)
    same, mixed = plant_counts([6, 6], num_seeds=3), plant_counts([6, 6], num_seeds=3)
    mixed[0, ..., 0] += 3
    mixed[1, ..., 0] -= 3
    assert compare(base, same)[OVERALL].verdict == BETTER
    assert compare(base, mixed)[OVERALL].verdict == NONE_SHOWN


def test_one_run_gives_no_interval_and_so_no_verdict():
    one = compare(plant_counts([5, 8], num_runs=1), plant_counts([9, 9], num_runs=1))[OVERALL]
    assert one.value > 0
    assert one.interval is None
    assert one.verdict == NONE_SHOWN


def test_an_object_without_particles_is_left_out():
    base, method = plant_counts([5, 8]), plant_counts([7, 8])
    base[:, :, 1], method[:, :, 1] = (0, 2, 0), (0, 0, 0)
    differences = compare(base, method)
    assert differences["ribosome"] == Difference(None, None, None)
    assert differences["ribosome"].value is None
    assert differences[OVERALL].value == pytest.approx(f1(7) - f1(5))


@pytest.mark.parametrize("num_runs", [6, 30])
def test_the_interval_covers_the_true_difference_about_as_often_as_it_says(num_runs):
    rng = np.random.default_rng(3)
    num_covered = 0
    for _ in range(200):
        hits = rng.binomial(10, 0.5, (2, 1, num_runs, 2))
        base, method = np.stack([hits, 0 * hits, 10 - hits], axis=-1)
        num_covered += compare(base, method)[OVERALL].verdict == NONE_SHOWN
    assert 0.89 < num_covered / 200 <= 0.99


def test_the_tails_of_many_runs_are_those_of_the_normal_distribution():
    assert expanded_tail(10**6) == pytest.approx(0.025, rel=1e-3)
    assert expanded_tail(3) < expanded_tail(6) < expanded_tail(30) < 0.025
