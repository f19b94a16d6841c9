"""The table of a cross-validation fits the screen and needs nothing but results.json."""

import json

import numpy as np
import pytest

from octopi.cross_validation.table import (
    THRESHOLD_METHODS,
    format_folds,
    plot_folds,
    summarize_folds,
)
from octopi.errors import DataError
from octopi.evaluation.scores import Matched
from octopi.geometry import Points

SCORER = Matched(tolerance_scale=0.5, beta=4.0, num_resamples=10, seed=0)


def make_results(object_names, *, run_names=(), num_folds=1):
    """Return the results of folds with one perfect pick of each object in each run."""
    picks = {run: {name: one_point() for name in object_names} for run in run_names}
    sizes = dict.fromkeys(object_names, 50.0), dict.fromkeys(object_names, 1.0)
    score = SCORER(picks, picks, radii=sizes[0], weights=sizes[1]).to_dict()
    by_fold = {**{f"fold_{i}": score for i in range(num_folds)}, "pooled": score}
    return {"scores": dict.fromkeys(THRESHOLD_METHODS, by_fold)}


def one_point():
    return Points(np.array([[10.0, 20.0, 30.0]]), np.ones(1))


def test_the_table_lists_each_fold_and_then_all_together(tmp_path):
    results = make_results(["ribosome"], run_names=["TS_01", "TS_02"], num_folds=3)
    (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    lines = summarize_folds(tmp_path).splitlines()
    assert max(map(len, lines)) <= 100
    starts = [line.split()[0] for line in lines]
    assert starts.index("fold_0") < starts.index("fold_2") < starts.index("pooled")
    assert "1.000 … 1.000" in lines[starts.index("pooled")]
    assert "in-sample" in lines[-1]


def test_many_objects_with_long_names_fit_the_table():
    text = format_folds(make_results([f"beta-{letter * 12}-synthase" for letter in "abcdefghi"]))
    assert max(map(len, text.splitlines())) <= 100
    assert "n/a" in text
    assert "3 more objects" in text


def test_the_picture_marks_estimates_as_the_table_does():
    results = make_results(["apo", "ribosome"], run_names=["TS_01", "TS_02"], num_folds=2)
    complete = plot_folds(results).axes[0]
    assert "~" not in complete.get_title()
    assert "~" not in "".join(label.get_text() for label in complete.get_xticklabels())
    results["scores"]["pooled"]["pooled"]["scores"]["apo"]["annotated_share"] = [0.5, 0.4, 0.7]
    partial = plot_folds(results).axes[0]
    labels = [label.get_text() for label in partial.get_xticklabels()]
    assert labels == ["~apo", "ribosome", "~total"]
    assert "~ estimated" in partial.get_title()
    assert "~ estimated" in format_folds(results)


@pytest.mark.parametrize("content", ["{", "[1]", "{}", '{"scores": {"pooled": {"pooled": 3}}}'])
def test_a_damaged_file_of_results_is_named_with_the_cure(tmp_path, content):
    path = tmp_path / "results.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=f"{path} is damaged.*Start the command that trained"):
        summarize_folds(tmp_path)
