"""Folds made by hand, whose candidates are known, pooled into one."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from octopi.config.build import build
from octopi.config.check import check_settings
from octopi.config.files import CONF_DIR
from octopi.config.settings import TrainSettings
from octopi.cross_validation.ensemble import build_ensemble, summarize
from octopi.cross_validation.table import table
from octopi.errors import DataError, SettingError
from octopi.evaluation.candidates import write_candidates
from octopi.evaluation.scores import Matched
from octopi.geometry import Points
from octopi.models import checkpoint
from octopi.models.checkpoint_info import CheckpointInfo
from octopi.models.soup import split_ensemble
from octopi.system.files import read_yaml, write_json, write_yaml
from octopi.training.best_model import write_model
from octopi.training.dataset_info import read_dataset_info
from octopi.training.validation import CALIBRATED_BETAS

NUM_PARTICLES = 2  # of each object in each run
GOOD, BAD = 0.95, 0.001


@pytest.fixture
def settings(here, octopi_command):
    assert octopi_command("create_targets") == 0
    GlobalHydra.instance().clear()
    words = ["tomo_types=[denoised]", "num_folds=3", "fold=0", "model=unet"]
    words += ["model.channels=[4,8]", "model.strides=[2]", "predictor.window_size=null"]
    with initialize_config_dir(str(CONF_DIR)):
        return check_settings(compose("train", overrides=words), TrainSettings)


@pytest.fixture
def facts(settings):
    return read_dataset_info(build(settings.project, "project"), settings)


@pytest.fixture
def folders(here, settings, facts):
    """Three folds of one run each: every particle is a good candidate, and as many bad ones."""
    net = {**settings.model, "out_channels": len(facts.labels) + 1}
    weights = checkpoint.build_net(net).state_dict()
    for i, run in enumerate(facts.runs):
        folder = here / "cv" / f"fold_{i}"
        folder.mkdir(parents=True)
        recipe = CheckpointInfo(
            net=net,
            labels=facts.labels,
            radii=facts.radii,
            weights=facts.weights,
            voxel_spacing=facts.tomograms[0].voxel_spacing,
            working_spacing=None,
            tomo_types=["denoised"],
            size_divisor=2,
            predictor=settings.predictor,
            localizer=settings.localizer,
            thresholds={
                f"{beta:g}": dict.fromkeys(facts.radii, 0.3 * i) for beta in CALIBRATED_BETAS
            },
            beta=4.0,
            provenance={"fold": i},
        )
        write_model(folder, {k: v + i for k, v in weights.items()}, recipe)
        write_yaml(
            folder / "config.yaml", dataclasses.asdict(dataclasses.replace(settings, fold=i))
        )
        write_json(folder / "results.json", {"history": {"train_loss": i}})
        write_candidates(folder / "candidates.npz", {run.name: planted(facts, run)})
    return sorted((here / "cv").iterdir())


def planted(facts, run, *, good=GOOD, bad=BAD, missed=None):
    out = {}
    for name, truth in facts.true_picks(run).items():
        found = truth.positions[int(name == missed) :]
        wrong = 1e5 + np.arange(3 * NUM_PARTICLES).reshape(-1, 3) * 1e4
        scores = [*[good] * len(found), *[bad] * len(wrong)]
        out[name] = Points(np.concatenate([found, wrong]), np.array(scores))
    return out


def replant(folder, facts, run, **changes):
    write_candidates(folder / "candidates.npz", {run.name: planted(facts, run, **changes)})


def results_of(folders):
    return json.loads((folders[0].parent / "results.json").read_text(encoding="utf-8"))


def test_pooled_counts_are_the_sum_of_the_folds(folders, facts):
    replant(folders[2], facts, facts.runs[2], missed="ribosome")
    value = build_ensemble(folders[0].parent, folders)
    results = results_of(folders)
    pooled = results["scores"]["pooled"]
    for name, score in pooled["pooled"]["scores"].items():
        hit = 3 * NUM_PARTICLES - (name == "ribosome")
        assert (score["tp"], score["fp"], score["fn"]) == (hit, 0, 3 * NUM_PARTICLES - hit)
    ribosome = pooled["pooled"]["scores"]["ribosome"]
    assert ribosome["fbeta"] == pytest.approx(17 * 5 / (17 * 5 + 16))
    assert ribosome["intervals"]["recall"][0] == pytest.approx(0.5)
    assert ribosome["interval"][0] < ribosome["fbeta"] < ribosome["interval"][1]
    low, high = pooled["pooled"]["interval"]
    assert low < pooled["pooled"]["total"] < high
    assert value == results["out_of_fold"]["object_fbeta"] == pooled["pooled"]["total"]
    assert pooled["fold_0"]["total"] == 1
    assert pooled["fold_2"]["scores"]["ribosome"]["recall"] == 0.5
    assert pooled["fold_2"]["interval"] is None  # a single run tells nothing of how runs differ
    assert [results["folds"][f.name]["held_out"] for f in folders] == [
        [run.name] for run in facts.runs
    ]
    assert results["folds"]["fold_1"]["history"] == {"train_loss": 1}


def test_thresholds_of_the_other_folds_never_saw_the_fold(folders, facts):
    build_ensemble(folders[0].parent, folders)
    before = results_of(folders)
    replant(folders[2], facts, facts.runs[2], good=0.1)
    build_ensemble(folders[0].parent, folders)
    after = results_of(folders)
    then, now = (results["folds"]["fold_2"]["thresholds"] for results in (before, after))
    assert now["others"] == then["others"]
    assert now["mean_of_others"] == then["mean_of_others"]
    assert now["pooled"] != then["pooled"]
    assert after["folds"]["fold_0"]["thresholds"]["others"] != now["others"]
    # nothing of fold 2 is as sure as what the other folds found
    assert after["scores"]["others"]["fold_2"]["total"] == 0
    totals = {way: scores["pooled"]["total"] for way, scores in after["scores"].items()}
    assert totals["others"] < totals["pooled"]


def test_thresholds_are_judged_on_the_same_candidates_in_every_way(folders):
    build_ensemble(folders[0].parent, folders)
    scores = results_of(folders)["scores"]
    assert scores["pooled"]["pooled"]["total"] == scores["others"]["pooled"]["total"] == 1
    # fold 0's own, 0, lets every bad candidate through; fold 2's, 0.6, none
    assert scores["own"]["fold_0"]["scores"]["ribosome"]["fp"] == NUM_PARTICLES
    assert scores["own"]["fold_2"]["scores"]["ribosome"]["fp"] == 0
    thresholds = results_of(folders)["folds"]["fold_1"]["thresholds"]["mean_of_others"]
    assert list(thresholds["4"].values()) == pytest.approx([0.3] * len(thresholds["4"]))


def test_the_ensemble_holds_the_nets_and_the_pooled_thresholds(folders):
    build_ensemble(folders[0].parent, folders)
    weights, recipe = checkpoint.read(folders[0].parent / "best_model.pth")
    checkpoint.load(folders[0].parent / "best_model.pth")
    assert recipe.thresholds == results_of(folders)["thresholds"]
    assert all(BAD < t < GOOD for t in recipe.thresholds["4"].values())
    for i, (own, of_fold) in enumerate(split_ensemble(weights, recipe)):
        expected, _ = checkpoint.read(folders[i] / "best_model.pth")
        assert of_fold.provenance == {"fold": i}
        assert own.keys() == expected.keys()
        assert all((own[name] == expected[name]).all() for name in expected)


def test_pooling_again_and_all_at_once_gives_the_same_files_and_no_scraps(folders):
    home = folders[0].parent
    build_ensemble(home, folders)
    before = {p.name: p.read_bytes() for p in home.iterdir() if p.is_file()}
    assert set(before) == {"best_model.pth", "model_config.yaml", "results.json", "folds.png"}
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: build_ensemble(home, folders), range(3)))
    assert {p.name: p.read_bytes() for p in home.iterdir() if p.is_file()} == before
    assert sorted(p for p in home.iterdir() if p.is_dir()) == folders


def test_the_summary_is_told_from_results_json_alone(folders, here):
    build_ensemble(folders[0].parent, folders)
    (here / "moved").mkdir()
    (folders[0].parent / "results.json").rename(here / "moved" / "results.json")
    lines = summarize(here / "moved").splitlines()
    assert max(map(len, lines)) <= 100
    starts = [line.split()[0] for line in lines]
    assert starts.index("fold_0") < starts.index("fold_2") < starts.index("pooled")
    assert "1.000 … 1.000" in lines[starts.index("pooled")]
    assert "in-sample" in lines[-1]


def test_many_objects_with_long_names_fit_the_table():
    names = [f"beta-{letter * 12}-synthase" for letter in "abcdefghi"]
    scorer = Matched(tolerance_scale=0.5, beta=4.0, num_resamples=10, seed=0)
    radii, weights = dict.fromkeys(names, 50.0), dict.fromkeys(names, 1.0)
    score = scorer({}, {}, radii=radii, weights=weights).to_dict()
    ways = ("pooled", "own", "others", "mean_of_others")
    told = table({"scores": {way: {"fold_0": score, "pooled": score} for way in ways}})
    assert max(map(len, told.splitlines())) <= 100
    assert "n/a" in told
    assert "3 more objects" in told


def test_folds_that_hold_out_the_same_run_are_not_folds(folders, facts):
    replant(folders[1], facts, facts.runs[0])
    with pytest.raises(SettingError, match=r"fold_0 and fold_1 both hold out run TS_01"):
        build_ensemble(folders[0].parent, folders)
    assert not (folders[0].parent / "results.json").exists()


def test_folds_of_different_targets_are_refused(folders):
    config = read_yaml(folders[1] / "config.yaml")
    write_yaml(folders[1] / "config.yaml", {**config, "target": "other:octopi/1"})
    with pytest.raises(SettingError, match="fold_1 on other:octopi/1"):
        build_ensemble(folders[0].parent, folders)


def test_folds_of_different_objects_are_refused(folders):
    weights, recipe = checkpoint.read(folders[1] / "best_model.pth")
    swapped = dict(zip(recipe.labels, reversed(recipe.labels.values()), strict=True))
    write_model(folders[1], weights, dataclasses.replace(recipe, labels=swapped))
    with pytest.raises(SettingError, match=r"fold_1.* has labels"):
        build_ensemble(folders[0].parent, folders)


def test_a_held_out_run_that_is_gone_is_named(folders, facts):
    run = facts.runs[2]
    found = planted(facts, run)
    write_candidates(folders[2] / "candidates.npz", {"TS_99": found})
    with pytest.raises(DataError, match="TS_99"):
        build_ensemble(folders[0].parent, folders)
