"""Pictures of a search that answer the mouse, in one HTML file that needs nothing else."""

import html
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import plotly.graph_objects as go
from optuna.trial import FrozenTrial, TrialState
from plotly.io import to_html
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from octopi.exploration import scales
from octopi.exploration.findings import Findings, Objective, Parameter, folder_of
from octopi.exploration.summary import table

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font-family: sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 1em; }}
pre {{ background: #f5f5f5; padding: 1em; overflow-x: auto; }}
</style>
<script>{library}</script>
</head>
<body>
<h1>{title}</h1>
<pre>{table}</pre>
{figures}
</body>
</html>
"""


def page(found: Findings) -> str | None:
    """The HTML with every picture that can be drawn; None where none can."""
    drawn = {name: draw(found) for name, draw in PICTURES.items()}
    parts = [
        to_html(
            figure,
            include_plotlyjs=False,
            full_html=False,
            div_id=name,
            config={"displaylogo": False, "responsive": True},
        )
        for name, figure in drawn.items()
        if figure is not None
    ]
    if not parts:
        return None
    return PAGE.format(
        title=escaped(found.study.study_name),
        library=get_plotlyjs(),
        table=escaped(table(found.study, [o.name for o in found.objectives])),
        figures="\n".join(parts),
    )


def escaped(text: str) -> str:
    """The text as it is, where HTML is read: plotly reads some in its labels."""
    return html.escape(text, quote=False)


def told(found: Findings, trial: FrozenTrial) -> str:
    """What is said of a trial under the mouse."""
    values = [f"{o.name} = {o.of(trial):.4g}" for o in found.objectives if trial.values]
    params = [f"{name} = {value}" for name, value in trial.params.items()]
    return "<br>".join(map(escaped, [folder_of(trial), *values, *params]))


def history(found: Findings) -> go.Figure | None:
    """Each trial's value and the best so far; pruned and failed trials along the bottom."""
    if not found.complete:
        return None
    rows = len(found.objectives)
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    for row, objective in enumerate(found.objectives, start=1):
        numbers = [trial.number for trial in found.complete]
        values = [objective.of(trial) for trial in found.complete]
        best = (np.maximum if objective.maximize else np.minimum).accumulate(values)
        first = row == 1
        figure.add_scatter(
            x=numbers,
            y=values,
            mode="markers",
            marker={"color": scales.COMPLETE, "size": 8},
            name="complete",
            hovertext=[told(found, trial) for trial in found.complete],
            hoverinfo="text",
            showlegend=first,
            row=row,
            col=1,
        )
        figure.add_scatter(
            x=numbers,
            y=best.tolist(),
            line={"color": scales.BEST, "shape": "hv"},
            name="best so far",
            hoverinfo="skip",
            showlegend=first,
            row=row,
            col=1,
        )
        low, high = min(values), max(values)
        _bottom(figure, found, row, low - 0.08 * (high - low or 1.0))
        figure.update_yaxes(title_text=escaped(objective.arrow), row=row, col=1)
    figure.update_xaxes(title_text="trial", row=rows, col=1)
    return _titled(figure, "Optimisation history", 380 * rows)


def _bottom(figure: go.Figure, found: Findings, row: int, height: float) -> None:
    marks = {"pruned": (TrialState.PRUNED, "triangle-down"), "failed": (TrialState.FAIL, "x")}
    for name, (state, symbol) in marks.items():
        trials = found.of_state(state)
        if trials:
            figure.add_scatter(
                x=[trial.number for trial in trials],
                y=[height] * len(trials),
                mode="markers",
                marker={"color": scales.STATES[name], "symbol": symbol, "size": 8},
                name=name,
                hovertext=[_why(found, trial) for trial in trials],
                hoverinfo="text",
                showlegend=row == 1,
                row=row,
                col=1,
            )


def _why(found: Findings, trial: FrozenTrial) -> str:
    reason = trial.user_attrs.get("reason")
    return told(found, trial) + (f"<br>{escaped(str(reason))}" if reason else "")


def importance(found: Findings) -> go.Figure | None:
    """How much each parameter has to do with reaching good values."""
    if not found.importances:
        return None
    figure = make_subplots(
        rows=1,
        cols=len(found.objectives),
        subplot_titles=[f"What {escaped(o.name)} depends on" for o in found.objectives],
        horizontal_spacing=0.25,
    )
    shown = 0
    for column, each in enumerate(found.importances, start=1):
        top = list(each.items())[: scales.BARS][::-1]
        shown = max(shown, len(top))
        figure.add_bar(
            x=[part for _, part in top],
            y=[escaped(found.labels[name]) for name, _ in top],
            text=[f"{part:.2f}" for _, part in top],
            hovertext=[f"{escaped(name)}: {part:.3f}" for name, part in top],
            hoverinfo="text",
            orientation="h",
            marker={"color": scales.COMPLETE},
            showlegend=False,
            row=1,
            col=column,
        )
    figure.update_yaxes(type="category", automargin=True)
    title = f"Parameter importance (PED-ANOVA of {len(found.complete)} complete trials)"
    return _titled(figure, title, 180 + 26 * shown)


def parallel(found: Findings) -> go.Figure | None:
    """Each complete trial as a line through its values; ranges can be brushed."""
    if len(found.complete) < 2 or not found.parameters:
        return None
    # Lines are drawn in this order: the good end on top.
    trials = found.ranked[::-1]
    dimensions = [
        {
            "label": escaped(line.label),
            "values": [line.places[trial.number] for trial in trials],
            "tickvals": list(line.ticks),
            "ticktext": [escaped(text) for text in line.ticks.values()],
            "range": [min([0.0, *line.places.values()]), 1.0],
        }
        for line in scales.uprights(found)
    ]
    first = found.objectives[0]
    figure = go.Figure(
        go.Parcoords(
            dimensions=dimensions,
            labelangle=-20,
            labelside="bottom",
            line={
                "color": [first.of(trial) for trial in trials],
                "colorscale": [[0, f"rgb{scales.PALE}"], [1, f"rgb{scales.DARK}"]],
                "reversescale": not first.maximize,
                "showscale": True,
                "colorbar": {"title": {"text": escaped(first.arrow)}},
            },
        )
    )
    figure = _titled(figure, "Parallel coordinates", 520)
    return figure.update_layout(margin={"l": 90, "r": 60, "b": 110})


def slices(found: Findings) -> go.Figure | None:
    """Each parameter against each objective; the best trial is a star."""
    if len(found.complete) < 2 or not found.parameters:
        return None
    across = min(4, len(found.parameters))
    down = math.ceil(len(found.parameters) / across)
    rows = down * len(found.objectives)
    figure = make_subplots(rows=rows, cols=across, vertical_spacing=0.45 / rows)
    for objective in found.objectives:
        for place, parameter in enumerate(found.parameters):
            at: dict[str, Any] = {
                "row": objective.index * down + place // across + 1,
                "col": place % across + 1,
            }
            _slice(figure, found, parameter, objective, at)
    return _titled(figure, "Slices: each parameter alone", 330 * rows + 60)


def _slice(
    figure: go.Figure,
    found: Findings,
    parameter: Parameter,
    objective: Objective,
    at: dict[str, Any],
) -> None:
    trials = [trial for trial in found.complete if trial.number in parameter.values]
    figure.add_scatter(
        x=[scales.beside(parameter, trial.number) for trial in trials],
        y=[objective.of(trial) for trial in trials],
        mode="markers",
        marker={
            "color": [trial.number for trial in trials],
            "colorscale": "Viridis",
            "reversescale": True,
            "size": 7,
            "line": {"width": 0.5, "color": "grey"},
        },
        hovertext=[told(found, trial) for trial in trials],
        hoverinfo="text",
        showlegend=False,
        **at,
    )
    best = found.ranked[0]
    if best in trials:
        figure.add_scatter(
            x=[scales.beside(parameter, best.number)],
            y=[objective.of(best)],
            mode="markers",
            marker={"color": scales.BEST, "symbol": "star", "size": 13},
            hovertext=told(found, best),
            hoverinfo="text",
            showlegend=False,
            **at,
        )
    figure.update_xaxes(**_axis(parameter), **at)
    if at["col"] == 1:
        figure.update_yaxes(title_text=escaped(objective.arrow), **at)


def _axis(parameter: Parameter) -> dict[str, Any]:
    """The axis is that of the parameter: choices, a logarithm, a few whole numbers or any."""
    axis: dict[str, Any] = {"title_text": escaped(parameter.label), "automargin": True}
    values = sorted(set(parameter.values.values()))
    if parameter.choices is not None:
        places = list(range(len(parameter.choices)))
        texts = [escaped(choice) for choice in parameter.choices]
        axis |= {"tickvals": places, "ticktext": texts, "range": [-0.5, places[-1] + 0.5]}
        return axis | ({"tickangle": -30} if max(map(len, texts)) > 5 else {})
    if parameter.log:
        ratio = values[-1] / values[0]
        step = {"dtick": 1 if ratio > 100 else "D2"} if ratio > 5 else {"nticks": 4}
        return axis | {"type": "log", "tickformat": "~g", "tickangle": -30} | step
    if len(values) <= scales.NUM_TICKS and all(value == round(value) for value in values):
        return axis | {"tickvals": values}
    return axis


def intermediate(found: Findings) -> go.Figure | None:
    """Each trial's course over its epochs; pruned ones end with a mark."""
    if not found.courses:
        return None
    figure = go.Figure()
    best = found.ranked[0].number if found.ranked else None
    looks = {
        "complete": ("solid", "circle"),
        "pruned": ("dash", "triangle-down"),
        "failed": ("dot", "x"),
        "running": ("dashdot", "circle-open"),
    }
    told_of: set[str] = set()
    # What ended early lies on top of what did not, and the best on top of all.
    for course in sorted(found.courses, key=lambda c: (c.number == best, c.state != "complete")):
        name = "best" if course.number == best else course.state
        dash, symbol = looks[course.state]
        color = scales.BEST if name == "best" else scales.STATES[name]
        last, early = len(course.steps) - 1, course.state != "complete"
        figure.add_scatter(
            x=course.steps,
            y=course.values,
            mode="lines+markers",
            line={"color": color, "dash": dash, "width": 3 if name == "best" else 1.3},
            marker={"symbol": symbol, "size": [3] * last + [10 if early else 5], "opacity": 1},
            name=name,
            legendgroup=name,
            showlegend=name not in told_of,
            hovertext=[
                f"{escaped(folder_of(found.trials[course.number]))} ({name})<br>"
                f"epoch {step}: {value:.4g}"
                for step, value in zip(course.steps, course.values, strict=True)
            ],
            hoverinfo="text",
        )
        told_of.add(name)
    figure.update_xaxes(title_text="epoch")
    figure.update_yaxes(title_text=escaped(found.objectives[0].arrow))
    return _titled(figure, "Intermediate values", 480)


def pareto(found: Findings) -> go.Figure | None:
    """What each objective costs in the first: the front, and the trials that it beats."""
    if len(found.objectives) < 2 or not found.complete:
        return None
    first, *others = found.objectives
    figure = make_subplots(rows=1, cols=len(others))
    front = {trial.number for trial in found.front}
    rest = [trial for trial in found.complete if trial.number not in front]
    line = "lines+markers" if len(others) == 1 else "markers"
    kinds = [
        ("beaten by another", rest, "markers", "#b5b5b5"),
        ("Pareto front", found.front, line, scales.BEST),
    ]
    for column, other in enumerate(others, start=1):
        for name, trials, mode, color in kinds:
            figure.add_scatter(
                x=[other.of(trial) for trial in trials],
                y=[first.of(trial) for trial in trials],
                mode=mode,
                line={"color": color},
                marker={"color": color, "size": 9},
                name=name,
                hovertext=[told(found, trial) for trial in trials],
                hoverinfo="text",
                showlegend=column == 1,
                row=1,
                col=column,
            )
        figure.update_xaxes(title_text=escaped(other.arrow), row=1, col=column)
        figure.update_yaxes(title_text=escaped(first.arrow), row=1, col=column)
    return _titled(figure, "Pareto front", 480)


def _titled(figure: go.Figure, title: str, height: int) -> go.Figure:
    return figure.update_layout(
        title={"text": title}, height=height, template="plotly_white", hovermode="closest"
    )


PICTURES: dict[str, Callable[[Findings], go.Figure | None]] = {
    "history": history,
    "importance": importance,
    "parallel": parallel,
    "slice": slices,
    "intermediate": intermediate,
    "pareto": pareto,
}
