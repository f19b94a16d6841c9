"""A training is repeated or resumed from the settings that it wrote."""

import pytest
import yaml
from omegaconf import OmegaConf

from octopi.cli.overrides import expand_overrides
from octopi.cli.python_api import compose
from octopi.cli.repeat import expand_resume, setting_overrides, warn_of_other_project
from octopi.config.files import COMMANDS
from octopi.config.overrides import compose_config, override_text
from octopi.errors import SettingError

AWKWARD = "it's, a=[b] ü"


def _config(settings):
    return OmegaConf.to_container(OmegaConf.structured(settings))


def make_job(folder, *overrides):
    """Make the folder of a training with these overrides, as the training leaves it."""
    folder.mkdir(parents=True)
    settings, _ = compose("train", list(overrides))
    (folder / "config.yaml").write_text(yaml.safe_dump(_config(settings)), encoding="utf-8")
    return folder


def settings_of(arguments):
    return _config(compose("train", [a for a in arguments if not a.startswith("hydra.")])[0])


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["model=segresnet", "loss=dice", "optim=sgd", "callbacks=none", "augment=none"],
        ["experiment=czii", "fold=1", "num_folds=3", "seed=7"],
        [
            "logger=mlflow",
            "logger.run_name=x",
            "best_metric=avg_f1",
            "~callbacks.weight_averaging",
        ],
        [override_text("data.cache_dir", AWKWARD), "data.train_runs=[TS_01]"],
    ],
    ids=lambda overrides: " ".join(overrides) or "defaults",
)
def test_a_config_is_repeated_as_it_was(overrides):
    settings, _ = compose("train", overrides)
    config = _config(settings)
    repeated = [
        o
        for o in setting_overrides(config, [], trust=())
        if not o.startswith(("resume", "dry_run"))
    ]
    assert _config(compose("train", repeated)[0]) == config


@pytest.mark.parametrize("verb", [name for name in COMMANDS if name != "export"])
def test_every_command_takes_what_it_needs_of_a_training(tmp_path, verb):
    folder = make_job(tmp_path / "job", "data.working_spacing=20", "tomo_types=[denoised]")
    arguments = expand_overrides([f"experiment={folder}"], verb=verb)
    config = compose_config(verb, [a for a in arguments if not a.startswith("hydra.")])
    assert "data" not in config or config.data.working_spacing == 20
    assert "tomo_types" not in config or config.tomo_types == ["denoised"]


def test_a_reference_follows_its_setting_when_that_is_typed_anew(tmp_path):
    folder = make_job(tmp_path / "job", "seed=3", "best_metric=avg_f1")
    overrides = [f"experiment={folder}", "fold=2", "num_folds=5", "seed=9", "best_metric=f1"]
    settings = settings_of(expand_overrides(overrides, verb="train"))
    assert (settings["data"]["fold"], settings["data"]["num_folds"]) == (2, 5)
    assert settings["data"]["seed"] == 9
    assert settings["objectives"] == ["f1"]
    assert settings["callbacks"]["early_stopping"]["monitor"] == "val/f1"


def test_resume_repeats_the_settings_that_the_training_wrote(tmp_path):
    folder = make_job(tmp_path / "job", "model=segresnet", "trainer.max_epochs=5", "seed=3")
    overrides = expand_resume([f"resume={folder}", "trainer.max_epochs=9"], verb="train")
    assert override_text("hydra.run.dir", folder) in overrides
    settings = settings_of(overrides)
    assert settings["trainer"]["max_epochs"] == 9
    assert settings["seed"] == settings["data"]["seed"] == 3
    assert settings["model"]["_target_"].endswith("SegResNetDS")
    assert settings["resume"] == str(folder)


def test_the_overrides_of_a_refused_command_in_the_folder_are_not_read(tmp_path):
    folder = make_job(tmp_path / "job", "seed=3")
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "overrides.yaml").write_text("- seed=7\n- loss=dice\n", encoding="utf-8")
    for override in (f"resume={folder}", f"experiment={folder}"):
        assert settings_of(expand_overrides([override], verb="train"))["seed"] == 3


@pytest.mark.parametrize("quote", ["{}", "'{}'", '"{}"'])
def test_a_folder_may_have_any_name(tmp_path, quote):
    folder = make_job(tmp_path / AWKWARD, "seed=3")
    text = str(folder).replace("'", r"\'") if quote == "'{}'" else str(folder)
    for key in ("resume", "experiment"):
        overrides = expand_overrides([f"{key}={quote.format(text)}"], verb="train")
        settings = settings_of(overrides)
        assert settings["seed"] == 3
        assert key == "experiment" or settings["resume"] == str(folder)


@pytest.mark.parametrize("content", ["", "a: [", "- a", "\x00"])
def test_a_damaged_config_is_named_with_what_to_do(tmp_path, content):
    (tmp_path / "config.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(SettingError, match=r"config.yaml is damaged.*init_from"):
        expand_overrides([f"resume={tmp_path}"], verb="train")


def test_an_experiment_may_be_the_folder_of_a_training(tmp_path):
    folder = make_job(tmp_path / "a", "model=segresnet", "loss.alpha=0.1", "resume=x")
    overrides = [f"experiment={folder}", "optim.optimizer.lr=0.2", "loss=focal"]
    settings = settings_of(expand_overrides(overrides, verb="train"))
    assert settings["optim"]["optimizer"]["lr"] == 0.2
    assert settings["model"]["_target_"].endswith("SegResNetDS")
    assert settings["loss"] == settings_of(["loss=focal"])["loss"]
    assert settings["resume"] is None


def test_the_best_trial_of_a_search_is_an_experiment_without_the_settings_of_a_trial(tmp_path):
    link = [
        "logger=mlflow",
        "+callbacks.pruning={_target_: octopi.sweeps.pruning.Pruning, folder: x, number: 3}",
        "++logger.tags={trial: 3, mlflow.parentRunId: abc, mine: 1}",
        "logger.run_name=trial_3",
        "pruner=median",
        "trainer.enable_progress_bar=false",
    ]
    make_job(tmp_path / "trial_3", "loss=focal", *link)
    results = {"best": {"number": 3, "folder": "trial_3"}}
    (tmp_path / "optimization_results.yaml").write_text(yaml.safe_dump(results), encoding="utf-8")
    overrides = expand_overrides([f"experiment={tmp_path}/best"], verb="train")
    assert any('run_name: "${hydra:job.name}"' in override for override in overrides)
    settings = settings_of([*overrides, "logger.run_name=x"])
    alone = settings_of(
        ["loss=focal", "logger=mlflow", "+logger.tags={mine: 1}", "logger.run_name=x"]
    )
    assert settings == alone


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no optimization_results"), ("{}", "no best trial yet"), ("best: null", "no best")],
)
def test_a_search_without_a_best_trial_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "optimization_results.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(SettingError, match=message):
        expand_overrides([f"experiment={tmp_path}/best"], verb="train")


@pytest.mark.parametrize(
    "change", [{"callbacks": 3}, {"logger": [1]}, {"logger": {"tags": "a"}}, {"trainer": "gpu"}]
)
def test_a_part_of_a_config_that_is_no_mapping_is_refused(tmp_path, change):
    folder = make_job(tmp_path / "job")
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8")) | change
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    with pytest.raises(
        SettingError, match=r"config.yaml is damaged: (callbacks|tags|logger|trainer)"
    ):
        expand_overrides([f"experiment={folder}"], verb="train")


def test_a_config_changes_nothing_of_hydra(tmp_path):
    folder = make_job(tmp_path / "job")
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config |= {"hydra": {"run": {"dir": "/elsewhere"}}, "hydra.run.dir": "/elsewhere"}
    config["target"] = "${hydra:run.dir}"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    for key in ("experiment", "resume"):
        overrides = expand_overrides([f"{key}={folder}"], verb="train")
        assert not any("/elsewhere" in override for override in overrides)
        assert settings_of(overrides)["target"] == "${hydra:run.dir}"


def change_config(folder, **sections):
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(config | sections), encoding="utf-8")


def test_a_config_has_no_module_imported_that_nobody_trusts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "evil.py").write_text("open('imported', 'w')\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    folder = make_job(tmp_path / "job")
    node = {"deep": [{"_target_": "evil.Net"}]}
    change_config(folder, loss={"_target_": "monai.losses.DiceLoss", "other": node})
    with pytest.raises(SettingError, match=r"evil.Net.*trust=\[evil.Net\].*loss="):
        expand_overrides([f"experiment={folder}"], verb="train")
    for allowed in ("trust=[evil.Net]", "loss=dice"):
        assert expand_overrides([f"experiment={folder}", allowed], verb="train")
    change_config(folder, trust=["evil.Net"])
    with pytest.raises(SettingError, match=r"evil\.Net"):
        expand_overrides([f"experiment={folder}"], verb="train")
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("key", ["experiment", "resume"])
def test_a_config_has_no_synthetic_project_made(tmp_path, key):
    folder = make_job(tmp_path / "job", "project=demo", f"project.config.directory={tmp_path}/made")
    overrides = expand_overrides([f"{key}={folder}"], verb="train")
    assert settings_of(overrides)["project"]["config"] is None
    (tmp_path / "made").mkdir()
    overrides = expand_overrides([f"{key}={folder}"], verb="train")
    assert settings_of(overrides)["project"]["config"]["directory"] == f"{tmp_path}/made"


@pytest.mark.parametrize("key", ["tracking_uri", "artifact_location"])
def test_no_file_chooses_where_mlflow_writes(tmp_path, monkeypatch, key):
    address = "https://elsewhere/x"
    tracker = ["logger=mlflow", "logger.run_name=x", f"logger.{key}={address}"]
    folder = make_job(tmp_path / "job", *tracker)
    arguments = [f"experiment={folder}", "logger.run_name=x"]
    with pytest.raises(SettingError, match=f"(?s)logger.{key} is {address}.*Type it too"):
        expand_overrides(arguments, verb="train")
    typed = expand_overrides([*arguments, f"logger.{key}={address}"], verb="train")
    assert settings_of(typed)["logger"][key] == address
    assert address not in " ".join(expand_overrides([arguments[0], "logger=csv"], verb="train"))
    if key == "tracking_uri":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        assert settings_of(expand_overrides(arguments, verb="train"))["logger"][key] == address


def test_a_training_that_is_resumed_is_the_users_own(tmp_path):
    tracker = ["logger=mlflow", "logger.run_name=x", "logger.tracking_uri=https://elsewhere/x"]
    folder = make_job(tmp_path / "job", *tracker)
    change_config(folder, loss={"_target_": "my_losses.Loss"})
    overrides = " ".join(expand_overrides([f"resume={folder}"], verb="train"))
    assert "https://elsewhere/x" in overrides
    assert "my_losses.Loss" in overrides


def test_a_repeated_training_logs_into_its_own_folder(tmp_path):
    folder = make_job(tmp_path / "job", "logger=csv", "logger.save_dir=/elsewhere")
    overrides = expand_overrides([f"experiment={folder}"], verb="train")
    assert "/elsewhere" not in " ".join(overrides)
    assert any('save_dir: "${hydra:runtime.output_dir}"' in override for override in overrides)


@pytest.mark.parametrize("key", ["experiment", "resume"])
def test_that_a_repeated_training_keeps_its_project_is_said(tmp_path, monkeypatch, caplog, key):
    mine, named = tmp_path / "mine.json", tmp_path / "named.json"
    mine.touch()
    named.touch()
    folder = make_job(tmp_path / "job", f"project.config={mine}")

    def remarks(*typed, variable=named):
        caplog.clear()
        monkeypatch.setenv("OCTOPI_PROJECT", str(variable))
        overrides = expand_overrides([f"{key}={folder}", *typed], verb="train")
        warn_of_other_project(overrides, settings_of(overrides)["project"])
        return caplog.text

    assert f"The project is {mine}, as in" in remarks()
    assert f"project.config={named}" in remarks()
    assert not remarks(f"project.config={named}")
    assert not remarks(variable=mine)
