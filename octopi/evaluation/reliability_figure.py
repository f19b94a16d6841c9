"""The reliability diagram of `evaluate`."""

from collections.abc import Collection, Mapping

import numpy as np
from matplotlib.figure import Figure

from octopi.evaluation.reliability import Reliability


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
