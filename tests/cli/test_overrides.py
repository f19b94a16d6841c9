"""What words of the command line stand for, and how values are written there."""

import enum
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from omegaconf import OmegaConf

from octopi.cli.overrides import expand_overrides, expand_resume, setting_overrides
from octopi.cli.python_api import compose
from octopi.config.overrides import compose_config, override_text
from octopi.errors import SettingError

AWKWARD = "it's, a=[b] ü"


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("plain", "plain"),
        ("two words, a comma", "two words, a comma"),
        ("it's", "it's"),
        ("C:\\data\\", "C:\\data\\"),
        ("[x]{y}=$z", "[x]{y}=$z"),
        ("${not.an.interpolation}", "${not.an.interpolation}"),
        ("\\${nor.this}", "\\${nor.this}"),
        ("1", "1"),
        ("null", "null"),
        ("", ""),
        ("größe", "größe"),
        (None, None),
        (True, True),
        (3, 3),
        (10.012, 10.012),
        (1e-12, 1e-12),
        ([], []),
        (["TS_01", "1", "a,b"], ["TS_01", "1", "a,b"]),
        ((2, (3, 4)), [2, [3, 4]]),
        ({"apo-ferritin": 0.5, "a": [1]}, {"apo-ferritin": 0.5, "a": [1]}),
        (Path("a b/c"), "a b/c"),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.array(["a", "b"]), ["a", "b"]),
        (torch.tensor([1.0, 2.0]), [1.0, 2.0]),
        (Colour.RED, "red"),
        ({"x": 1}.keys(), ["x"]),
    ],
    ids=str,
)
def test_a_value_is_read_back_as_it_was(value, read):
    cfg = compose_config("localize", [override_text("thresholds", value)])
    assert (
        OmegaConf.to_container(cfg.thresholds, resolve=True) == read
        if (OmegaConf.is_config(cfg.thresholds))
        else cfg.thresholds == read
    )


def test_what_cannot_be_written_as_a_setting_is_refused():
    with pytest.raises(SettingError, match=r"model.act cannot be <built-in function abs>"):
        override_text("model.act", abs)


def test_a_name_that_hydra_has_no_quotes_for_is_refused():
    with pytest.raises(SettingError, match=r"thresholds: the name .größe."):
        override_text("thresholds", {"größe": 0.5})


def _config(settings):
    return OmegaConf.to_container(OmegaConf.structured(settings))


def _job(folder, *words):
    """The folder of a training with these overrides, as the training leaves it."""
    folder.mkdir(parents=True)
    settings, _ = compose("train", list(words))
    (folder / "config.yaml").write_text(yaml.safe_dump(_config(settings)), encoding="utf-8")
    return folder


def settings_of(arguments):
    return _config(compose("train", [a for a in arguments if not a.startswith("hydra.")])[0])


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["model=segresnet", "loss=dice", "optim=sgd", "callbacks=none", "augment=none"],
        ["experiment=czii", "fold=1", "num_folds=3", "seed=7"],
        [
            "logger=mlflow",
            "logger.run_name=x",
            "best_metric=avg_f1",
            "~callbacks.weight_averaging",
            "project=demo",
        ],
        [override_text("data.cache_dir", AWKWARD), "data.train_runs=[TS_01]"],
    ],
    ids=lambda words: " ".join(words) or "defaults",
)
def test_a_config_is_repeated_as_it_was(words):
    settings, _ = compose("train", words)
    config = _config(settings)
    repeated = [w for w in setting_overrides(config, []) if not w.startswith(("resume", "dry_run"))]
    assert _config(compose("train", repeated)[0]) == config


def test_what_refers_to_a_setting_follows_it_when_that_is_typed_anew(tmp_path):
    folder = _job(tmp_path / "job", "seed=3", "best_metric=avg_f1")
    words = [f"experiment={folder}", "fold=2", "num_folds=5", "seed=9", "best_metric=f1"]
    settings = settings_of(expand_overrides(words, verb="train"))
    assert (settings["data"]["fold"], settings["data"]["num_folds"]) == (2, 5)
    assert settings["data"]["seed"] == 9
    assert settings["objectives"] == ["f1"]
    assert settings["callbacks"]["early_stopping"]["monitor"] == "val/f1"


def test_resume_repeats_the_settings_that_the_training_wrote(tmp_path):
    folder = _job(tmp_path / "job", "model=segresnet", "trainer.max_epochs=5", "seed=3")
    words = expand_resume([f"resume={folder}", "trainer.max_epochs=9"])
    assert override_text("hydra.run.dir", folder) in words
    settings = settings_of(words)
    assert settings["trainer"]["max_epochs"] == 9
    assert settings["seed"] == settings["data"]["seed"] == 3
    assert settings["model"]["_target_"].endswith("SegResNetDS")
    assert settings["resume"] == str(folder)


def test_what_a_refused_command_left_in_hydras_folder_is_not_read(tmp_path):
    folder = _job(tmp_path / "job", "seed=3")
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "overrides.yaml").write_text("- seed=7\n- loss=dice\n", encoding="utf-8")
    for word in (f"resume={folder}", f"experiment={folder}"):
        assert settings_of(expand_overrides([word], verb="train"))["seed"] == 3


@pytest.mark.parametrize("quote", ["{}", "'{}'", '"{}"'])
def test_a_folder_may_have_any_name(tmp_path, quote):
    folder = _job(tmp_path / AWKWARD, "seed=3")
    text = str(folder).replace("'", r"\'") if quote == "'{}'" else str(folder)
    for key in ("resume", "experiment"):
        words = expand_overrides([f"{key}={quote.format(text)}"], verb="train")
        settings = settings_of(words)
        assert settings["seed"] == 3
        assert key == "experiment" or settings["resume"] == str(folder)


@pytest.mark.parametrize("content", ["", "a: [", "- a", "\x00"])
def test_a_damaged_config_is_named_with_what_to_do(tmp_path, content):
    (tmp_path / "config.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(SettingError, match=r"config.yaml is damaged.*init_from"):
        expand_overrides([f"resume={tmp_path}"], verb="train")


def test_an_experiment_may_be_the_folder_of_a_training(tmp_path):
    folder = _job(tmp_path / "a", "model=segresnet", "loss.alpha=0.1", "resume=x")
    words = [f"experiment={folder}", "optim.optimizer.lr=0.2", "loss=focal"]
    settings = settings_of(expand_overrides(words, verb="train"))
    assert settings["optim"]["optimizer"]["lr"] == 0.2
    assert settings["model"]["_target_"].endswith("SegResNetDS")
    assert settings["loss"] == settings_of(["loss=focal"])["loss"]
    assert settings["resume"] is None


def test_the_best_of_a_search_is_an_experiment_and_no_trial_any_more(tmp_path):
    link = [
        "logger=mlflow",
        "+callbacks.pruning={_target_: octopi.sweeps.pruning.Pruning, folder: x, number: 3}",
        "++logger.tags={trial: 3, mlflow.parentRunId: abc, mine: 1}",
        "logger.run_name=trial_3",
        "pruner=median",
        "trainer.enable_progress_bar=false",
    ]
    _job(tmp_path / "trial_3", "loss=focal", *link)
    results = {"best": {"number": 3, "folder": "trial_3"}}
    (tmp_path / "optimization_results.yaml").write_text(yaml.safe_dump(results), encoding="utf-8")
    words = expand_overrides([f"experiment={tmp_path}/best"], verb="train")
    assert any("run_name:'${hydra:job.name}'" in word for word in words)
    settings = settings_of([*words, "logger.run_name=x"])
    alone = settings_of(
        ["loss=focal", "logger=mlflow", "+logger.tags={mine: 1}", "logger.run_name=x"]
    )
    assert settings == alone


@pytest.mark.parametrize(
    ("results", "said"), [(None, "no optimization_results"), ({}, "no best trial yet")]
)
def test_a_best_that_is_not_there_is_said_so(tmp_path, results, said):
    if results is not None:
        (tmp_path / "optimization_results.yaml").write_text(
            yaml.safe_dump(results), encoding="utf-8"
        )
    with pytest.raises(SettingError, match=said):
        expand_overrides([f"experiment={tmp_path}/best"], verb="train")


def test_an_experiment_of_conf_is_left_to_hydra():
    assert expand_overrides(["experiment=czii"], verb="train") == ["experiment=czii"]


def test_the_same_sweep_has_the_same_folder_and_another_has_another():
    def folder(*words):
        return expand_overrides(["-m", *words], verb="train")[-1]

    first = folder("search=unet", "seed=1", "hydra.sweeper.n_trials=4")
    assert first.startswith("hydra.sweep.dir='outputs/train/unet-")
    assert first == folder("seed=1", "search=unet", "hydra.sweeper.n_trials=8")
    assert first != folder("search=unet", "seed=2")
    assert folder("seed=1", "hydra.sweep.dir=here") == "hydra.sweep.dir=here"
    assert expand_overrides(["seed=1"], verb="train") == ["seed=1"]


def test_an_experiment_may_be_a_file(tmp_path):
    path = tmp_path / AWKWARD / "experiment" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("# @package _global_\nseed: 77\n", encoding="utf-8")
    words = expand_overrides([f"experiment={path}", "target=a:b/1"], verb="train")
    assert words[:2] == ["target=a:b/1", "experiment='mine'"]
    assert compose("train", words)[0].seed == 77


def test_a_sweep_in_a_dry_run_has_the_folder_it_will_have():
    real = expand_overrides(["-m", "seed=1,2"], verb="train")
    dry = expand_overrides(["-m", "seed=1,2", "dry_run=true"], verb="train")
    assert real[-1] in dry
    with pytest.raises(SettingError, match="leave out -m"):
        expand_overrides(["-m", "beta=1,2", "dry_run=true"], verb="localize")
