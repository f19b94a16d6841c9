"""What a report compares: objects that were both picked and annotated in a run."""

import logging

import numpy as np

from octopi.geometry import Points
from octopi.html_report.collect import keep_comparable_objects
from octopi.html_report.runs import ShownRun

POINTS = Points(np.zeros((2, 3)), np.ones(2))


def shown(name, candidates, truth):
    return ShownRun(
        name,
        role="validation",
        in_totals=True,
        candidates=dict.fromkeys(candidates, POINTS),
        truth=dict.fromkeys(truth, POINTS),
        read_scores=None,
    )


def test_an_object_that_was_not_picked_or_not_annotated_is_left_out_and_named(caplog):
    runs = [
        shown("TS_01", ["apo"], ["apo", "ribosome"]),
        shown("TS_02", ["apo", "ribosome"], ["ribosome"]),
        shown("TS_03", ["apo"], []),
    ]
    with caplog.at_level(logging.WARNING):
        kept = keep_comparable_objects(runs)
    objects = [(run.name, sorted(run.candidates), sorted(run.truth)) for run in kept]
    assert objects == [
        ("TS_01", ["apo"], ["apo"]),
        ("TS_02", ["ribosome"], ["ribosome"]),
        ("TS_03", ["apo"], []),
    ]
    assert "ribosome is not scored in 1 of 2 runs that have no picks of it: TS_01" in caplog.text
    assert "apo is not scored in 1 of 2 runs that have no truth of it: TS_02" in caplog.text
