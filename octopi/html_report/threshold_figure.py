"""Plot the report's charts for logs and trackers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy.special import logit

from octopi.evaluation.chances import AnnotatedShare
from octopi.evaluation.scores import Scorer, pr_curve
from octopi.geometry import Points
from octopi.html_report.runs import Objects, ShownRun

SCORE_CLIP = 1e-3  # scores nearer than this to 0 or 1 are clipped
TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)


def plot_thresholds(
    runs: list[ShownRun],
    objects: Objects,
    scorer: Scorer,
    shares: Mapping[str, AnnotatedShare],
) -> Figure:
    """Plot the chances of each object's candidates, and its precision against its recall.

    Args:
        runs: of the page.
        objects: of the page.
        scorer: matches picks to particles.
        shares: object name -> share of its particles that is annotated, of those that are
            partially; ~ marks that their precision is an estimate.
    """
    shown = [run for run in runs if run.in_totals] or runs
    names = list(objects.radii)
    figure = Figure(figsize=(2.6 * len(names) + 0.6, 4.8), layout="constrained")
    axes = figure.subplots(2, len(names), squeeze=False)
    for column, name in enumerate(names):
        _histogram(axes[0, column], shown, name, objects, scorer)
        share = shares[name].share if name in shares else 1.0
        _curve(axes[1, column], shown, name, objects, scorer, share=share)
        axes[1, column].set_ylabel("~precision" if name in shares else "precision")
    axes[0, 0].set_ylabel("candidates")
    return figure


def _histogram(
    axes: Any, runs: list[ShownRun], name: str, objects: Objects, scorer: Scorer
) -> None:
    scores, gains = [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
    for run in runs:
        candidates, particles = run.ranked(name), run.truth.get(name, Points.empty())
        assert candidates.scores is not None
        tolerance = scorer.tolerance_scale * objects.radii[name]
        scores.append(candidates.scores.astype(float))
        gains.append(scorer.matcher(candidates.positions, particles.positions, tolerance))
    log_odds, is_hit = _log_odds(np.concatenate(scores)), np.concatenate(gains) > 0
    bins = np.linspace(_log_odds(0), _log_odds(1), 31).tolist()
    red, green, blue = (channel / 255 for channel in objects.in_project[name].color[:3])
    has_truth = any(run.has_truth for run in runs)
    labels = ("found", "wrong") if has_truth else (None, "candidates")
    colors = [(red, green, blue), "0.75"]
    axes.hist(
        [log_odds[is_hit], log_odds[~is_hit]], bins=bins, stacked=True, color=colors, label=labels
    )
    axes.axvline(_log_odds(objects.initial_thresholds[name]), color="black", lw=1)
    axes.set_xticks([_log_odds(t) for t in TICKS], [f"{t:g}" for t in TICKS], fontsize=6)
    axes.set_xlabel("chance", fontsize=8)
    axes.set_title(name, fontsize=9)


def _log_odds(scores: ArrayLike) -> Any:
    """Convert scores to log-odds, so that 0.01 and 0.99 are as wide as the middle."""
    return logit(np.clip(scores, SCORE_CLIP, 1 - SCORE_CLIP))


def _curve(
    axes: Any,
    runs: list[ShownRun],
    name: str,
    objects: Objects,
    scorer: Scorer,
    *,
    share: float,
) -> None:
    scored = [run for run in runs if run.has_truth]
    curve = pr_curve(
        {run.name: run.ranked(name) for run in scored},
        {run.name: run.truth.get(name, Points.empty()) for run in scored},
        tolerance=scorer.tolerance_scale * objects.radii[name],
        beta=scorer.beta,
        matcher=scorer.matcher,
    )
    red, green, blue = (channel / 255 for channel in objects.in_project[name].color[:3])
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall")
    if not curve["recall"]:
        axes.text(0.5, 0.5, "no truth", transform=axes.transAxes, ha="center")
        return
    precision = np.minimum(np.asarray(curve["precision"]) / share, 1)
    axes.plot(curve["recall"], precision, color=(red, green, blue))
    at = int(np.sum(np.asarray(curve["threshold"]) >= objects.initial_thresholds[name])) - 1
    if at >= 0:
        axes.plot(curve["recall"][at], precision[at], "o", color=(red, green, blue))
