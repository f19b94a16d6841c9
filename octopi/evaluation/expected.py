"""What picks can be expected to be worth where there is no truth, from the candidates' chances."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from octopi.evaluation.calibration import best_threshold
from octopi.evaluation.chances import count_in_bins
from octopi.evaluation.score_report import Interval
from octopi.evaluation.scores import interval_of
from octopi.picking import Chance
from octopi.system.tables import format_rows

MIN_PARTICLES = 10  # expected; fewer are too few to choose a threshold by
NUM_DRAWS = 400  # of the chances, for the intervals


@dataclass(frozen=True)
class Expected:
    """Figures of an object, expected from the chances, with 95 % intervals.

    Without chances nothing but the picks is known.

    Args:
        threshold: chance from which a candidate is a pick.
        num_picks: number of picks.
        particles: number of particles in these tomograms; None without chances.
        precision: 0..1; None without a pick.
        recall: 0..1; None where no particle is expected.
    """

    threshold: float
    num_picks: int
    particles: float | None = None
    particles_interval: Interval | None = None
    precision: float | None = None
    precision_interval: Interval | None = None
    recall: float | None = None
    recall_interval: Interval | None = None


def threshold_for(scores: NDArray, chance: Chance, beta: float) -> float | None:
    """Choose the threshold with the best expected F-beta on these candidates.

    Args:
        scores: (n,) of the candidates, 0..1, also of those far below the threshold.
        chance: of the object.
        beta: recall weighs β² times precision.

    Returns:
        A chance; None where so few particles are expected that they cannot tell.
    """
    ordered = np.sort(np.asarray(scores, dtype=float))[::-1]
    num_particles = chance.of(ordered).sum()
    if num_particles < MIN_PARTICLES:
        return None
    return best_threshold(ordered, chance, num_particles / chance.found, beta)


def expect(scores: NDArray, chance: Chance | None, threshold: float) -> Expected:
    """Compute what to expect of the picks of an object.

    The intervals hold the uncertainty of the chances and that of counting; the same candidates
    give the same intervals, in whatever order they come.

    Args:
        scores: (n,) of the candidates, 0..1, also of those far below the threshold.
        chance: of the object; None where nothing says what its scores mean.
        threshold: chance from which a candidate is a pick.
    """
    if chance is None:
        return Expected(threshold, int((np.asarray(scores) >= threshold).sum()))
    chances = chance.of(scores)
    is_pick = chances.astype(np.float32) >= threshold  # as picks are stored
    true_picks, missed = chances[is_pick].sum(), chances[~is_pick].sum()
    particles = (true_picks + missed) / chance.found
    num_picks = int(is_pick.sum())
    draws = _draw_counts(scores, is_pick, chance)
    drawn_particles = draws.sum(axis=0) / chance.found
    recall_draws = draws[0] / np.maximum(drawn_particles, 1e-9)
    return Expected(
        threshold=threshold,
        num_picks=num_picks,
        particles=float(particles),
        particles_interval=interval_of(drawn_particles),
        precision=float(true_picks / num_picks) if num_picks else None,
        precision_interval=interval_of(np.minimum(draws[0] / num_picks, 1)) if num_picks else None,
        recall=float(true_picks / particles) if particles else None,
        recall_interval=interval_of(recall_draws) if particles else None,
    )


def _draw_counts(scores: NDArray, is_pick: NDArray[np.bool_], chance: Chance) -> NDArray:
    """Draw the numbers of particles among the picks and among the other candidates (2, draws)."""
    rng = np.random.default_rng(0)
    variance, shared, slope_variance = chance.covariance
    factor = np.linalg.cholesky(
        np.array([[variance, shared], [shared, slope_variance]]) + 1e-12 * np.eye(2)
    )
    coefficients = factor @ rng.standard_normal((2, NUM_DRAWS))
    offsets = chance.offset + coefficients[0]
    slopes = np.maximum(chance.slope + coefficients[1], 1e-3)
    noise = rng.standard_normal((2, NUM_DRAWS))
    counts = np.empty((2, NUM_DRAWS))
    for row, part in enumerate((scores[is_pick], scores[~is_pick])):
        odds, _, numbers = count_in_bins(part, np.zeros(len(part)))
        probabilities = expit(offsets[:, None] + slopes[:, None] * odds)
        mean = probabilities @ numbers
        spread = np.sqrt((probabilities * (1 - probabilities)) @ numbers)
        counts[row] = np.clip(mean + spread * noise[row], 0, len(part))
    return counts


def format_expected(expected: Mapping[str, Expected]) -> str:
    """Format the figures as aligned text."""
    rows = [
        (
            name,
            f"{one.threshold:.3f}",
            str(one.num_picks),
            _format(one.particles, one.particles_interval, digits=0),
            _format(one.precision, one.precision_interval),
            _format(one.recall, one.recall_interval),
        )
        for name, one in expected.items()
    ]
    return format_rows(["object", "from chance", "picks", "particles", "precision", "recall"], rows)


def _format(value: float | None, interval: Interval | None, digits: int = 3) -> str:
    """Format a figure and its interval, also one that is not known."""
    if value is None or interval is None:
        return "n/a"
    low, high = interval
    return f"{value:.{digits}f} ({low:.{digits}f} … {high:.{digits}f})"
