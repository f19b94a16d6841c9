"""Pictures of a search, drawn by Optuna at any time: PNGs, and one page for the mouse."""

import html
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import optuna
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter
from optuna import Study, visualization
from optuna.visualization import matplotlib as static
from plotly.graph_objects import Figure
from plotly.io import to_html

from octopi.sweeps.results import StudyResults, plain_study
from octopi.sweeps.summary import table
from octopi.system.files import staged, write_text

PAGE = "pictures.html"
KINDS = ("history", "importance", "parallel", "slice", "intermediate", "pareto")
MAX_PARAMETERS = 8  # side by side in a picture, the most important ones
MAX_LEGEND = 20  # trials named in a legend: as many as it has colours
TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font-family: sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 1em; }}
pre {{ background: #f5f5f5; padding: 1em; overflow-x: auto; }}
section {{ overflow-x: auto; }}
</style>
</head>
<body>
<h1>{title}</h1>
<pre>{table}</pre>
{figures}
</body>
</html>
"""


@dataclass(frozen=True)
class Picture:
    """A picture as Optuna draws it, with plotly and with matplotlib.

    Args:
        function: its name in `optuna.visualization` and in `optuna.visualization.matplotlib`.
        panels: axes side by side.
        rows: lines of text beside one another along the y axis; 0 = any height will do.
        arguments: of the function.
    """

    function: str
    panels: int = 1
    rows: int = 0
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def draw(self, library: Any, study: Study) -> Any:
        """Call Optuna's function of the library."""
        return getattr(library, self.function)(study, **self.arguments)


def draw(folder: Path, study: Study, objectives: Sequence[str]) -> list[Path]:
    """Draw every picture that is possible by now, and remove those of another time.

    Args:
        folder: gets the PNGs and the page.
        study: the search.
        objectives: their names, as many as the study has directions.

    Returns:
        The files that were written, the page first.
    """
    results = StudyResults(study, objectives)
    pictures = possible_pictures(results)
    for name in (f"{kind}{suffix(index)}" for kind in KINDS for index in range(len(objectives))):
        if name not in pictures:
            (folder / f"{name}.png").unlink(missing_ok=True)
    if not pictures:
        (folder / PAGE).unlink(missing_ok=True)
        return []
    if not mpl.is_interactive():  # the backend of a notebook stays
        plt.switch_backend("agg")  # which opens no window and needs no display
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Optuna warns that importance wants low values: `Objective.loss` sees to that.
        warnings.filterwarnings("ignore", message="PedAnova.* low `target` values")
        warnings.filterwarnings("ignore", message="Target and region quantiles select")
        # A letter that the font lacks is a box in the picture, not a fault.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        plain = plain_study(results)
        write_text(folder / PAGE, write_page(results, plain, pictures))
        for name, picture in pictures.items():
            draw_png(folder / f"{name}.png", plain, picture)
    return [folder / PAGE, *(folder / f"{name}.png" for name in pictures)]


def suffix(index: int) -> str:
    """Return what follows the name of a picture of the objective at this index."""
    return f"_{index + 1}" if index else ""


def possible_pictures(results: StudyResults) -> dict[str, Picture]:
    """Choose the pictures for which there are trials enough, by the names of their files."""
    pictures = {}
    varying = [results.labels[name] for name in results.varying[:MAX_PARAMETERS]]
    compared = len(results.complete) >= 2 and bool(varying)
    for objective in results.objectives:
        end = suffix(objective.index)
        target: dict[str, Any] = {"target_name": objective.arrow}
        if len(results.objectives) > 1:  # of one objective Optuna knows where its best values are
            target["target"] = objective.value_of
        if results.complete:
            pictures[f"history{end}"] = Picture("plot_optimization_history", arguments=target)
        if results.importances and results.importances[objective.index]:
            pictures[f"importance{end}"] = Picture(
                "plot_param_importances",
                rows=len(results.judged),
                arguments={
                    "evaluator": results.evaluator,
                    "params": [results.labels[name] for name in results.judged],
                    "target": objective.loss,
                    "target_name": objective.name,
                },
            )
        if compared:
            pictures[f"slice{end}"] = Picture(
                "plot_slice", panels=len(varying), arguments={"params": varying, **target}
            )
    if compared:
        arguments: dict[str, Any] = {"params": varying}
        if len(results.objectives) == 1:
            arguments["target_name"] = results.objectives[0].arrow
        panels = len(varying) + len(results.objectives)
        pictures["parallel"] = Picture(
            "plot_parallel_coordinate", panels=panels, arguments=arguments
        )
    if any(math.isfinite(v) for t in results.trials for v in t.intermediate_values.values()):
        pictures["intermediate"] = Picture("plot_intermediate_values")
    if results.complete and len(results.objectives) in (2, 3):  # Optuna draws no more
        pictures["pareto"] = Picture("plot_pareto_front")
    return {name: pictures[name] for name in sorted(pictures, key=_place)}


def _place(name: str) -> tuple[str, int]:
    kind, _, number = name.partition("_")
    return number, KINDS.index(kind)


def write_page(results: StudyResults, study: Study, pictures: Mapping[str, Picture]) -> str:
    """Write the HTML with every picture, which loads nothing."""
    parts = []
    for name, picture in pictures.items():
        figure = fit_to_page(picture.draw(visualization, study), picture)
        part = to_html(
            figure,
            include_plotlyjs=not parts,
            full_html=False,
            div_id=name,
            config={"displaylogo": False, "responsive": True},
        )
        parts.append(f"<section>{part}</section>")
    return TEMPLATE.format(
        title=html.escape(results.study.study_name),
        table=html.escape(table(results.study, [o.name for o in results.objectives])),
        figures="\n".join(parts),
    )


def fit_to_page(figure: Figure, picture: Picture) -> Figure:
    """Give the figure room for its text; names are shown as they are."""
    figure.update_layout(height=max(480, 120 + 26 * picture.rows), template="plotly_white")
    figure.update_xaxes(automargin=True)
    return figure.update_yaxes(automargin=True)


def draw_png(path: Path, study: Study, picture: Picture) -> None:
    """Draw the picture with matplotlib and write it whole."""
    # Names are shown as they are, never read as formulas. Optuna sets a style for good: not here.
    with mpl.rc_context({"text.parse_math": False}):
        axes = list(np.ravel(picture.draw(static, study)))
        figure = axes[0].figure
        try:
            figure.set_size_inches(max(8.0, 2.6 * picture.panels), max(4.8, 0.3 * picture.rows))
            for each in figure.axes:
                for axis in (each.xaxis, each.yaxis):
                    if axis.get_scale() == "log":  # whose powers of ten would be formulas
                        axis.set_major_formatter("{x:g}")
                        axis.set_minor_formatter(NullFormatter())
            if picture.function in LAYOUTS:
                LAYOUTS[picture.function](axes)
            with staged(path) as stage:
                figure.savefig(stage, dpi=110, format="png", bbox_inches="tight")
        finally:
            plt.close(figure)


def _turn_labels(axes: Sequence[Axes]) -> None:
    for each in axes:
        plt.setp(each.get_xticklabels(), rotation=40, ha="right", rotation_mode="anchor")


def _name_whole_steps(axes: Sequence[Axes]) -> None:
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    legend = axes[0].get_legend()
    if legend is not None and len(legend.get_texts()) > MAX_LEGEND:
        legend.remove()


LAYOUTS: dict[str, Callable[[Sequence[Axes]], None]] = {
    "plot_optimization_history": _name_whole_steps,
    "plot_slice": _turn_labels,
    "plot_parallel_coordinate": _turn_labels,
    "plot_intermediate_values": _name_whole_steps,
}
