"""Pictures of a search, drawn by Optuna: PNGs, and an interactive HTML page."""

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

from octopi.sweeps.results import Objective, StudyResults, plain_study
from octopi.sweeps.summary import format_table, write_results
from octopi.system.files import staged, write_text
from octopi.system.locks import wait_for_lock

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
        rows: lines of text along the y axis; 0 = none that need room.
        arguments: of the function.
    """

    function: str
    panels: int = 1
    rows: int = 0
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def draw(self, library: Any, study: Study) -> Any:
        """Call Optuna's function of the library."""
        return getattr(library, self.function)(study, **self.arguments)


def write_summary(folder: Path, study: Study, objectives: Sequence[str]) -> StudyResults:
    """Write the results and pictures of a search into its folder; return the results.

    Args:
        folder: that other workers may write into, too.
        study: the search.
        objectives: their names, as many as the study has directions.
    """
    with wait_for_lock(folder / ".lock"):
        results = StudyResults(study, objectives)
        write_results(folder, results)
        draw(folder, results)
    return results


def draw(folder: Path, results: StudyResults) -> list[Path]:
    """Draw every picture for which there are enough trials; remove old pictures of the others.

    Args:
        folder: gets the PNGs and the page.
        results: of the search.

    Returns:
        The files that were written, the page first.
    """
    pictures = possible_pictures(results)
    names = {f"{kind}{suffix(o.index)}" for kind in KINDS for o in results.objectives}
    for name in names - pictures.keys():
        (folder / f"{name}.png").unlink(missing_ok=True)
    if not pictures:
        (folder / PAGE).unlink(missing_ok=True)
        return []
    if not mpl.is_interactive():  # a notebook keeps its backend
        plt.switch_backend("agg")  # opens no window and needs no display
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # It warns that less has to be better, which `Objective.loss` ensures.
        warnings.filterwarnings("ignore", message="PedAnova.* low `target` values")
        warnings.filterwarnings("ignore", message="Target and region quantiles select")
        # A character that the font lacks becomes a box in the picture.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        plain = plain_study(results)
        write_text(folder / PAGE, format_page(results, plain, pictures))
        for name, picture in pictures.items():
            draw_png(folder / f"{name}.png", plain, picture)
    return [folder / PAGE, *(folder / f"{name}.png" for name in pictures)]


def suffix(index: int) -> str:
    """Return the end of the file names of an objective's pictures: none, `_2`, `_3` and so on."""
    return f"_{index + 1}" if index else ""


def possible_pictures(results: StudyResults) -> dict[str, Picture]:
    """Choose the pictures for which there are enough trials: stem of the file name -> picture."""
    is_compared = len(results.complete) >= 2
    varying = [results.labels[n] for n in results.varying[:MAX_PARAMETERS]] if is_compared else []
    pictures: dict[str, Picture] = {}
    for objective in results.objectives:
        pictures |= _objective_pictures(results, objective, varying)
    if varying:
        arguments: dict[str, Any] = {"params": varying}
        if len(results.objectives) == 1:
            arguments["target_name"] = results.objectives[0].arrow
        panels = len(varying) + len(results.objectives)
        pictures["parallel"] = Picture(
            "plot_parallel_coordinate", panels=panels, arguments=arguments
        )
    if any(math.isfinite(v) for t in results.trials for v in t.intermediate_values.values()):
        pictures["intermediate"] = Picture("plot_intermediate_values")
    if results.complete and len(results.objectives) in (2, 3):  # as many as Optuna can draw
        pictures["pareto"] = Picture("plot_pareto_front")
    return pictures


def _objective_pictures(
    results: StudyResults, objective: Objective, varying: Sequence[str]
) -> dict[str, Picture]:
    """Choose the pictures of one objective; `varying` are the parameters to compare, if any."""
    pictures = {}
    end = suffix(objective.index)
    target: dict[str, Any] = {"target_name": objective.arrow}
    if len(results.objectives) > 1:  # of a single one Optuna finds values and direction itself
        target["target"] = objective.value_of
    if results.complete:
        pictures[f"history{end}"] = Picture("plot_optimization_history", arguments=target)
    if results.importances and results.importances[objective.index]:
        pictures[f"importance{end}"] = Picture(
            "plot_param_importances",
            rows=len(results.frequent_params),
            arguments={
                "evaluator": results.evaluator,
                "params": [results.labels[name] for name in results.frequent_params],
                "target": objective.loss,
                "target_name": objective.name,
            },
        )
    if varying:
        arguments = {"params": varying, **target}
        pictures[f"slice{end}"] = Picture("plot_slice", panels=len(varying), arguments=arguments)
    return pictures


def format_page(results: StudyResults, study: Study, pictures: Mapping[str, Picture]) -> str:
    """Return the HTML with every picture; it loads nothing from elsewhere."""
    parts = []
    for name, picture in pictures.items():
        figure: Figure = picture.draw(visualization, study)
        figure.update_layout(height=max(480, 120 + 26 * picture.rows), template="plotly_white")
        figure.update_xaxes(automargin=True)
        figure.update_yaxes(automargin=True)
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
        table=html.escape(format_table(results)),
        figures="\n".join(parts),
    )


def draw_png(path: Path, study: Study, picture: Picture) -> None:
    """Draw a picture with matplotlib and write it to a file."""
    # Names are not formulas. The style that Optuna sets for good ends with the context.
    with mpl.rc_context({"text.parse_math": False}):
        axes = list(np.ravel(picture.draw(static, study)))
        figure = axes[0].figure
        try:
            figure.set_size_inches(max(8.0, 2.6 * picture.panels), max(4.8, 0.3 * picture.rows))
            for panel in figure.axes:
                for axis in (panel.xaxis, panel.yaxis):
                    if axis.get_scale() == "log":  # its powers of ten are formulas by default
                        axis.set_major_formatter("{x:g}")
                        axis.set_minor_formatter(NullFormatter())
            if picture.function in LAYOUTS:
                LAYOUTS[picture.function](axes)
            with staged(path) as stage:
                figure.savefig(stage, dpi=110, format="png", bbox_inches="tight")
        finally:
            plt.close(figure)


def _turn_labels(axes: Sequence[Axes]) -> None:
    for panel in axes:
        plt.setp(panel.get_xticklabels(), rotation=40, ha="right", rotation_mode="anchor")


def _label_integers(axes: Sequence[Axes]) -> None:
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    legend = axes[0].get_legend()
    if legend is not None and len(legend.get_texts()) > MAX_LEGEND:
        legend.remove()


LAYOUTS: dict[str, Callable[[Sequence[Axes]], None]] = {
    "plot_optimization_history": _label_integers,
    "plot_slice": _turn_labels,
    "plot_parallel_coordinate": _turn_labels,
    "plot_intermediate_values": _label_integers,
}
