"""The report's charts as a PNG, for logs and trackers."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.special import logit

from octopi.evaluation.scores import Scorer, pr_curve
from octopi.geometry import Points
from octopi.html_report.runs import Objects, ShownRun

EDGE = 1e-3  # scores nearer to 0 or 1 are drawn this near
TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)


def draw_thresholds(path: Path, runs: list[ShownRun], objects: Objects, scorer: Scorer) -> None:
    """The PNG shows each object's scores, what was found at which, and precision against recall."""
    shown = [run for run in runs if run.in_totals] or runs
    names = list(objects.radii)
    figure = Figure(figsize=(2.6 * len(names) + 0.6, 4.8), layout="constrained")
    axes = figure.subplots(2, len(names), squeeze=False)
    for column, name in enumerate(names):
        _histogram(axes[0, column], shown, name, objects, scorer)
        _curve(axes[1, column], shown, name, objects, scorer)
    axes[0, 0].set_ylabel("candidates")
    axes[1, 0].set_ylabel("precision")
    figure.savefig(path, dpi=110)


def _histogram(
    axes: Any, runs: list[ShownRun], name: str, objects: Objects, scorer: Scorer
) -> None:
    scores, gains = [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
    for run in runs:
        found, there = run.ranked(name), run.truth.get(name, Points.empty())
        assert found.scores is not None
        tolerance = scorer.tolerance_scale * objects.radii[name]
        scores.append(found.scores.astype(float))
        gains.append(scorer.matcher(found.positions, there.positions, tolerance))
    odds, hit = logit(np.clip(np.concatenate(scores), EDGE, 1 - EDGE)), np.concatenate(gains) > 0
    bins = np.linspace(logit(EDGE), logit(1 - EDGE), 31).tolist()
    red, green, blue = (channel / 255 for channel in objects.known[name].color[:3])
    judged = any(run.has_truth for run in runs)
    labels = ("found", "wrong") if judged else (None, "candidates")
    colors = [(red, green, blue), "0.75"]
    axes.hist([odds[hit], odds[~hit]], bins=bins, stacked=True, color=colors, label=labels)
    axes.axvline(
        logit(np.clip(objects.initial_thresholds[name], EDGE, 1 - EDGE)), color="black", lw=1
    )
    axes.set_xticks([logit(t) for t in TICKS], [f"{t:g}" for t in TICKS], fontsize=6)
    axes.set_title(name, fontsize=9)


def _curve(axes: Any, runs: list[ShownRun], name: str, objects: Objects, scorer: Scorer) -> None:
    judged = [run for run in runs if run.has_truth]
    curve = pr_curve(
        {run.name: run.ranked(name) for run in judged},
        {run.name: run.truth.get(name, Points.empty()) for run in judged},
        tolerance=scorer.tolerance_scale * objects.radii[name],
        beta=scorer.beta,
        matcher=scorer.matcher,
    )
    red, green, blue = (channel / 255 for channel in objects.known[name].color[:3])
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall")
    if not curve["recall"]:
        axes.text(0.5, 0.5, "no truth", transform=axes.transAxes, ha="center")
        return
    axes.plot(curve["recall"], curve["precision"], color=(red, green, blue))
    at = int(np.sum(np.asarray(curve["threshold"]) >= objects.initial_thresholds[name])) - 1
    if at >= 0:
        axes.plot(curve["recall"][at], curve["precision"][at], "o", color=(red, green, blue))
