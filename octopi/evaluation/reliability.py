"""Whether scores are chances: of the picks with a score of 0.8, are eight of ten right?"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

NUM_BINS = 10


@dataclass(frozen=True)
class Reliability:
    """Scores of an object's picks beside how many of them are right, in bins of equal width.

    Args:
        chance: mean score of each bin that has picks.
        right: share of its picks that are particles.
        num: number of its picks.
        error: expected calibration error: mean distance of the two, weighed by the number of picks.
    """

    chance: list[float]
    right: list[float]
    num: list[int]
    error: float | None


def reliability(scores: NDArray, hits: NDArray, share: float = 1.0) -> Reliability:
    """Compare the scores of picks with how many of them are right.

    Args:
        scores: (n,), 0..1.
        hits: (n,), above 0 for a pick that is an annotated particle.
        share: of the particles that are annotated; the picks that are right are so many times more.
    """
    if not len(scores):
        return Reliability([], [], [], None)
    index = np.minimum((np.asarray(scores) * NUM_BINS).astype(int), NUM_BINS - 1)
    num = np.bincount(index, minlength=NUM_BINS)
    used = num > 0
    chance = np.bincount(index, weights=scores, minlength=NUM_BINS)[used] / num[used]
    right = np.bincount(index, weights=np.minimum(hits, 1), minlength=NUM_BINS)[used] / num[used]
    right = np.minimum(right / share, 1)
    error = float(np.average(np.abs(chance - right), weights=num[used]))
    return Reliability(chance.tolist(), right.tolist(), num[used].tolist(), error)


def plot_reliability(by_object: Mapping[str, Reliability], estimated: Collection[str]) -> Figure:
    """Plot the reliability diagram of every object with picks; ~ marks estimates.

    Args:
        by_object: object name -> what to draw.
        estimated: names of the objects whose share that is right is an estimate.
    """
    drawn = {name: one for name, one in by_object.items() if one.num}
    columns = min(max(len(drawn), 1), 4)
    rows = max(1, -(-len(drawn) // columns))
    figure = Figure(figsize=(2.6 * columns, 2.7 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes, (name, one) in zip(panels, drawn.items(), strict=False):
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        sizes = 12 + 60 * np.sqrt(np.array(one.num) / max(one.num))
        axes.scatter(one.chance, one.right, s=sizes, color="#2a6fb0", zorder=2)
        mark = "~" if name in estimated else ""
        axes.set_title(f"{name}\nerror {mark}{one.error:.3f}, {sum(one.num)} picks", fontsize=8)
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.tick_params(labelsize=7)
    for axes in panels[len(drawn) :]:
        axes.set_visible(False)
    figure.supxlabel("score of picks", fontsize=9)
    figure.supylabel("share that is right", fontsize=9)
    return figure
