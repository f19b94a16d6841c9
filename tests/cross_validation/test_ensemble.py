"""Ensembles of folds whose candidates are planted."""

import dataclasses
import json
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from planted_folds import BAD, GOOD, NUM_PARTICLES, plant_candidates, plant_folds

from octopi.config.build import build
from octopi.config.check import check_settings
from octopi.config.files import CONF_DIR
from octopi.config.settings import TrainSettings
from octopi.cross_validation.ensemble import build_ensemble
from octopi.cross_validation.table import summarize_folds
from octopi.errors import DataError, SettingError
from octopi.evaluation.candidates_file import write_candidates
from octopi.models import checkpoint
from octopi.models.soup import split_ensemble
from octopi.system.files import write_yaml
from octopi.training.best_model import write_model
from octopi.training.dataset_info import read_dataset_info


@pytest.fixture
def settings(here, octopi_command):
    assert octopi_command("create_targets") == 0
    GlobalHydra.instance().clear()
    overrides = ["tomo_types=[denoised]", "num_folds=3", "fold=0", "model=unet"]
    overrides += ["model.channels=[4,8]", "model.strides=[2]", "predictor.window_size=null"]
    with initialize_config_dir(str(CONF_DIR)):
        return check_settings(compose("train", overrides=overrides), TrainSettings)


@pytest.fixture
def info(settings):
    return read_dataset_info(build(settings.project, "project"), settings)


@pytest.fixture
def folders(here, settings, info):
    return plant_folds(here / "cv", settings, info)


@pytest.fixture
def build_results(folders, settings):
    """Builds the ensemble of the folds; returns its results."""

    def build_and_read():
        folder = folders[0].parent
        value = build_ensemble(folder, folders, settings)
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        assert value == results["out_of_fold"]["object_fbeta"]
        return results

    return build_and_read


def replant(folder, info, run, **changes):
    write_candidates(folder / "candidates.npz", {run.name: plant_candidates(info, run, **changes)})


def test_pooled_counts_are_the_sum_of_the_folds(folders, info, build_results):
    replant(folders[2], info, info.runs[2], missed="ribosome")
    results = build_results()
    scores = results["scores"]["pooled"]
    for name, score in scores["pooled"]["scores"].items():
        hits = 3 * NUM_PARTICLES - (name == "ribosome")
        assert (score["tp"], score["fp"], score["fn"]) == (hits, 0, 3 * NUM_PARTICLES - hits)
    ribosome = scores["pooled"]["scores"]["ribosome"]
    assert ribosome["fbeta"] == pytest.approx(17 * 5 / (17 * 5 + 16))
    assert ribosome["intervals"]["recall"][0] == pytest.approx(0.5)
    assert ribosome["interval"][0] < ribosome["fbeta"] < ribosome["interval"][1]
    low, high = scores["pooled"]["interval"]
    assert low < scores["pooled"]["total"] < high
    assert results["out_of_fold"]["object_fbeta"] == scores["pooled"]["total"]
    assert scores["fold_0"]["total"] == 1
    assert scores["fold_2"]["scores"]["ribosome"]["recall"] == 0.5
    assert scores["fold_2"]["interval"] is None  # one run does not say how runs differ
    assert [results["folds"][f.name]["held_out"] for f in folders] == [
        [run.name] for run in info.runs
    ]
    assert results["folds"]["fold_1"]["history"] == {"train_loss": 1}


def test_thresholds_of_the_other_folds_are_independent_of_the_fold(folders, info, build_results):
    before = build_results()
    replant(folders[2], info, info.runs[2], good=0.1)
    after = build_results()
    old, new = (results["folds"]["fold_2"]["thresholds"] for results in (before, after))
    assert new["others"] == old["others"]
    assert new["pooled"] != old["pooled"]
    assert after["folds"]["fold_0"]["thresholds"]["others"] != new["others"]
    # no candidate of fold 2 scores as high as those at the particles of the other folds
    assert after["scores"]["others"]["fold_2"]["total"] == 0
    totals = {method: scores["pooled"]["total"] for method, scores in after["scores"].items()}
    assert totals["others"] < totals["pooled"]


def test_every_method_of_choosing_thresholds_is_scored_on_the_same_candidates(build_results):
    scores = build_results()["scores"]
    assert scores.keys() == {"pooled", "others"}
    assert scores["pooled"]["pooled"]["total"] == scores["others"]["pooled"]["total"] == 1


def test_the_ensemble_holds_the_nets_and_the_pooled_thresholds(folders, build_results):
    results = build_results()
    weights, ensemble = checkpoint.read(folders[0].parent / "best_model.pth")
    checkpoint.load(folders[0].parent / "best_model.pth")
    assert ensemble.thresholds == results["thresholds"]
    assert all(BAD < t < GOOD for t in ensemble.thresholds["4"].values())
    for i, (member_weights, member) in enumerate(split_ensemble(weights, ensemble)):
        expected, _ = checkpoint.read(folders[i] / "best_model.pth")
        assert member.provenance == {"fold": i}
        assert member_weights.keys() == expected.keys()
        assert all((member_weights[name] == expected[name]).all() for name in expected)


def test_the_share_of_partial_objects_is_said_in_words(
    folders, build_results, octopi_command, caplog
):
    annotation = "targets.annotation={ribosome: partial}"
    assert octopi_command("create_targets", annotation, "overwrite=true") == 0
    with caplog.at_level(logging.INFO):
        results = build_results()
    share, low, high = results["annotated_share"]["ribosome"]
    sentence = f"About {share:.0%} of the ribosome seem annotated ({low:.0%} to {high:.0%})."
    assert sentence in caplog.messages
    assert results["metrics_note"] in caplog.messages
    _, ensemble = checkpoint.read(folders[0].parent / "best_model.pth")
    assert results["annotated_share"] == ensemble.annotated_share
    pooled = results["scores"]["pooled"]["pooled"]
    assert pooled["scores"]["ribosome"]["annotated_share"] == [share, low, high]
    assert pooled["total"] == results["out_of_fold"]["object_fbeta"]
    table = summarize_folds(folders[0].parent)
    assert "~ estimated through the share" in table
    assert f"~{pooled['total']:.3f}" in table


def test_an_ensemble_built_again_and_three_times_at_once_is_the_same(folders, settings):
    folder = folders[0].parent
    build_ensemble(folder, folders, settings)
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    assert set(before) == {"best_model.pth", "model_config.yaml", "results.json", "folds.png"}
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: build_ensemble(folder, folders, settings), range(3)))
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before
    assert sorted(p for p in folder.iterdir() if p.is_dir()) == folders


def test_folds_that_hold_out_the_same_run_are_refused(folders, info, settings):
    replant(folders[1], info, info.runs[0])
    with pytest.raises(SettingError, match=r"fold_0 and fold_1 both hold out run TS_01"):
        build_ensemble(folders[0].parent, folders, settings)
    assert not (folders[0].parent / "results.json").exists()


def test_folds_of_different_objects_are_refused(folders, settings):
    weights, fold = checkpoint.read(folders[1] / "best_model.pth")
    swapped = dict(zip(fold.labels, reversed(fold.labels.values()), strict=True))
    write_model(folders[1], weights, dataclasses.replace(fold, labels=swapped))
    with pytest.raises(SettingError, match=r"fold_1.* has labels"):
        build_ensemble(folders[0].parent, folders, settings)


def test_a_held_out_run_that_the_project_has_lost_is_named(folders, info, settings):
    candidates = plant_candidates(info, info.runs[2])
    write_candidates(folders[2] / "candidates.npz", {"TS_99": candidates})
    with pytest.raises(DataError, match="TS_99"):
        build_ensemble(folders[0].parent, folders, settings)


def test_what_the_config_file_of_a_fold_says_is_not_run(folders, build_results, here):
    touch = {"_target_": "pathlib.Path.touch", "self": str(here / "touched")}
    config = {"project": touch, "scorer": touch, "a_key_of_tomorrow": 1}
    write_yaml(folders[0] / "config.yaml", config)
    build_results()
    assert not (here / "touched").exists()


def test_folds_of_other_settings_are_refused_with_what_differs(folders, build_results):
    def config(fold, rate=0.1):
        own = {"fold": fold, "data": {"fold": fold}, "logger": {"tags": {"fold": fold}}}
        return {"seed": 1, "optim": {"lr": rate}, **own}

    for number, folder in enumerate(folders):
        write_yaml(folder / "config.yaml", config(number))
    build_results()
    write_yaml(folders[2] / "config.yaml", config(2, rate=0.2))
    with pytest.raises(SettingError, match=r"fold_2 .* than fold_0: optim\.lr differ.* delete"):
        build_results()


@pytest.mark.parametrize("name", ["candidates.npz", "results.json"])
def test_a_damaged_file_of_a_fold_is_named_with_the_cure(folders, settings, name):
    path = folders[1] / name
    path.write_bytes(path.read_bytes()[:-30])
    cure = f"{path} is damaged: .* Delete {folders[1]} and start the same command again"
    with pytest.raises(DataError, match=cure):
        build_ensemble(folders[0].parent, folders, settings)
    assert not (folders[0].parent / "results.json").exists()
