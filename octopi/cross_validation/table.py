"""The scores of a cross-validation: a table for the log and a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from octopi.evaluation.score_report import format_figure, format_interval
from octopi.system.files import damaged, read_mapping
from octopi.system.job_folder import RESULTS_FILE
from octopi.system.tables import format_table

POOLED = "pooled"
OTHERS = "others"
THRESHOLD_METHODS = {  # method of choosing thresholds -> its label in the table
    POOLED: "all together *",
    OTHERS: "the other folds",
}
SCREEN_WIDTH = 100  # characters
LABEL_WIDTH = 17
FIGURE_WIDTH = 6
MAX_OBJECTS = 6  # columns that fit on the screen

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
        return format_folds(results)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path, "it does not hold the scores of folds", cure=cure) from error


def format_folds(results: Mapping[str, Any]) -> str:
    """Align the scores as text: each fold, all folds, and all folds at other thresholds.

    Args:
        results: the content of a cross-validation's `results.json`.
    """
    scores = results["scores"]
    pooled: Scores = scores[POOLED][POOLED]
    objects = list(pooled["scores"])[:MAX_OBJECTS]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for heading in ("runs", "total", "interval", "mean F1"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in objects:
        table.add_column(name, justify="right", overflow="fold", min_width=FIGURE_WIDTH)
    for label, score in scores[POOLED].items():
        table.add_row(label[-LABEL_WIDTH:], *_cells(score, objects))
    table.add_row("At thresholds of:")
    for key, label in THRESHOLD_METHODS.items():
        table.add_row(label, *_cells(scores[key][POOLED], objects))
    lines = [
        f"Out of fold, F{pooled['beta']:g} at thresholds calibrated on all folds together *; "
        "95 % intervals over runs",
        format_table(table, width=SCREEN_WIDTH),
        "* in-sample: they saw the very picks they are scored on; the other folds' did not.",
    ]
    if _is_estimate(pooled):
        lines.append("~ estimated through the share of the particles that is annotated.")
    if num_left_out := len(pooled["scores"]) - len(objects):
        lines.append(f"{num_left_out} more objects are in {RESULTS_FILE}.")
    return "\n".join(lines)


def _mark(score: Scores) -> str:
    """Return the mark of an object's score: ~ where it is an estimate."""
    return "~" if score.get("annotated_share") else ""


def _is_estimate(score: Scores) -> bool:
    """Return whether precision is estimated for an object of which not all are annotated."""
    return any(map(_mark, score["scores"].values()))


def _cells(score: Scores, objects: Sequence[str]) -> list[str]:
    """Format the scores of a fold, or of all folds, in the order of the table's columns."""
    mark = "~" if _is_estimate(score) else ""
    by_object = [score["scores"][name] for name in objects]
    return [
        str(score["num_runs"]),
        mark + format_figure(score["total"]),
        format_interval(score["interval"]),
        mark + format_figure(score["mean_f1"]),
        *(_mark(one) + format_figure(one["fbeta"]) for one in by_object),
    ]


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
