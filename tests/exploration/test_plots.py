"""What a search leaves to look at: everything that can be drawn, and nothing else."""

import json
import re

import numpy as np
import planted
import pytest
from matplotlib.image import imread
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial
from planted import FBETA, FBETA_AND_COST

from octopi.exploration import interactive, stills
from octopi.exploration.findings import Findings
from octopi.exploration.plots import draw

ALWAYS = {"history", "importance", "parallel", "slice"}


def drawn(folder):
    return {path.stem for path in folder.glob("*.png")}


def divs(folder):
    text = (folder / "pictures.html").read_text(encoding="utf-8")
    return set(re.findall(r'<div id="(\w+)" class="plotly-graph-div"', text))


def points(figure, color):
    """How many points a matplotlib figure draws in lines of a colour."""
    lines = [line for axes in figure.axes for line in axes.lines if line.get_color() == color]
    return sum(len(line.get_xdata()) for line in lines)


def test_a_search_has_every_picture_in_both_forms(tmp_path):
    draw(tmp_path, planted.dropout_decides(12), FBETA)
    assert drawn(tmp_path) == divs(tmp_path) == {*ALWAYS, "intermediate"}
    for path in tmp_path.glob("*.png"):
        image = imread(path)[..., :3]
        assert min(image.shape[:2]) > 200
        assert 0.005 < np.mean(image.min(axis=-1) < 0.8) < 0.5, path


def test_several_objectives_have_a_front_too(tmp_path):
    draw(tmp_path, planted.with_a_front(), FBETA_AND_COST)
    assert drawn(tmp_path) == divs(tmp_path) == {*ALWAYS, "pareto"}


def test_the_page_needs_nothing_but_itself(tmp_path):
    draw(tmp_path, planted.dropout_decides(12), FBETA)
    text = (tmp_path / "pictures.html").read_text(encoding="utf-8")
    outside = text.replace(interactive.get_plotlyjs(), "")
    assert len(text) - len(outside) > 1_000_000  # the library is there, once
    assert "plotly.js v" not in outside
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=", outside)
    assert "https:" not in outside.replace("https://plot.ly", "")


def test_names_are_shown_and_never_run(tmp_path):
    bad = "<script>alert(1)</script>$\\frac{"
    study = planted.empty(name=bad)
    for number in range(4):
        space = {f"{bad}.x": CategoricalDistribution([f"{bad}a", f"{bad}b"])}
        params = {f"{bad}.x": f"{bad}{'ab'[number % 2]}"}
        attrs = {"folder": bad}
        study.add_trial(
            create_trial(
                params=params,
                distributions=space,
                values=[float(number)],
                intermediate_values={1: 0.1 * number},
                user_attrs=attrs,
            )
        )
    draw(tmp_path, study, [bad])
    assert drawn(tmp_path) == divs(tmp_path) == {*ALWAYS, "intermediate"}
    text = (tmp_path / "pictures.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_pruned_trials_are_marked_in_both_forms():
    found = Findings(planted.with_every_state(), FBETA)
    assert points(stills.intermediate(found), stills.scales.PRUNED) == 2
    assert points(stills.history(found), stills.scales.PRUNED) == 2
    page = interactive.intermediate(found).to_dict()["data"]
    assert [trace["name"] for trace in page].count("pruned") == 2


def test_failed_trials_stand_in_the_history_with_their_reasons():
    found = Findings(planted.with_every_state(), FBETA)
    assert points(stills.history(found), stills.scales.FAILED) == 3
    traces = {trace.name: trace for trace in interactive.history(found).data}
    assert "out of memory" in traces["failed"].hovertext[0]


def test_the_best_so_far_follows_the_direction():
    found = Findings(planted.with_a_front(), FBETA_AND_COST)
    score, cost = (trace.y for trace in interactive.history(found).data if trace.line.shape)
    assert list(score) == [0.5, 0.9, 0.9, 0.9, 0.9]
    assert list(cost) == [10.0] * 5


def test_the_front_is_drawn_through_its_trials():
    found = Findings(planted.with_a_front(), FBETA_AND_COST)
    front = next(t for t in interactive.pareto(found).data if t.name == "Pareto front")
    assert list(zip(front.x, front.y, strict=True)) == [(100.0, 0.9), (30.0, 0.7), (10.0, 0.5)]
    lines = {line.get_label(): line for line in stills.pareto(found).axes[0].lines}
    assert list(lines["Pareto front"].get_xdata()) == [100.0, 30.0, 10.0]
    assert list(lines["beaten by another"].get_xdata()) == [10.0, 200.0]


def test_what_was_searched_on_a_logarithm_has_a_logarithmic_axis():
    found = Findings(planted.dropout_decides(12), FBETA)
    scale = {axes.get_xlabel(): axes.get_xscale() for axes in stills.slices(found).axes}
    assert scale["lr"] == "log"
    assert scale["dropout"] == "linear"
    layout = interactive.slices(found).to_dict()["layout"]
    titled = [v for k, v in layout.items() if k.startswith("xaxis") and "title" in v]
    axes = {axis["title"]["text"]: axis for axis in titled}
    assert axes["lr"]["type"] == "log"
    assert axes["dropout"].get("type") != "log"


def test_a_parameter_that_some_trials_lack_is_drawn_for_the_others():
    study = planted.dropout_decides(30)
    having = [t.number for t in study.trials if "loss.gamma" in t.params]
    assert 0 < len(having) < 30
    found = Findings(study, FBETA)
    axes = {axes.get_xlabel(): axes for axes in stills.slices(found).axes}
    assert len(axes["gamma"].collections[0].get_offsets()) == len(having)
    line = next(line for line in stills.scales.uprights(found) if line.label == "gamma")
    absent = {n for n, place in line.places.items() if place == stills.scales.ABSENT}
    assert absent == {t.number for t in study.trials} - set(having)
    assert line.ticks[stills.scales.ABSENT] == "not used"


def test_long_choices_are_cut_where_they_stay_different():
    found = Findings(planted.dropout_decides(12), FBETA)
    channels = next(p for p in found.parameters if p.label == "channels")
    assert channels.choices == ("[16,32,64]", "[32,64,128,…12,768,1024]")


def no_trial():
    return planted.empty()


def one_trial():
    study = planted.empty()
    study.add_trial(planted.trial({"model.dropout": 0.1}, 0.5))
    return study


def all_failed():
    study = planted.empty()
    study.add_trial(planted.trial({"model.dropout": 0.1}, state=TrialState.FAIL))
    return study


def all_pruned():
    study = planted.empty()
    pruned = {"state": TrialState.PRUNED, "intermediate_values": {1: 0.1, 2: float("nan")}}
    study.add_trial(planted.trial({"model.dropout": 0.1}, **pruned))
    return study


def all_alike():
    study = planted.empty()
    for _ in range(3):
        study.add_trial(planted.trial({"model.dropout": 0.1}, 0.5))
    return study


def same_score():
    study = planted.empty()
    for dropout in (0.1, 0.2, 0.3):
        study.add_trial(planted.trial({"model.dropout": dropout}, 0.5))
    return study


def infinite():
    study = planted.empty()
    study.add_trial(planted.trial({"model.dropout": 0.1}, float("inf")))
    return study


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (no_trial, set()),
        (one_trial, {"history"}),
        (all_failed, set()),
        (all_pruned, {"intermediate"}),
        (all_alike, {"history"}),
        (same_score, {"history", "parallel", "slice"}),
        (infinite, set()),
    ],
)
def test_what_cannot_be_drawn_yet_is_left_out(make, names, tmp_path):
    paths = draw(tmp_path, make(), FBETA)
    assert drawn(tmp_path) == names
    assert (tmp_path / "pictures.html").exists() == bool(names)
    assert names == (divs(tmp_path) if names else set())
    assert set(paths) == set(tmp_path.iterdir())


def test_pictures_of_another_time_do_not_stay(tmp_path):
    for name in ("pareto.png", "slice.png", "pictures.html"):
        (tmp_path / name).write_text("old", encoding="utf-8")
    (tmp_path / "mine.png").write_text("kept", encoding="utf-8")
    draw(tmp_path, all_failed(), FBETA)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]


def test_the_page_holds_the_values_of_the_study(tmp_path):
    study = planted.with_every_state()
    draw(tmp_path, study, FBETA)
    text = (tmp_path / "pictures.html").read_text(encoding="utf-8")
    dropout = f"{study.trials[2].params['model.dropout']}"
    assert json.dumps(dropout)[1:-1] in text
