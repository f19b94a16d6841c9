"""The page of `octopi report` shows octopi's own numbers, in a real browser."""

import base64
import dataclasses
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from scored_project import PEAKS, content_of, copy_project, read_truth, write_scores

from octopi.evaluation.candidates_file import write_candidates
from octopi.evaluation.scores import Matched
from octopi.geometry import Points
from octopi.project import open_project
from octopi.project.queries import PicksQuery
from octopi.tracking import mlflow

NASTY = "<img src=x onerror=document.title='owned'>"
THRESHOLDS = (0.0, 0.03, 0.2, 0.5, 0.8, 0.95, 1.0)


@dataclasses.dataclass
class Written:
    """A project whose report has been written."""

    config: Path
    page: Path
    content: dict

    @property
    def runs(self):
        return open_project(self.config).runs


def write_report(folder, *overrides, **environment):
    process = subprocess.run(
        [sys.executable, "-m", "octopi.report", *overrides],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        encoding="utf-8",
    )
    assert process.returncode == 0, process.stderr


@pytest.fixture(scope="module")
def written(tiny_phantom, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    config = copy_project(tiny_phantom, folder)
    for path in folder.rglob("TS_03"):
        path.rename(path.with_name(NASTY))
    for path in folder.rglob("curation_*"):
        path.rename(path.with_name(path.name.replace("curation", NASTY)))
    project = open_project(config)
    names = sorted(read_truth(project.runs[-1]))
    for seed, run in enumerate(project.runs):
        write_scores(run, names, seed=seed)
    write_report(folder, f"project.config={config}", "output=page.html")
    page = folder / "page.html"
    return Written(config, page, content_of(page))


def text_of(browser, selector):
    return browser.execute_script("return document.querySelector(arguments[0]).innerText", selector)


def numbers_on(browser, k):
    script = """return Object.fromEntries(
        [...document.querySelectorAll(`#numbers-${arguments[0]} div`)]
        .map((cell) => [cell.dataset.key, cell.firstChild.textContent]))"""
    return browser.execute_script(script, k)


def pixels_of(browser, selector, size):
    """Return what a canvas shows, on size x size pixels: (y, x, red green blue)."""
    script = """const small = document.createElement('canvas'), n = arguments[1];
        small.width = small.height = n;
        const context = small.getContext('2d', {willReadFrequently: true});
        context.drawImage(document.querySelector(arguments[0]), 0, 0, n, n);
        return [...context.getImageData(0, 0, n, n).data]"""
    values = browser.execute_script(script, selector, size)
    return np.array(values, dtype=int).reshape(size, size, 4)[..., :3]


def read_candidates(written, run, name):
    k = [o["name"] for o in written.content["objects"]].index(name)
    arrays = next(r for r in written.content["runs"] if r["name"] == run.name)["points"][k]
    positions = np.frombuffer(base64.b64decode(arrays["positions"]), "<f4").reshape(-1, 3)
    scores = np.frombuffer(base64.b64decode(arrays["scores"]), "<f4")
    return Points(positions.copy(), scores.copy())


def expected(written, name, threshold):
    scorer = Matched(tolerance_scale=0.5, beta=4, num_resamples=0, seed=0)
    picks = {
        r.name: {name: read_candidates(written, r, name).above(threshold)} for r in written.runs
    }
    truth = {run.name: read_truth(run) for run in written.runs}
    radius = open_project(written.config).objects[name].radius
    return scorer(picks, truth, radii={name: radius}, weights={name: 1.0}).scores[name]


def shown_as(score):
    def digits(value):
        return "n/a" if value is None else f"{value:.3f}"

    return {
        "picks": str(score.tp + score.fp),
        "tp": str(score.tp),
        "fp": str(score.fp),
        "fn": str(score.fn),
        "precision": digits(score.precision),
        "recall": digits(score.recall),
        "fbeta": digits(score.fbeta),
        "f1": digits(score.f1),
    }


def test_numbers_equal_the_scorers_at_every_threshold(written, opened):
    browser = opened(written.page)
    for k, entry in enumerate(written.content["objects"]):
        for threshold in THRESHOLDS:
            browser.execute_script(
                "const f = document.getElementById(arguments[0]); f.value = arguments[1];"
                "f.dispatchEvent(new Event('change'))",
                f"field-{k}",
                threshold,
            )
            score = expected(written, entry["name"], threshold)
            assert numbers_on(browser, k) == shown_as(score), (entry["name"], threshold)


def test_a_slider_moved_by_hand_moves_counts_table_and_commands(written, opened):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser = opened(written.page)
    slider = browser.find_element(By.ID, "slider-1")
    before = numbers_on(browser, 1)
    slider.send_keys(*[Keys.PAGE_UP] * 4)
    share = int(slider.get_property("value")) / 1000
    low = math.log(0.001 / 0.999)
    threshold = 1 / (1 + math.exp(-(low - 2 * low * share)))
    name = written.content["objects"][1]["name"]
    score = expected(written, name, threshold)
    assert numbers_on(browser, 1) == shown_as(score) != before
    browser.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 300))")
    assert f"{score.fbeta:.3f}" in text_of(browser, "#row-1")
    assert f"{name}:{threshold:.5f}"[:-2] in text_of(browser, "#command-localize")
    browser.execute_script("document.getElementById('gallery-object').value = '1';")
    browser.execute_script(
        "document.getElementById('gallery-object').dispatchEvent(new Event('change'))"
    )
    for key, count in (("found", score.tp), ("wrong", score.fp), ("missed", score.fn)):
        assert text_of(browser, f"#strip-{key} h3").endswith(f": {count}")


def test_the_page_starts_with_the_scores_of_octopi_evaluate(written, opened):
    browser = opened(written.page)
    report = written.content["scores"]
    assert text_of(browser, "#total") == f"{report['total']:.3f}"
    assert text_of(browser, "#mean-f1") == f"{report['mean_f1']:.3f}"
    assert all(entry["initialThreshold"] == 0.3 for entry in written.content["objects"])
    for k, entry in enumerate(written.content["objects"]):
        reported = report["scores"][entry["name"]]
        score = expected(written, entry["name"], 0.3)
        assert (reported["tp"], reported["fp"], reported["fn"]) == (score.tp, score.fp, score.fn)
        assert numbers_on(browser, k) == shown_as(score)


def test_a_click_on_a_pick_shows_its_neighbourhood_and_score(written, opened):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    browser = opened(written.page)
    number = browser.execute_script("return Number(document.getElementById('run').value)")
    run = next(r for r in written.runs if r.name == written.content["runs"][number]["name"])
    name = written.content["objects"][2]["name"]
    best = read_candidates(written, run, name)[:1]
    for k in range(len(written.content["objects"])):
        if k != 2:  # nothing else is in the way
            browser.execute_script(f"document.querySelectorAll('#legend input')[{k}].click()")
    x, y, z = best.positions[0]
    browser.execute_script(
        "const s = document.getElementById('slice-z'); s.value = arguments[0];"
        "s.dispatchEvent(new Event('input'))",
        round(z / 20),
    )
    canvas = browser.find_element(By.CSS_SELECTOR, "#plane-xy canvas")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    size = canvas.size
    across, down = ((v + 10) / 960 for v in (x, y))
    ActionChains(browser).move_to_element_with_offset(
        canvas, (across - 0.5) * size["width"], (down - 0.5) * size["height"]
    ).click().perform()
    assert f"{name}, pick 1" in text_of(browser, "#picked")
    assert best.scores is not None
    assert float(text_of(browser, "#picked-score")) == pytest.approx(best.scores[0], abs=6e-4)
    detail = text_of(browser, "#detail")
    assert ", ".join(f"{v:.1f}" for v in best.positions[0]) in detail
    outcome = "found" if is_hit(written, run, name) else "wrong"
    assert text_of(browser, "#picked-outcome").startswith(outcome)
    neighbourhood = pixels_of(browser, ".crops canvas", 60)
    assert len(np.unique(neighbourhood)) > 20  # a picture, not a plain colour


def is_hit(written, run, name):
    best = read_candidates(written, run, name).positions[0]
    particles = read_truth(run)[name].positions
    radius = open_project(written.config).objects[name].radius
    return np.linalg.norm(particles - best, axis=1).min() <= 0.5 * radius


def test_slices_are_those_of_the_tomogram(written, opened):
    browser = opened(written.page)
    number = browser.execute_script("return Number(document.getElementById('run').value)")
    run = next(r for r in written.runs if r.name == written.content["runs"][number]["name"])
    query = next(q for q in run.tomograms() if "denois" in q.tomo_type)
    volume = run.read_tomogram(query)
    for name in ("picks", "truth"):
        browser.execute_script(f"document.getElementById('show-{name}').click()")
    for z in (3, 17):
        browser.execute_script(
            "const s = document.getElementById('slice-z'); s.value = arguments[0];"
            "s.dispatchEvent(new Event('input'))",
            z,
        )
        pixels = pixels_of(browser, "#plane-xy canvas", 48)[:36, :, 0]  # above the scale bar
        correlations = [np.corrcoef(pixels.ravel(), s[:36].ravel())[0, 1] for s in volume]
        assert int(np.argmax(correlations)) == z
        assert correlations[z] > 0.9


def test_the_score_map_lies_where_the_candidates_are(written, opened):
    browser = opened(written.page)
    for name in ("picks", "truth"):
        browser.execute_script(f"document.getElementById('show-{name}').click()")
    plain = pixels_of(browser, "#plane-xy canvas", 96)
    browser.execute_script("document.getElementById('show-scores').click()")
    coloured = pixels_of(browser, "#plane-xy canvas", 96)
    assert (np.ptp(plain, axis=-1) > 40).sum() == 0
    assert 20 < (np.ptp(coloured, axis=-1) > 40).sum() < 96 * 96 / 2


def test_names_are_shown_as_text_and_nothing_is_loaded(written, opened):
    browser = opened(written.page)
    assert browser.title == "project · octopi report"
    options = "return [...document.querySelectorAll('#run option')].map((o) => o.textContent)"
    assert any(text.startswith(NASTY) for text in browser.execute_script(options))
    assert f":{NASTY}/" in text_of(browser, "#provenance-table")
    assert browser.execute_script("return document.querySelectorAll('main img').length") == 0
    script = "return performance.getEntriesByType('resource').map((r) => r.name.slice(0, 5))"
    assert set(browser.execute_script(script)) <= {"data:"}
    assert not re.search(r"(?:src|href)=.?https?:", written.page.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1366, True)])
def test_the_page_fits_phone_and_laptop_light_and_dark(written, opened, browser, width, dark):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    try:
        opened(written.page)
        root = "document.documentElement"
        assert browser.execute_script(f"return {root}.scrollWidth - {root}.clientWidth") == 0
        paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, re.findall(r"\d+", paper)[:3])) < 80) == dark
        browser.execute_script("document.getElementById('theme').click()")  # auto -> light
        paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert min(map(int, re.findall(r"\d+", paper)[:3])) > 180
    finally:
        browser.execute_script("localStorage.clear()")
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.fixture
def trained(here):
    """Write the folder of a finished training of two folds by hand."""
    project = open_project(here / "project.json")
    folder = here / "job"
    first, second = project.runs[:2]
    names = sorted(read_truth(first))
    radii = {name: project.objects[name].radius for name in names}
    history = {"train_loss": {"epoch": [0, 1], "value": [1.0, 0.5]}}
    config = {
        "project": {
            "_target_": "octopi.project.open_project",
            "config": str(here / "project.json"),
        },
        "target": None,
    }
    for fold, (held_out, other) in enumerate([(first, second), (second, first)]):
        part = folder / f"fold_{fold}"
        part.mkdir(parents=True)
        candidates = {
            name: Points(points.positions + 5.0, np.linspace(0.9, 0.4, len(points)))
            for name, points in read_truth(held_out).items()
        }
        write_candidates(part / "candidates.npz", {held_out.name: candidates})
        split = {"train": [other.name], "validation": [held_out.name], "test": []}
        (part / "data.json").write_text(json.dumps({"split": split}), encoding="utf-8")
        (part / "results.json").write_text(json.dumps({"history": history}), encoding="utf-8")
    info = {
        "net": {"_target_": "monai.networks.nets.UNet"},
        "size_divisor": 4,
        "predictor": {},
        "labels": {name: number for number, name in enumerate(names, start=1)},
        "radii": radii,
        "weights": dict.fromkeys(names, 1.0),
        "thresholds": {"2": dict.fromkeys(names, 0.6)},
        "beta": 2.0,
        "localizer": PEAKS,
        "working_spacing": None,
        "voxel_spacing": 20.0,
        "tomo_types": ["denoised"],
        "provenance": {"folds": [{"commit": "abc", "seed": 1, "data_fingerprint": "f"}]},
    }
    (folder / "model_config.yaml").write_text(yaml.safe_dump(info), encoding="utf-8")
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    Image.new("RGB", (60, 40), (200, 30, 30)).save(folder / "folds.png")
    return folder


def test_a_run_that_was_trained_on_and_validated_has_the_role_training(trained, octopi_command):
    alone = trained.parent / "alone"
    shutil.copytree(trained / "fold_0", alone)
    for name in ("config.yaml", "model_config.yaml"):
        shutil.copy(trained / name, alone)
    names = json.loads((alone / "data.json").read_text(encoding="utf-8"))["split"]["validation"]
    split = {"train": names, "validation": [], "test": []}
    (alone / "data.json").write_text(json.dumps({"split": split}), encoding="utf-8")
    assert octopi_command("report", f"folder={alone}") == 0
    assert [run["role"] for run in content_of(alone / "report.html")["runs"]] == ["training"]


def test_a_training_shows_its_held_out_runs_curves_and_split(
    trained, opened, octopi_command, monkeypatch
):
    monkeypatch.delenv("OCTOPI_PROJECT")  # its own project is known
    assert octopi_command("report", f"folder={trained}") == 0
    page = trained / "report.html"
    content = content_of(page)
    assert [run["role"] for run in content["runs"]] == [
        "out of fold (fold_0)",
        "out of fold (fold_1)",
    ]
    assert {entry["initialThreshold"] for entry in content["objects"]} == {0.6}
    for score in content["scores"]["scores"].values():
        assert (score["tp"], score["fp"]) == (2, 0)  # of two in each run, one is above 0.6
        assert score["fn"] == 2
    browser = opened(page)
    assert text_of(browser, "#split-table").count("validation") == 2
    assert browser.execute_script("return document.querySelectorAll('#charts svg').length") == 1
    assert browser.execute_script("return document.querySelector('#pictures img').width") > 0


def test_scores_of_partial_annotations_are_estimates_and_chances_are_compared_with_outcomes(
    trained, opened, octopi_command
):
    names = sorted(read_truth(open_project(trained.parent / "project.json").runs[0]))
    partial, complete = names[:2]
    annotation = f"targets.annotation={{{partial}: partial}}"
    assert octopi_command("create_targets", annotation) == 0
    config = yaml.safe_load((trained / "config.yaml").read_text(encoding="utf-8"))
    (trained / "config.yaml").write_text(
        yaml.safe_dump({**config, "target": "targets:octopi/1"}), encoding="utf-8"
    )
    info = yaml.safe_load((trained / "model_config.yaml").read_text(encoding="utf-8"))
    info["annotated_share"] = {partial: [0.5, 0.4, 0.7], complete: [0.5, 0.4, 0.7]}
    (trained / "model_config.yaml").write_text(yaml.safe_dump(info), encoding="utf-8")
    for run, fold in zip(open_project(trained.parent / "project.json").runs, "01", strict=False):
        candidates = {
            name: Points(
                np.concatenate([points.positions[:1], [[1e4, 0, 0], [2e4, 0, 0]]]),
                np.array([0.95, 0.85, 0.65]),
            )
            for name, points in read_truth(run).items()
        }
        write_candidates(trained / f"fold_{fold}" / "candidates.npz", {run.name: candidates})
    assert octopi_command("report", f"folder={trained}") == 0
    content = content_of(trained / "report.html")
    scores = content["scores"]["scores"]
    assert scores[partial]["precision"] == pytest.approx(2 / 3)  # 2 of 6 are annotated, half of all
    assert scores[complete]["precision"] == pytest.approx(1 / 3)
    reliability = content["scores"]["reliability"][complete]
    assert reliability["num"] == [2, 2, 2]
    assert reliability["right"] == [0, 0, 1]
    browser = opened(trained / "report.html")
    for k, (name, mark) in enumerate([(partial, "~"), (complete, "")]):
        assert numbers_on(browser, k)["precision"] == f"{mark}{scores[name]['precision']:.3f}"
        assert numbers_on(browser, k)["fbeta"] == f"{mark}{scores[name]['fbeta']:.3f}"
        assert numbers_on(browser, k)["recall"] == "0.500"
    assert text_of(browser, "#total") == f"~{content['scores']['total']:.3f}"
    note = text_of(browser, "#annotation-note")
    assert f"About 50% of the {partial} seem annotated (40% to 70%)." in note
    assert complete not in note  # of so few nothing is said
    assert text_of(browser, "#reliabilities").count("6 picks") == len(names)
    assert octopi_command("report", f"folder={trained}", "truth=curation/0") == 0
    content = content_of(trained / "report.html")  # a truth that the user names may be complete
    assert content["annotation"] == []
    assert content["scores"]["scores"][partial]["precision"] == pytest.approx(1 / 3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own, about its database
def test_a_tracked_training_has_its_report_among_its_artifacts(
    trained, octopi_command, monkeypatch
):
    node = {
        "_target_": "pytorch_lightning.loggers.MLFlowLogger",
        "experiment_name": "octopi",
        "tracking_uri": f"sqlite:///{trained / 'mlflow.db'}",
        "artifact_location": str(trained / "artifacts"),
    }
    run_id = mlflow.start_sweep_run(node, "training", params={}, tags={})
    assert run_id is not None
    (trained / mlflow.RUN_ID_FILE).write_text(run_id, encoding="utf-8")
    config = yaml.safe_load((trained / "config.yaml").read_text(encoding="utf-8"))
    (trained / "config.yaml").write_text(
        yaml.safe_dump({**config, "logger": node}), encoding="utf-8"
    )
    assert octopi_command("report", f"folder={trained}") == 0
    assert not mlflow.mlflow_client(node).list_artifacts(run_id)  # only the file names this store
    monkeypatch.setenv("MLFLOW_TRACKING_URI", node["tracking_uri"])
    assert octopi_command("report", f"folder={trained}") == 0
    artifacts = mlflow.mlflow_client(node).list_artifacts(run_id)
    assert {item.path for item in artifacts} == {"report.html"}


def test_text_of_a_training_is_shown_as_text_without_passwords(trained, opened, octopi_command):
    config = yaml.safe_load((trained / "config.yaml").read_text(encoding="utf-8"))
    config |= {
        "model": {"_target_": f"x.{NASTY}", "weights": "https://me:p@ss@server/net"},
        "loss": NASTY,
        "data": {"cache_dir": "ssh://me:secret@server/cache"},
    }
    (trained / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert octopi_command("report", f"folder={trained}") == 0
    page = trained / "report.html"
    text = page.read_text(encoding="utf-8")
    assert not any(text.count(part) for part in ("secret", "p@ss", "ss@server", NASTY))
    browser = opened(page)
    rows = text_of(browser, "#provenance-table")
    assert NASTY in rows
    assert "https://me:***@server/net" in rows


@pytest.mark.parametrize(
    "project",
    [
        {"_target_": "fault.open_project", "config": {"_target_": "fault.make"}},
        {
            "_target_": "octopi.project.open_project",
            "config": {"_target_": "octopi.phantom.make_phantom", "directory": "made"},
        },
        {"config": [1]},
        "text",
        None,
    ],
)
def test_the_config_of_a_training_imports_and_makes_nothing(
    trained, project, octopi_command, monkeypatch, capfd
):
    monkeypatch.syspath_prepend(trained.parent)
    fault = "import pathlib\npathlib.Path('imported').touch()\nopen_project = make = None\n"
    (trained.parent / "fault.py").write_text(fault, encoding="utf-8")
    config = yaml.safe_load((trained / "config.yaml").read_text(encoding="utf-8"))
    (trained / "config.yaml").write_text(
        yaml.safe_dump({**config, "project": project}), encoding="utf-8"
    )
    assert octopi_command("report", f"folder={trained}") in (2, 3)
    assert "project" in capfd.readouterr().err
    assert not any((trained.parent / name).exists() for name in ("imported", "made"))


def test_a_damaged_file_of_a_training_is_named(trained, octopi_command, capfd):
    path = trained / "fold_1" / "data.json"
    path.write_bytes(path.read_bytes()[:-5])
    assert octopi_command("report", f"folder={trained}") == 3
    assert f"{path} is damaged" in capfd.readouterr().err
    assert not (trained / "report.html").exists()


def test_picks_alone_are_shown_without_scores_and_truth(here, opened, octopi_command):
    project = open_project(here / "project.json")
    for run in project.runs:
        for name, points in read_truth(run).items():
            run.write_picks(PicksQuery(name, "octopi", "1"), Points(points.positions))
    for path in here.rglob("Picks/curation_*"):
        path.unlink()
    assert octopi_command("report", "output=page.html", "num_runs=2") == 0
    content = content_of(here / "page.html")
    assert content["scores"] is None
    assert len(content["runs"]) == 2
    browser = opened(here / "page.html")
    picks = sum(len(run.read_picks(q)) for run in project.runs[:2] for q in run.picks())
    assert text_of(browser, "#num-picks") == str(picks)
    assert "no truth" in text_of(browser, "#scoring-note")


def test_training_runs_are_not_in_the_totals(octopi_command, trained):
    project = open_project(trained.parent / "project.json")
    names = sorted(read_truth(project.runs[0]))
    for run in project.runs:
        write_scores(run, names, seed=0)
    model = trained / "best_model.pth"
    model.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    for path in trained.parent.rglob("*features.zarr/.zattrs"):
        attributes = json.loads(path.read_text(encoding="utf-8"))
        attributes["octopi"]["checkpoints"] = {str(model): digest}
        path.write_text(json.dumps(attributes), encoding="utf-8")
    assert octopi_command("report", "output=page.html") == 0
    parts = {r["name"]: (r["role"], r["inTotals"]) for r in content_of(Path("page.html"))["runs"]}
    assert parts[project.runs[0].name] == ("training", False)
    assert parts[project.runs[2].name] == ("not in training", True)


@pytest.mark.parametrize(
    ("overrides", "code", "message"),
    [
        (["folder=nowhere"], 2, "config.yaml"),
        (["output=page.html"], 3, "Run octopi segment"),
        (["num_runs=0"], 2, "num_runs"),
        (["truth=nobody/1"], 3, "nobody/1"),
    ],
)
def test_errors_say_what_to_do(overrides, code, message, here, octopi_command, capfd):
    if overrides == ["num_runs=0"]:
        run = open_project(here / "project.json").runs[0]
        write_scores(run, sorted(read_truth(run)), seed=0)
    assert octopi_command("report", *overrides) == code
    assert message in capfd.readouterr().err
    assert not (here / "page.html").exists()


@pytest.mark.parametrize("name", ["project.json", "thesis.html", "folder"])
def test_a_report_replaces_nothing_but_a_report(here, trained, octopi_command, capfd, name):
    (here / "thesis.html").write_text("<html>mine</html>", encoding="utf-8")
    (here / "folder").mkdir()
    before = (here / "project.json").read_bytes()
    for extra in ("dry_run=false", "dry_run=true"):
        assert octopi_command("report", f"folder={trained}", f"output={name}", extra) == 3
        assert f"{name} exists, and is no report of octopi" in capfd.readouterr().err
    assert (here / "project.json").read_bytes() == before
    assert (here / "thesis.html").read_text(encoding="utf-8") == "<html>mine</html>"
    for _ in range(2):
        assert octopi_command("report", f"folder={trained}", "output=page.html") == 0
