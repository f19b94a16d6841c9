"""The report's charts for logs and trackers."""

import numpy as np
import pytest

from octopi.evaluation.chances import AnnotatedShare
from octopi.evaluation.scores import Matched
from octopi.geometry import Points
from octopi.html_report.runs import Objects, ShownRun
from octopi.html_report.threshold_figure import plot_thresholds
from octopi.project import PickableObject

SCORER = Matched(tolerance_scale=0.5, beta=1.0, num_resamples=0, seed=0)


def test_precision_is_estimated_and_marked_where_picks_are_missing():
    candidates = Points(np.arange(30.0).reshape(10, 3) * 100, np.linspace(0.9, 0.1, 10))
    names = ["apo", "ribosome"]
    truth = dict.fromkeys(names, candidates[:2])
    run = ShownRun(
        "TS_01",
        "validation",
        in_totals=True,
        candidates=dict.fromkeys(names, candidates),
        truth=truth,
        read_scores=None,
    )
    objects = Objects(
        radii=dict.fromkeys(names, 50.0),
        weights=dict.fromkeys(names, 1.0),
        thresholds={},
        initial_thresholds=dict.fromkeys(names, 0.5),
        in_project={
            name: PickableObject(
                name, label=1, radius=50.0, is_particle=True, color=(0, 90, 200), weight=1.0
            )
            for name in names
        },
    )
    figure = plot_thresholds([run], objects, SCORER, {"ribosome": AnnotatedShare(0.5, 0.4, 0.7)})
    complete, partial = figure.axes[2:]
    assert [axes.get_ylabel() for axes in (complete, partial)] == ["precision", "~precision"]
    assert complete.lines[0].get_ydata()[3] == pytest.approx(2 / 4)
    assert partial.lines[0].get_ydata()[3] == 1.0
    assert partial.lines[0].get_ydata()[-1] == pytest.approx(2 / 10 / 0.5)
