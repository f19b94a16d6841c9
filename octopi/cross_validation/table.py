"""The scores of a cross-validation: a table for the log and a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from octopi.evaluation.score_report import format_figure, format_interval
from octopi.system.files import damaged, read_mapping
from octopi.system.job_folder import RESULTS_FILE

POOLED = "pooled"
OWN = "own"
OTHERS = "others"
MEAN_OF_OTHERS = "mean_of_others"
THRESHOLD_METHODS = {  # method of choosing thresholds -> its label in the table
    POOLED: "all together *",
    OWN: "each its own *",
    OTHERS: "the other folds",
    MEAN_OF_OTHERS: "the others' mean",
}
# Widths of the table, in characters.
SCREEN_WIDTH = 100
LABEL_WIDTH = 17
MIN_VALUE_WIDTH = 7

Scores = Mapping[str, Any]


def summarize_folds(folder: Path) -> str:
    """Return the scores of a cross-validation as a table, from its `results.json`.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / RESULTS_FILE
    cure = "Start the command that trained the folds again: it writes the file anew."
    results = read_mapping(path, cure=cure)
    try:
        return format_table(results)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path, "it does not hold the scores of folds", cure=cure) from error


def format_table(results: Mapping[str, Any]) -> str:
    """Align the scores as text: each fold, all folds, and all folds at other thresholds.

    Args:
        results: the content of a cross-validation's `results.json`.
    """
    scores = results["scores"]
    pooled: Scores = scores[POOLED][POOLED]
    row = _RowFormat(list(pooled["scores"]))
    lines = [
        f"Out of fold, F{pooled['beta']:g} at thresholds calibrated on all folds together *; "
        "95 % intervals over runs",
        *row.headings(),
        *(row.format(name, score) for name, score in scores[POOLED].items()),
        "All folds, at thresholds of",
        *(row.format(label, scores[key][POOLED]) for key, label in THRESHOLD_METHODS.items()),
        "* in-sample: they saw the very picks they are scored on; the other folds' did not.",
    ]
    if _is_estimate(pooled):
        lines.append("~ estimated through the share of the particles that is annotated.")
    if row.num_left_out:
        lines.append(f"{row.num_left_out} more objects are in {RESULTS_FILE}.")
    return "\n".join(line.rstrip() for line in lines)


def _mark(score: Scores) -> str:
    """Return the mark of an object's score: ~ where it is an estimate."""
    return "~" if score.get("annotated_share") else ""


def _is_estimate(score: Scores) -> bool:
    """Return whether precision is estimated for an object of which not all are annotated."""
    return any(map(_mark, score["scores"].values()))


class _RowFormat:
    """The lines of the table, with as many objects as fit."""

    def __init__(self, object_names: Sequence[str]) -> None:
        room = SCREEN_WIDTH - len(self._start("", "", "", "", ""))
        self.objects = list(object_names)[: room // MIN_VALUE_WIDTH]
        self.num_left_out = len(object_names) - len(self.objects)
        longest = max([MIN_VALUE_WIDTH, *(len(name) + 2 for name in self.objects)])
        self.width = min(longest, room // max(len(self.objects), 1))

    def format(self, label: str, score: Scores) -> str:
        """Format the scores of a fold, or of all folds."""
        mark = "~" if _is_estimate(score) else ""
        values = [
            _mark(one) + format_figure(one["fbeta"])
            for one in (score["scores"][name] for name in self.objects)
        ]
        return self._start(
            label,
            str(score["num_runs"]),
            mark + format_figure(score["total"]),
            format_interval(score["interval"]),
            mark + format_figure(score["mean_f1"]),
        ) + "".join(f"{value:>{self.width}}" for value in values)

    def headings(self) -> list[str]:
        """Return the names of the columns, long ones on two lines."""
        room = self.width - 2
        first = [name[:room] for name in self.objects]
        second = [name[room : 2 * room] for name in self.objects]
        lines = [self._start("", "runs", "total", "interval", "mean F1") + self._aligned(first)]
        if any(second):
            lines.append(self._start("", "", "", "", "") + self._aligned(second))
        return lines

    def _aligned(self, texts: Sequence[str]) -> str:
        return "".join(f"  {text:<{self.width - 2}}" for text in texts)

    @staticmethod
    def _start(label: str, runs: str, total: str, interval: str, f1: str) -> str:
        end = label[-LABEL_WIDTH:]
        return f"{end:<{LABEL_WIDTH}}{runs:>5}{total:>7}  {interval:<13}{f1:>9}"


def plot_folds(results: Mapping[str, Any]) -> Figure:
    """Plot each object's F-beta in every fold, and pooled with its interval; ~ marks estimates.

    Args:
        results: the content of a cross-validation's `results.json`.
    """
    scores = results["scores"][POOLED]
    pooled: Scores = scores[POOLED]
    by_object = pooled["scores"]
    figure = Figure(figsize=(2.5 + 1.1 * (len(by_object) + 1), 4), layout="constrained")
    axes = figure.subplots()
    folds = [name for name in scores if name != POOLED]
    for i, fold in enumerate(folds):
        shift = 0.25 + 0.4 * i / len(folds)
        _draw_dots(axes, scores[fold], shift, label=fold, markersize=4)
    _draw_dots(axes, pooled, 0.0, label="pooled, 95 % interval", color="black", markersize=7)
    for x, score in enumerate([*by_object.values(), pooled]):
        if score["interval"] is not None:
            axes.vlines(x, *score["interval"], color="black")
    names = [_mark(one) + name for name, one in by_object.items()]
    total = "~total" if _is_estimate(pooled) else "total"
    axes.set_xticks(range(len(names) + 1), [*names, total], rotation=30, ha="right")
    title = "out of fold, pooled thresholds" + "; ~ estimated" * _is_estimate(pooled)
    axes.set(ylim=(0, None), ylabel=f"F{pooled['beta']:g}", title=title)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _draw_dots(axes: Axes, score: Scores, shift: float, **style: Any) -> None:
    values = [*(by_object["fbeta"] for by_object in score["scores"].values()), score["total"]]
    points = [(x + shift, value) for x, value in enumerate(values) if value is not None]
    axes.plot(*zip(*points, strict=True) if points else ([], []), "o", **style)
