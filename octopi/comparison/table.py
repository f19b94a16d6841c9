"""A comparison as a table: for the log, and as Markdown."""

from collections.abc import Mapping
from typing import Any

from octopi.evaluation.differences import OVERALL
from octopi.evaluation.score_report import format_figure
from octopi.system.tables import format_rows

COLUMNS = ("method", "score", "base", "method's", "difference", "95 % interval", "in words")
COST_COLUMNS = ("method", "steps a fold", "CPU s a step")


def format_comparison(comparison: Mapping[str, Any]) -> str:
    """Align a comparison as text.

    Args:
        comparison: the content of `comparison.json`.
    """
    differences = format_rows(COLUMNS, difference_rows(comparison))
    costs = format_rows(COST_COLUMNS, cost_rows(comparison))
    return "\n".join([describe(comparison), differences, costs])


def format_markdown(comparison: Mapping[str, Any]) -> str:
    """Write a comparison as Markdown.

    Args:
        comparison: the content of `comparison.json`.
    """
    differences = _markdown_table(COLUMNS, difference_rows(comparison))
    costs = _markdown_table(COST_COLUMNS, cost_rows(comparison))
    return "\n\n".join([describe(comparison), differences, costs]) + "\n"


def describe(comparison: Mapping[str, Any]) -> str:
    """Say what was compared, in two sentences."""
    seeds = comparison["seeds"]
    trainings = f"{len(seeds)} seed{'s' * (len(seeds) > 1)} ({', '.join(map(str, seeds))})"
    return (
        f"Out of fold over {comparison['num_runs']} runs, {trainings}, thresholds of the other "
        "folds. Differences are paired by run and seed; F1 is the mean over objects, F4 the mean "
        "by their weights."
    )


def difference_rows(comparison: Mapping[str, Any]) -> list[list[str]]:
    """Return the rows of all methods: F1 and F4 over all objects, then F1 of each object."""
    rows = []
    for name, by_score in comparison["differences"].items():
        shown = [(score, OVERALL) for score in by_score]
        shown += [("F1", object_name) for object_name in by_score["F1"] if object_name != OVERALL]
        for number, (score, object_name) in enumerate(shown):
            one = by_score[score][object_name]
            label = score if object_name == OVERALL else f"{score} {object_name}"
            rows.append([name if number == 0 else "", label, *_figures(one), one["verdict"]])
    return rows


def _figures(one: Mapping[str, Any]) -> list[str]:
    difference, interval = one["difference"], one["interval"]
    return [
        format_figure(one["base"]),
        format_figure(one["method"]),
        "n/a" if difference is None else f"{difference:+.3f}",
        "" if interval is None else f"{interval[0]:+.3f} … {interval[1]:+.3f}",
    ]


def cost_rows(comparison: Mapping[str, Any]) -> list[list[str]]:
    """Return the rows of what the trainings cost."""
    rows = []
    for name, cost in comparison["costs"].items():
        steps = "n/a" if cost["steps"] is None else f"{cost['steps']:.0f}"
        rows.append([name, steps, format_figure(cost["cpu_seconds_per_step"])])
    return rows


def _markdown_table(columns: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in lines)
