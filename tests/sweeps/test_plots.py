"""The pictures of a search: those for which it has enough trials, and no others."""

import base64
import json
import re

import numpy as np
import planted
import pytest
from matplotlib.image import imread
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial
from planted import FBETA, FBETA_AND_COST
from plotly.offline import get_plotlyjs

from octopi.sweeps.plots import draw
from octopi.sweeps.results import StudyResults, plain_study

ALWAYS = {"history", "importance", "parallel", "slice"}
PER_OBJECTIVE = {"history_2", "importance_2", "slice_2"}


def png_names(folder):
    return {path.stem for path in folder.glob("*.png")}


def read_page(folder):
    return (folder / "pictures.html").read_text(encoding="utf-8")


def figure_names(folder):
    return set(re.findall(r'<div id="(\w+)" class="plotly-graph-div"', read_page(folder)))


def read_figures(folder):
    """Read name -> (traces, layout) as the page hands them to plotly."""
    decoder, text, figures = json.JSONDecoder(), read_page(folder), {}
    for match in re.finditer(r'Plotly\.newPlot\(\s*"(\w+)",\s*', text):
        traces, end = decoder.raw_decode(text, match.end())
        layout, _ = decoder.raw_decode(text, re.compile(r",\s*").match(text, end).end())
        figures[match[1]] = (traces, layout)
    return figures


def read_numbers(values):
    """Read the numbers of a trace, which plotly writes as lists or as base64."""
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"]).tolist()
    return list(values)


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    """The folder of the pictures of a search of thirty complete trials, and its study."""
    folder, study = tmp_path_factory.mktemp("search"), planted.dropout_decides(30)
    draw(folder, StudyResults(study, FBETA))
    return folder, study


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    """The folder of the pictures of a search for two objectives."""
    folder = tmp_path_factory.mktemp("front")
    draw(folder, StudyResults(planted.with_a_front(), FBETA_AND_COST))
    return folder


@pytest.fixture(scope="module")
def every_state(tmp_path_factory):
    """The folder of the pictures of a search with trials in every state."""
    folder = tmp_path_factory.mktemp("states")
    draw(folder, StudyResults(planted.with_every_state(), FBETA))
    return folder


def test_a_search_has_every_picture_in_both_forms(search):
    folder, _ = search
    assert png_names(folder) == figure_names(folder) == {*ALWAYS, "intermediate"}
    for path in folder.glob("*.png"):
        image = imread(path)[..., :3]
        assert min(image.shape[:2]) > 200
        assert 0.002 < np.mean(image.min(axis=-1) < 0.8) < 0.5, path


def test_several_objectives_have_pictures_each_and_a_pareto_front(front):
    assert png_names(front) == figure_names(front) == {*ALWAYS, *PER_OBJECTIVE, "pareto"}


def test_the_page_loads_nothing(search):
    text = read_page(search[0])
    outside = text.replace(get_plotlyjs(), "")
    assert len(text) - len(outside) > 1_000_000  # the library is in it, once
    assert "plotly.js v" not in outside
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=", outside)
    assert "https:" not in outside.replace("https://plot.ly", "")


def test_names_are_shown_as_text_and_not_run(tmp_path):
    bad = "<script>alert(1)</script>$\\frac{"
    study = planted.empty(name=bad)
    for number in range(4):
        space = {f"{bad}.x": CategoricalDistribution([f"{bad}a", f"{bad}b"])}
        study.add_trial(
            create_trial(
                params={f"{bad}.x": f"{bad}{'ab'[number % 2]}"},
                distributions=space,
                values=[float(number)],
                intermediate_values={1: 0.1 * number},
            )
        )
    draw(tmp_path, StudyResults(study, [bad]))
    assert png_names(tmp_path) == figure_names(tmp_path) == {*ALWAYS, "intermediate"}
    text = read_page(tmp_path)
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_every_complete_trial_is_in_every_picture_of_the_page(search):
    folder, study = search
    figures = read_figures(folder)
    scores = sorted(trial.value for trial in study.trials)
    assert sorted(read_numbers(figures["history"][0][0]["y"])) == scores
    lines = [trace for trace in figures["parallel"][0] if trace["mode"] == "lines"]
    assert len(lines) == 30
    assert len(figures["intermediate"][0]) == 30
    axes = [layout for key, layout in figures["slice"][1].items() if key.startswith("xaxis")]
    dropout = [axis["title"]["text"] for axis in axes].index("dropout")
    assert sorted(read_numbers(figures["slice"][0][dropout]["y"])) == scores


def test_a_parameter_that_some_trials_lack_is_drawn_for_the_others(search):
    folder, study = search
    with_gamma = [t for t in study.trials if "loss.gamma" in t.params]
    assert 0 < len(with_gamma) < 30
    figures = read_figures(folder)
    axes = [layout for key, layout in figures["slice"][1].items() if key.startswith("xaxis")]
    gamma = [axis["title"]["text"] for axis in axes].index("gamma")
    values = read_numbers(figures["slice"][0][gamma]["x"])
    assert sorted(values) == sorted(t.params["loss.gamma"] for t in with_gamma)
    drawn_as = [
        text
        for trace in figures["parallel"][0]
        for name, text in trace.get("customdata", [])
        if name == "gamma"
    ]
    assert len(drawn_as) == 30
    assert drawn_as.count("None") == 30 - len(with_gamma)


def test_pruned_trials_are_among_the_intermediate_values(every_state):
    traces = read_figures(every_state)["intermediate"][0]
    assert [trace["name"] for trace in traces] == [f"Trial{number}" for number in range(6)]


def test_the_best_so_far_rises(every_state):
    _, best, *_ = read_figures(every_state)["history"][0]
    assert read_numbers(best["y"])[:4] == [0.3, 0.5, 0.9, 0.9]


def test_the_pareto_front_is_marked(front):
    traces, _ = read_figures(front)["pareto"]
    best = next(trace for trace in traces if "<extra>Best Trial</extra>" in trace["hovertemplate"])
    points = zip(read_numbers(best["x"]), read_numbers(best["y"]), strict=True)
    assert sorted(points) == [(0.5, 10.0), (0.7, 30.0), (0.9, 100.0)]


def test_a_parameter_drawn_on_a_logarithmic_scale_has_a_logarithmic_axis(search):
    layout = read_figures(search[0])["slice"][1]
    axes = {a["title"]["text"]: a for key, a in layout.items() if key.startswith("xaxis")}
    assert axes["lr"]["type"] == "log"
    assert axes["dropout"].get("type") != "log"


def test_of_many_parameters_the_most_important_are_drawn(tmp_path):
    study = planted.empty()
    space = {f"model.p{i:02}": FloatDistribution(0, 1) for i in range(30)}
    rng = np.random.default_rng(4)
    for _ in range(40):
        params = dict(zip(space, rng.random(30).tolist(), strict=True))
        values = [params["model.p17"]]
        study.add_trial(create_trial(params=params, distributions=space, values=values))
    draw(tmp_path, StudyResults(study, FBETA))
    layout = read_figures(tmp_path)["slice"][1]
    labels = [a["title"]["text"] for key, a in layout.items() if key.startswith("xaxis")]
    assert len(labels) == 8
    assert "p17" in labels
    assert all(max(imread(path).shape) < 2500 for path in tmp_path.glob("*.png"))


def test_names_and_choices_are_short_where_they_stay_different():
    study = planted.dropout_decides(12)
    plain = plain_study(StudyResults(study, FBETA))
    assert [t.value for t in plain.trials] == [t.value for t in study.trials]
    assert {name for t in plain.trials for name in t.params} == {
        "lr",
        "dropout",
        "loss",
        "gamma",
        "channels",
    }
    choices = {t.params["channels"] for t in plain.trials}
    assert choices == {"[16,32,64]", "[32,64,128,25 … 68,1024]"}


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
def test_pictures_without_enough_trials_are_left_out(make, names, tmp_path):
    paths = draw(tmp_path, StudyResults(make(), FBETA))
    assert png_names(tmp_path) == names
    assert (tmp_path / "pictures.html").exists() == bool(names)
    assert names == (figure_names(tmp_path) if names else set())
    assert set(paths) == set(tmp_path.iterdir())


def test_old_pictures_are_removed_and_files_of_others_kept(tmp_path):
    for name in ("pareto.png", "slice.png", "pictures.html"):
        (tmp_path / name).write_text("old", encoding="utf-8")
    (tmp_path / "mine.png").write_text("kept", encoding="utf-8")
    draw(tmp_path, StudyResults(all_failed(), FBETA))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]
