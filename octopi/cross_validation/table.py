"""What a cross-validation found: a table for the log and a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from octopi.system.files import write_figure

POOLED = "pooled"
OWN = "own"
OTHERS = "others"
MEAN_OF_OTHERS = "mean_of_others"
THRESHOLD_METHODS = {  # of choosing thresholds, as the table names them
    POOLED: "all together *",
    OWN: "each its own *",
    OTHERS: "the other folds",
    MEAN_OF_OTHERS: "the others' mean",
}
WIDTH = 100  # columns of the table
LABEL = 17  # of which for the name of a row
FIGURE = 7  # and for a figure at least

Scores = Mapping[str, Any]


def table(results: Mapping[str, Any]) -> str:
    """The scores as aligned text: each fold, all folds, and all folds at other thresholds.

    Args:
        results: the content of a cross-validation's `results.json`.
    """
    scores = results["scores"]
    pooled_scores: Scores = scores[POOLED][POOLED]
    row = _Row(list(pooled_scores["scores"]))
    lines = [
        f"Out of fold, F{pooled_scores['beta']:g} at thresholds calibrated on all folds "
        f"together *; "
        "95 % intervals over runs",
        *row.heads(),
        *(row(name, score) for name, score in scores[POOLED].items()),
        "All folds, at thresholds of",
        *(row(told, scores[way][POOLED]) for way, told in THRESHOLD_METHODS.items()),
        "* in-sample: they saw the very picks they are scored on; the other folds' did not.",
    ]
    if row.left_out:
        lines.append(f"{row.left_out} more objects are in results.json.")
    return "\n".join(line.rstrip() for line in lines)


class _Row:
    """A line of the table, in which as many objects stand as it has room for."""

    def __init__(self, object_names: Sequence[str]) -> None:
        room = WIDTH - len(self._start("", "", "", "", ""))
        self.objects = list(object_names)[: room // FIGURE]
        self.left_out = len(object_names) - len(self.objects)
        fitting = max([FIGURE, *(len(name) + 2 for name in self.objects)])
        self.width = min(fitting, room // max(len(self.objects), 1))

    def __call__(self, label: str, score: Scores) -> str:
        interval = score["interval"]
        values = [score["scores"][name]["fbeta"] for name in self.objects]
        return self._start(
            label,
            str(score["num_runs"]),
            _number(score["total"]),
            "" if interval is None else f"{interval[0]:.3f} … {interval[1]:.3f}",
            _number(score["mean_f1"]),
        ) + "".join(f"{_number(value):>{self.width}}" for value in values)

    def heads(self) -> list[str]:
        """The names of the columns, long ones on two lines."""
        room = self.width - 2
        first = [name[:room] for name in self.objects]
        second = [name[room : 2 * room] for name in self.objects]
        lines = [self._start("", "runs", "total", "interval", "mean F1") + self._aligned(first)]
        if any(second):
            lines.append(self._start("", "", "", "", "") + self._aligned(second))
        return lines

    def _aligned(self, words: Sequence[str]) -> str:
        return "".join(f"  {word:<{self.width - 2}}" for word in words)

    @staticmethod
    def _start(*words: str) -> str:
        label, runs, total, interval, f1 = words
        return f"{label[-LABEL:]:<{LABEL}}{runs:>5}{total:>7}  {interval:<13}{f1:>9}"


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def draw_folds(path: Path, results: Mapping[str, Any]) -> None:
    """The PNG shows each object's F-beta in every fold, and pooled with its interval.

    Args:
        path: of the PNG.
        results: the content of a cross-validation's `results.json`.
    """
    scores = results["scores"][POOLED]
    every: Scores = scores[POOLED]
    names = list(every["scores"])
    figure = Figure(figsize=(2.5 + 1.1 * (len(names) + 1), 4), layout="constrained")
    axes = figure.subplots()
    folds = [name for name in scores if name != POOLED]
    for i, fold in enumerate(folds):
        shift = 0.25 + 0.4 * i / len(folds)
        _dots(axes, scores[fold], shift, label=fold, markersize=4)
    _dots(axes, every, 0.0, label="pooled, 95 % interval", color="black", markersize=7)
    for x, score in enumerate([*every["scores"].values(), every]):
        if score["interval"] is not None:
            axes.vlines(x, *score["interval"], color="black")
    axes.set_xticks(range(len(names) + 1), [*names, "total"], rotation=30, ha="right")
    axes.set(ylim=(0, None), ylabel=f"F{every['beta']:g}", title="out of fold, pooled thresholds")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    write_figure(path, figure)


def _dots(axes: Axes, score: Scores, shift: float, **look: Any) -> None:
    values = [*(held["fbeta"] for held in score["scores"].values()), score["total"]]
    points = [(x + shift, value) for x, value in enumerate(values) if value is not None]
    axes.plot(*zip(*points, strict=True) if points else ([], []), "o", **look)
