"""Draw the curves of a training: loss, learning rate and metrics over the epochs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from octopi.system.files import write_figure
from octopi.system.job_folder import CURVES_FILE

Series = Mapping[str, list[float | None]]


def draw_curves(folder: Path, results: Mapping[str, Any]) -> None:
    """Draw `curves.png`.

    Args:
        folder: that the figure is written into.
        results: the content of `results.json`.
    """
    history: Mapping[str, Series] = results["history"]
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    if note := results.get("metrics_note"):
        figure.suptitle(note, fontsize=6)
    loss, voxels, objects = figure.subplots(1, 3)
    _line(loss, history.get("train_loss"), "loss")
    loss.set(title="training", ylabel="loss")
    rate = loss.twinx()
    _line(rate, history.get("learning_rate"), "learning rate", color="0.7", linestyle=":")
    rate.set_ylabel("learning rate", color="0.5")
    _panel(voxels, history, "f1_", "validation: voxel F1")
    _panel(objects, history, "object_fbeta_", "validation: picks, F-beta")
    _line(objects, history.get("object_fbeta"), "weighted", color="black", linewidth=2)
    for axes in (loss, voxels, objects):
        axes.set_xlabel("epoch")
    for axes in (voxels, objects):
        axes.set_ylim(0, 1)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7, loc="lower right")
        else:
            axes.text(0.5, 0.5, "not validated", transform=axes.transAxes, ha="center")
    write_figure(folder / CURVES_FILE, figure)


def _panel(axes: Axes, history: Mapping[str, Series], prefix: str, title: str) -> None:
    for name, series in history.items():
        if name.startswith(prefix):
            _line(axes, series, name.removeprefix(prefix))
    axes.set_title(title)


def _line(axes: Axes, series: Series | None, label: str, **style: Any) -> None:
    if series is None:
        return
    pairs = zip(series["epoch"], series["value"], strict=True)
    points = [(epoch, value) for epoch, value in pairs if value is not None]
    if points:
        marker = "o" if len(points) == 1 else ""
        axes.plot(
            *zip(*points, strict=True), label=label, **{"linewidth": 1.2, "marker": marker, **style}
        )
