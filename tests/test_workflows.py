"""The published Python API: its names and defaults, and that it does what the commands do."""

import contextlib
import inspect
import io
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import yaml
from monai.losses import TverskyLoss

from octopi import workflows
from octopi.cli.python_api import compose
from octopi.cli.python_training import (
    read_target_info,
    run_selection_overrides,
    training_overrides,
)
from octopi.entry_points.run_create_targets import create_sub_train_targets
from octopi.errors import DataError, NotInProjectError, OctopiError, SettingError
from octopi.models import checkpoint
from octopi.project import open_project
from octopi.project.queries import PicksQuery, SegmentationQuery
from octopi.pytorch import model_search_submitter
from octopi.pytorch.model_search_submitter import ModelSearchSubmit

TARGETS = ["targets", "octopi", "1"]
PICKS = [("ribosome", "curation", "0"), ("virus-like-particle", "curation", "0")]
MEMBRANE = ["membrane", "curation", "0"]
NET = {
    "architecture": "Unet",
    "num_classes": 4,
    "dim_in": 16,
    "strides": [2],
    "channels": [4, 8],
    "dropout": 0.0,
    "num_res_units": 1,
}


def paint(*, seg_targets=MEMBRANE, session_id="1", run_ids=None):
    """Create targets of two particles and a membrane."""
    create_sub_train_targets(
        "project.json",
        PICKS,
        seg_targets,
        20.0,
        0.7,
        "denoised",
        "targets",
        "octopi",
        session_id,
        run_ids=run_ids,
    )


@pytest.fixture
def targets(here):
    paint()
    return here


def tversky():
    return TverskyLoss(include_background=True, to_onehot_y=True, softmax=True, alpha=0.3, beta=0.7)


def train(**changes):
    arguments = {
        "trainRunIDs": ["TS_01", "TS_02"],
        "validateRunIDs": ["TS_03"],
        "model_save_path": "job",
        "num_epochs": 1,
    } | changes
    config = arguments.pop("config", "project.json")
    loss = arguments.pop("loss_function", None) or tversky()
    net = NET | arguments.pop("model_config", {})
    return workflows.train(config, TARGETS, "denoised", 20.0, loss, net, **arguments)


def split(folder):
    return json.loads((folder / "data.json").read_text(encoding="utf-8"))["split"]


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (
            create_sub_train_targets,
            "config pick_targets seg_targets voxel_size radius_scale tomogram_algorithm "
            "target_name target_user_id target_session_id run_ids=None",
        ),
        (
            workflows.train,
            "config target_info tomo_algorithm voxel_size loss_function model_config "
            "model_weights=None trainRunIDs=None validateRunIDs=None model_save_path='results' "
            "best_metric='fBeta2' num_epochs=1000 use_ema=True",
        ),
        (
            ModelSearchSubmit,
            "copick_config target_name target_user_id target_session_id tomo_algorithm voxel_size "
            "Nclass model_type best_metric='avg_f1' num_epochs=1000 num_trials=100 data_split=0.8 "
            "random_seed=42 val_interval=10 tomo_batch_size=15 trainRunIDs=None "
            "validateRunIDs=None mlflow_experiment_name='explore'",
        ),
    ],
)
def test_names_order_and_defaults_are_the_published_ones(function, names):
    parameters = inspect.signature(function).parameters.values()
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    described = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in positional]
    assert " ".join(described) == names


COMMANDS_WITHOUT_NETWORK = "create_targets localize evaluate extract export merge_picks status"


@pytest.mark.parametrize(
    "module",
    ["", ".entry_points.run_create_targets", *map(".{}".format, COMMANDS_WITHOUT_NETWORK.split())],
)
def test_what_needs_no_network_does_not_import_what_takes_seconds(module):
    names = "{'torch', 'optuna', 'monai', 'scipy.stats'} & set(sys.modules)"
    program = f"import octopi{module}, sys; print({names})"
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert result.stdout.strip() == "set()"


def volumes(here, session_id):
    query = SegmentationQuery("targets", "octopi", session_id)
    return {
        run.name: run.read_segmentation(query)[0]
        for run in open_project(here / "project.json").runs
        if any(q.name_user_session == query.name_user_session for q in run.segmentations())
    }


def test_a_flat_triple_is_a_list_of_one(targets):
    paint(seg_targets=[tuple(MEMBRANE)], session_id="2")
    flat, listed = volumes(targets, "1"), volumes(targets, "2")
    assert set(flat) == {"TS_01", "TS_02", "TS_03"}
    assert all(np.array_equal(flat[name], listed[name]) for name in flat)
    assert set(np.unique(flat["TS_01"])) == {0, 1, 2, 3}


@pytest.mark.parametrize("nothing", [None, []])
def test_targets_without_segmentations_for_some_runs(here, nothing):
    paint(seg_targets=nothing, run_ids=["TS_02"])
    (name, volume), *others = volumes(here, "1").items()
    assert (name, others) == ("TS_02", [])
    assert set(np.unique(volume)) == {0, 1, 2}


def test_targets_of_missing_runs_are_refused(here):
    with pytest.raises(NotInProjectError, match="TS_99"):
        paint(run_ids=["TS_99"])
    with pytest.raises(SettingError, match=r"seg_targets is .name, user_id, session_id."):
        paint(seg_targets=["membrane", "curation"])


def test_training_returns_its_histories_and_writes_its_files(targets):
    results = train()
    job = targets / "job"
    assert results == json.loads((job / "results.json").read_text(encoding="utf-8"))
    assert results["best_metric"] == "fBeta2"
    assert len(results["history"]["train_loss"]["value"]) == 1
    assert results["history"]["fBeta2"]["value"][0] is not None
    _, recipe = checkpoint.load(job / "best_model.pth")
    assert recipe.labels == {"ribosome": 1, "virus-like-particle": 2, "membrane": 3}
    assert recipe.tomo_types == ["denoised"]
    assert (
        yaml.safe_load((job / "model_config.yaml").read_text(encoding="utf-8"))["labels"]
        == recipe.labels
    )
    settings = yaml.safe_load((job / "config.yaml").read_text(encoding="utf-8"))
    assert settings["loss"]["_target_"] == "monai.losses.tversky.TverskyLoss"
    assert (settings["loss"]["alpha"], settings["loss"]["beta"]) == (0.3, 0.7)
    assert settings["model"]["channels"] == [4, 8]
    assert settings["data"]["crop_size"] == [16, 16, 16]
    assert "weight_averaging" in settings["callbacks"]
    assert split(job) == {"train": ["TS_01", "TS_02"], "validation": ["TS_03"], "test": []}
    assert "Best model, fBeta2" in (job / "train.log").read_text(encoding="utf-8")


def test_cross_validation_is_a_loop_in_one_process(targets):
    runs = ["TS_01", "TS_02", "TS_03"]
    for held_out in runs[:2]:
        others = [run for run in runs if run != held_out]
        train(trainRunIDs=others, validateRunIDs=[held_out], model_save_path=f"cv_{held_out}")
        assert split(targets / f"cv_{held_out}")["validation"] == [held_out]


def test_a_training_begun_in_python_goes_on_in_the_shell(targets, octopi_command):
    train()
    assert octopi_command("train", "resume=job", "trainer.max_epochs=2") == 0
    history = json.loads((targets / "job" / "results.json").read_text(encoding="utf-8"))["history"]
    assert history["train_loss"]["epoch"] == [0, 1]


def test_a_used_folder_is_not_trained_into_again(targets):
    (targets / "job").mkdir()
    (targets / "job" / "last.ckpt").touch()
    with pytest.raises(SettingError, match="already holds a training"):
        train()
    assert [path.name for path in (targets / "job").iterdir()] == ["last.ckpt"]


def target_info(config="project.json", *, num_classes=None):
    overrides = training_overrides(config, TARGETS, "denoised", 20, "avg_f1")
    return read_target_info(compose("train", overrides)[0], num_classes)


@pytest.mark.parametrize(
    ("train_runs", "validation_runs", "overrides"),
    [
        (None, None, []),
        (
            ["TS_01"],
            None,
            ["data.train_runs=[TS_01]", "data.validation_runs=[TS_02,TS_03]"],
        ),
        (None, "TS_02", ["data.validation_runs=[TS_02]"]),
    ],
)
def test_runs_that_do_not_train_validate(targets, train_runs, validation_runs, overrides):
    assert run_selection_overrides(train_runs, validation_runs, info=target_info()) == overrides


def test_without_named_runs_all_runs_with_the_target_are_used(targets):
    train(trainRunIDs=None, validateRunIDs=None)
    used = split(targets / "job")
    assert sorted(used["train"] + used["validation"]) == ["TS_01", "TS_02", "TS_03"]
    assert len(used["validation"]) == 1


@pytest.mark.parametrize("kind", [dict, list])
def test_several_projects_are_one_collection_of_runs(targets, kind):
    shutil.copy("project.json", "other.json")
    paths = ["project.json", "other.json"]
    config = dict(zip(["one", "two"], paths, strict=True)) if kind is dict else paths
    names = [run.name for run in target_info(config).runs]
    assert names == [f"{c}/TS_0{n}" for c in ("other", "project") for n in (1, 2, 3)]
    train(config=config, trainRunIDs=["project/TS_01"], validateRunIDs=["other/TS_02"])
    assert split(targets / "job")["validation"] == ["other/TS_02"]


def test_weights_of_another_training_are_the_start(targets):
    train()
    train(model_weights="job/best_model.pth", model_save_path="tuned", use_ema=False)
    settings = yaml.safe_load((targets / "tuned" / "config.yaml").read_text(encoding="utf-8"))
    assert settings["init_from"] == "job/best_model.pth"
    assert "weight_averaging" not in settings["callbacks"]
    assert "all other weights are loaded" in (targets / "tuned" / "train.log").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"architecture": "Unett"}, "Did you mean unet"),
        ({"architecture": None}, "needs one of 'architecture'"),
        ({"_target_": "my.Net"}, "needs one of 'architecture'"),
        ({"chanels": [4, 8]}, "Did you mean channels"),
        ({"dim_in": 15}, "multiples of 2"),
        ({"channels": "many"}, "channels"),
    ],
)
def test_a_wrong_network_is_refused(targets, model, message):
    with pytest.raises(SettingError, match=message):
        train(model_config=model)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"loss_function": "tversky"}, SettingError, "loss_function is a torch module"),
        ({"config": "nowhere.json"}, SettingError, "no copick config"),
        ({"best_metric": "fbeta"}, SettingError, "Known: avg_f1"),
        ({"trainRunIDs": ["TS_99"]}, NotInProjectError, "TS_01, TS_02, TS_03"),
        ({"trainRunIDs": ["TS_01"], "validateRunIDs": ["TS_01"]}, SettingError, "TS_01"),
        ({"model_weights": "nowhere.pth"}, SettingError, "no checkpoint"),
        ({"num_epochs": "many"}, SettingError, "max_epochs"),
    ],
)
def test_a_wrong_argument_is_refused(targets, changes, error, message):
    with pytest.raises(error, match=message):
        train(**changes)


def test_a_missing_target_is_refused(here):
    with pytest.raises(DataError, match="create_targets"):
        train()


def test_another_number_of_classes_than_that_of_the_target_is_warned_of(targets, caplog):
    target_info(num_classes=4)
    assert not caplog.text
    target_info(num_classes=6)
    assert "6 classes were asked for" in caplog.text
    assert "has 4 with the background" in caplog.text


class MyLoss(torch.nn.Module):
    """Of a user's own, with an argument that nobody can read back."""

    def __init__(self, weight):
        super().__init__()
        self._weight = weight

    def forward(self, logits, target):
        return self._weight * torch.nn.functional.cross_entropy(logits, target[:, 0].long())


def test_any_module_can_be_the_loss(targets):
    assert train(loss_function=MyLoss(2.0))["history"]["train_loss"]["value"][0] > 0
    settings = yaml.safe_load((targets / "job" / "config.yaml").read_text(encoding="utf-8"))
    assert settings["loss"] == {"_target_": f"{__name__}.MyLoss"}


def test_picks_come_out_of_python_as_they_do_of_the_commands(targets):
    train()
    seg_info = workflows.segment(
        "project.json", targets / "job" / "best_model.pth", run_ids="TS_03"
    )
    assert seg_info == ("predict", "octopi", "1")
    picks = workflows.localize("project.json", seg_info=seg_info, thresholds=0.01)
    assert set(picks) == {"TS_03"}
    assert set(picks["TS_03"]) == {"ribosome", "virus-like-particle"}
    run = open_project(targets / "project.json").select(["TS_03"])[0]
    assert picks["TS_03"]["ribosome"] == len(run.read_picks(PicksQuery("ribosome", "octopi", "1")))
    picks = workflows.localize("project.json", thresholds={"virus-like-particle": 1.0})
    assert picks["TS_03"]["virus-like-particle"] == 0
    scores = workflows.evaluate("project.json", run_ids=["TS_03"], beta=1, save_path="scores")
    assert scores == json.loads((targets / "scores" / "scores.json").read_text(encoding="utf-8"))
    assert scores["beta"] == 1
    assert set(scores["runs"]) == {"TS_03"}


def test_a_window_or_a_notebook_may_call_them_in_a_thread(here):
    def work():
        paint()
        train()
        workflows.segment("project.json", here / "job" / "best_model.pth", run_ids="TS_03")
        return workflows.localize("project.json", thresholds=0.01)

    with ThreadPoolExecutor(1) as pool:
        assert set(pool.submit(work).result()) == {"TS_03"}


def test_missing_score_maps_are_refused(targets):
    with pytest.raises(DataError, match="no score map targets-octopi-1"):
        workflows.localize("project.json", seg_info=TARGETS, method="components")


def test_truth_is_a_user_and_a_session(here):
    with pytest.raises(SettingError, match=r"truth is .user_id, session_id."):
        workflows.evaluate("project.json", truth="curation/0")


def test_a_search_is_refused_before_it_starts(targets):
    right = ["project.json", *TARGETS, "denoised", 20.0, 4, "UNet"]
    for position, wrong, message in [
        (7, "UNett", "Did you mean unet"),
        (0, {}, "config is the path"),
    ]:
        arguments = [*right[:position], wrong, *right[position + 1 :]]
        with pytest.raises(SettingError, match=message):
            ModelSearchSubmit(*arguments)
    for wrong in ({"data_split": 80}, {"num_trials": 0}, {"num_epochs": "many"}):
        with pytest.raises(SettingError):
            ModelSearchSubmit(*right, **wrong)


def test_the_output_of_a_search_is_on_the_screen_and_its_failure_in_the_error(capsys):
    program = (
        "print('Trial 0: å'); import sys; sys.stderr.write('octopi: no target\\n'); sys.exit(3)"
    )
    with pytest.raises(DataError, match=r"^no target$"):
        model_search_submitter._run([sys.executable, "-c", program])
    assert "Trial 0: å" in capsys.readouterr().out
    with pytest.raises(OctopiError, match="ended with code 9"):
        model_search_submitter._run([sys.executable, "-c", "import sys; sys.exit(9)"])


def test_an_interrupted_search_stops_its_process(tmp_path):
    stopped = tmp_path / "stopped"
    program = (
        "import pathlib, signal, sys, time\n"
        f"stopped = pathlib.Path({str(stopped)!r})\n"
        "signal.signal(signal.SIGTERM, lambda *_: (stopped.touch(), sys.exit()))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )

    class Screen(io.StringIO):
        def write(self, text):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), contextlib.redirect_stdout(Screen()):
        model_search_submitter._run([sys.executable, "-c", program])
    assert stopped.exists()
