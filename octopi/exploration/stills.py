"""Pictures of a search as matplotlib figures: each function fills one, or returns None."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from optuna.trial import TrialState

from octopi.exploration import scales
from octopi.exploration.findings import Findings, Objective, Parameter

COLUMNS = 4  # panels side by side


def history(found: Findings) -> Figure | None:
    """Each trial's value and the best so far; pruned and failed trials along the bottom."""
    if not found.complete:
        return None
    figure = _figure(8, 3.6 * len(found.objectives))
    rows = figure.subplots(len(found.objectives), squeeze=False)[:, 0]
    for axes, objective in zip(rows, found.objectives, strict=True):
        numbers = [trial.number for trial in found.complete]
        values = [objective.of(trial) for trial in found.complete]
        best = (np.maximum if objective.maximize else np.minimum).accumulate(values)
        axes.plot(numbers, values, "o", color=scales.COMPLETE, markersize=5, label="complete")
        axes.step(numbers, best, where="post", color=scales.BEST, label="best so far")
        _bottom(axes, found, TrialState.PRUNED, "pruned", "v")
        _bottom(axes, found, TrialState.FAIL, "failed", "x")
        axes.margins(y=0.12)
        axes.set(xlabel="trial", ylabel=objective.arrow)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    rows[0].set_title("Optimisation history")
    rows[0].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def _bottom(axes: Axes, found: Findings, state: TrialState, name: str, marker: str) -> None:
    numbers = [trial.number for trial in found.of_state(state)]
    if numbers:
        axes.plot(
            numbers,
            [0.025] * len(numbers),
            marker,
            color=scales.STATES[name],
            markersize=5,
            transform=axes.get_xaxis_transform(),
            label=name,
        )


def importance(found: Findings) -> Figure | None:
    """How much each parameter has to do with reaching good values."""
    if not found.importances:
        return None
    labels = found.labels
    shown = max(min(len(each), scales.BARS) for each in found.importances)
    figure = _figure(7 * len(found.objectives), 1.3 + 0.32 * shown)
    panels = figure.subplots(1, len(found.objectives), squeeze=False)[0]
    for axes, objective, each in zip(panels, found.objectives, found.importances, strict=True):
        top = list(each.items())[: scales.BARS][::-1]
        bars = axes.barh(
            range(len(top)), [part for _, part in top], color=scales.COMPLETE, height=0.7
        )
        axes.bar_label(bars, [f"{part:.2f}" for _, part in top], padding=3, fontsize=8)
        axes.set_yticks(range(len(top)), [labels[name] for name, _ in top])
        axes.margins(x=0.12)
        axes.set(xlabel="importance", title=f"What {objective.name} depends on")
    figure.supxlabel(f"PED-ANOVA of {len(found.complete)} complete trials", fontsize=8, color="0.4")
    return figure


def parallel(found: Findings) -> Figure | None:
    """Each complete trial as a line through its values, good ones dark and on top."""
    if len(found.complete) < 2 or not found.parameters:
        return None
    lines = scales.uprights(found)
    figure = _figure(1.5 + 1.55 * len(lines), 5)
    axes = figure.subplots()
    first = found.objectives[0]
    colors = _shades(len(found.ranked))
    # The worst first, so that the good lie on top.
    for trial, color in zip(found.ranked[::-1], colors, strict=True):
        heights = [line.places[trial.number] for line in lines]
        axes.plot(range(len(lines)), heights, color=color, linewidth=1.3, alpha=0.85)
    best = found.ranked[0]
    heights = [line.places[best.number] for line in lines]
    axes.plot(range(len(lines)), heights, color=scales.BEST, linewidth=2.2)
    for x, line in enumerate(lines):
        axes.axvline(x, color="0.35", linewidth=0.9, zorder=3)
        for place, text in line.ticks.items():
            axes.plot([x - 0.03, x], [place, place], color="0.35", linewidth=0.9, zorder=3)
            axes.text(
                x - 0.05, place, text, fontsize=7, ha="right", va="center", zorder=4, bbox=_paper()
            )
    axes.set_xticks(range(len(lines)), [line.label for line in lines], rotation=20, ha="right")
    axes.set(xlim=(-0.75, len(lines) - 0.8), yticks=[])
    axes.spines[["left", "right", "top", "bottom"]].set_visible(False)
    axes.tick_params(axis="x", length=0)
    axes.set_title(
        f"Parallel coordinates: the darker, the better in {first.name}; red: trial {best.number}"
    )
    return figure


def _paper() -> dict:
    return {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6}


def _shades(count: int) -> list[tuple[float, float, float]]:
    pale, dark = np.array(scales.PALE) / 255, np.array(scales.DARK) / 255
    return [tuple(pale + (dark - pale) * part) for part in np.linspace(0, 1, count)]


def slices(found: Findings) -> Figure | None:
    """Each parameter against each objective; the best trial is a star."""
    if len(found.complete) < 2 or not found.parameters:
        return None
    across = min(COLUMNS, len(found.parameters))
    down = math.ceil(len(found.parameters) / across)
    rows = down * len(found.objectives)
    figure = _figure(3.1 * across + 0.8, 2.9 * rows + 0.5)
    panels = figure.subplots(rows, across, squeeze=False, sharey="row")
    points = None
    for objective in found.objectives:
        block = panels[objective.index * down : (objective.index + 1) * down]
        for place, axes in enumerate(block.flat):
            if place >= len(found.parameters):
                axes.remove()
                continue
            points = _slice(axes, found, found.parameters[place], objective)
            if place % across == 0:
                axes.set_ylabel(objective.arrow)
    figure.suptitle("Slices: each parameter alone")
    if points is not None:
        figure.colorbar(points, ax=figure.axes, label="trial", shrink=0.6, pad=0.01)
    return figure


def _slice(
    axes: Axes, found: Findings, parameter: Parameter, objective: Objective
) -> PathCollection:
    trials = [trial for trial in found.complete if trial.number in parameter.values]
    places = {trial.number: scales.beside(parameter, trial.number) for trial in trials}
    points = axes.scatter(
        list(places.values()),
        [objective.of(trial) for trial in trials],
        c=list(places),
        cmap="viridis_r",
        vmin=0,
        vmax=max(1, len(found.trials) - 1),
        s=22,
        edgecolors="0.4",
        linewidths=0.4,
    )
    best = found.ranked[0]
    if best.number in places:
        look = {"color": scales.BEST, "markersize": 12, "markeredgecolor": "white"}
        axes.plot(places[best.number], objective.of(best), "*", **look)
    _scale(axes, parameter)
    axes.set_xlabel(parameter.label)
    axes.tick_params(labelsize=7)
    return points


def _scale(axes: Axes, parameter: Parameter) -> None:
    """The axis is that of the parameter: choices, a logarithm, whole numbers or any."""
    values = parameter.values.values()
    if parameter.choices is not None:
        places = range(len(parameter.choices))
        axes.set_xticks(places, parameter.choices, rotation=30, ha="right")
        axes.set_xlim(-0.5, len(parameter.choices) - 0.5)
    elif parameter.log:
        ratio = max(values) / min(values)
        subs = (1.0,) if ratio > 100 else (1.0, 2.0, 5.0)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=subs) if ratio > 5 else MaxNLocator(4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="x", rotation=30)
    elif all(value == round(value) for value in values):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def intermediate(found: Findings) -> Figure | None:
    """Each trial's course over its epochs; pruned ones end with a mark."""
    courses = found.courses
    if not courses:
        return None
    figure = _figure(9, 4.6)
    axes = figure.subplots()
    best = found.ranked[0].number if found.ranked else None
    looks = {
        "complete": {"linewidth": 1.0, "alpha": 0.6},
        "pruned": {"linewidth": 1.0, "alpha": 0.8, "linestyle": "--"},
        "failed": {"linewidth": 1.0, "alpha": 0.8, "linestyle": ":"},
        "running": {"linewidth": 1.2, "linestyle": "-."},
    }
    ends = {"complete": "", "pruned": "v", "failed": "x", "running": "o"}
    for name, look in looks.items():
        mine = [course for course in courses if course.state == name]
        for place, course in enumerate(mine):
            axes.plot(
                course.steps,
                course.values,
                color=scales.STATES[name],
                marker=ends[name] or ("." if len(course.steps) == 1 else ""),
                markevery=[len(course.steps) - 1],
                label=f"{name} ({len(mine)})" if place == 0 else None,
                **look,
            )
    for course in courses:
        if course.number == best:
            axes.plot(
                course.steps,
                course.values,
                color=scales.BEST,
                linewidth=2.2,
                label=f"best: trial {best}",
            )
    axes.set(xlabel="epoch", ylabel=found.objectives[0].arrow, title="Intermediate values")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def pareto(found: Findings) -> Figure | None:
    """What each objective costs in the first: the front, and the trials that it beats."""
    if len(found.objectives) < 2 or not found.complete:
        return None
    first, *others = found.objectives
    figure = _figure(6.5 * len(others) + 1, 5)
    panels = figure.subplots(1, len(others), squeeze=False)[0]
    front = {trial.number for trial in found.front}
    rest = [trial for trial in found.complete if trial.number not in front]
    for axes, other in zip(panels, others, strict=True):
        axes.plot(
            [other.of(trial) for trial in rest],
            [first.of(trial) for trial in rest],
            "o",
            color="0.7",
            label="beaten by another",
        )
        axes.plot(
            [other.of(trial) for trial in found.front],
            [first.of(trial) for trial in found.front],
            # With three objectives and more the front is a surface: no line through it.
            "o-" if len(others) == 1 else "o",
            color=scales.BEST,
            label="Pareto front",
        )
        for trial in found.front[: scales.NAMED]:
            at = (other.of(trial), first.of(trial))
            axes.annotate(
                str(trial.number), at, xytext=(5, -11), textcoords="offset points", fontsize=8
            )
        axes.set(xlabel=other.arrow, ylabel=first.arrow)
        axes.margins(0.08)
    panels[0].set_title("Pareto front")
    panels[-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


PICTURES = {
    "history": history,
    "importance": importance,
    "parallel": parallel,
    "slice": slices,
    "intermediate": intermediate,
    "pareto": pareto,
}
