"""What becomes of a training that is killed, stopped, resumed, or goes wrong."""

import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from processes import Command, run_command
from tiny import RUNS, TINY, enter_copy

from octopi.config.overrides import override_text
from octopi.models import checkpoint
from octopi.system.locks import lock_folder

SABOTAGE = "+callbacks.saboteur={_target_: saboteur.Saboteur}"
WORDS = [*TINY, *RUNS, SABOTAGE, "trainer.max_epochs=4", "model.dropout=0.2", "hydra.run.dir=job"]


@pytest.fixture
def targets(here, octopi_command):
    assert octopi_command("create_targets") == 0
    return here


@pytest.fixture(scope="module")
def final_weights(tiny_phantom, tmp_path_factory, octopi_command):
    """Of a training that nothing interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        enter_copy(tiny_phantom, tmp_path_factory.mktemp("uninterrupted"), patch)
        assert octopi_command("create_targets") == 0
        assert octopi_command("train", *WORDS) == 0
        return _weights(Path("job"))


def _weights(folder: Path):
    state = torch.load(folder / "last.ckpt", weights_only=True)
    averaged = {k: v for k, v in state["state_dict"].items() if k.startswith("net.")}
    current = {k: v for k, v in state["current_model_state"].items() if k.startswith("net.")}
    return averaged, current


def _history(folder: Path):
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))["history"]


def _equal(one, other):
    return all(torch.equal(a[name], b[name]) for a, b in zip(one, other, strict=True) for name in a)


def _train_elsewhere(*words: str) -> int:
    """The exit code of a training in a process of its own."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    command = [sys.executable, "-m", "octopi.train", *words]
    return subprocess.run(command, env=environment, check=False, capture_output=True).returncode


@pytest.mark.slow
def test_a_training_killed_at_an_epoch_boundary_ends_as_one_that_was_not(
    targets, final_weights, octopi_command
):
    # the first step of the third epoch
    (targets / "sabotage").write_text("4 SIGKILL", encoding="utf-8")
    assert _train_elsewhere(*WORDS) == -9
    assert not (targets / "sabotage").exists()
    assert _history(targets / "job")
    assert octopi_command("train", "resume=job") == 0
    assert _equal(_weights(targets / "job"), final_weights)
    history = _history(targets / "job")
    assert history["train_loss"]["epoch"] == [0, 1, 2, 3]


@pytest.mark.parametrize("again", [["resume=job"], [*WORDS, "resume=auto"]])
def test_sigterm_ends_with_143_and_a_checkpoint_that_goes_on_to_the_same_end(
    targets, final_weights, octopi_command, capsys, again
):
    # in the middle of the third epoch
    (targets / "sabotage").write_text("5 SIGTERM", encoding="utf-8")
    assert octopi_command("train", *WORDS) == 143
    err = capsys.readouterr().err
    assert "resume=" in err
    assert "Traceback" not in err
    checkpoint.load(targets / "job" / "best_model.pth")
    assert octopi_command("train", *again) == 0
    assert _equal(_weights(targets / "job"), final_weights)


def test_ctrl_c_ends_with_130_after_the_step(targets, octopi_command, capsys):
    (targets / "sabotage").write_text("3 SIGINT", encoding="utf-8")
    assert octopi_command("train", *WORDS) == 130
    assert "SIGINT in epoch 1" in capsys.readouterr().err
    assert (targets / "job" / "last.ckpt").exists()


def test_a_loss_that_is_not_a_number_ends_with_5_and_keeps_the_best_model(
    targets, octopi_command, capsys
):
    (targets / "sabotage").write_text("4 diverge", encoding="utf-8")
    assert octopi_command("train", *WORDS) == 5
    assert "loss is nan at step 4" in capsys.readouterr().err
    weights, _ = checkpoint.read(targets / "job" / "best_model.pth")
    assert all(torch.isfinite(value).all() for value in weights.values())


@pytest.mark.parametrize("validations", ["each epoch", "none"])
def test_statistics_that_are_not_numbers_end_with_5_before_they_are_saved(
    targets, octopi_command, capsys, validations
):
    (targets / "sabotage").write_text(
        "4 spoil", encoding="utf-8"
    )  # in the third epoch; its loss stays finite
    more = ["data.validation_runs=[]"] if validations == "none" else []
    assert octopi_command("train", *WORDS, "model.norm=batch", *more) == 5
    assert "running_var" in capsys.readouterr().err
    averaged, current = _weights(targets / "job")
    assert all(value.isfinite().all() for value in [*averaged.values(), *current.values()])
    if validations == "each epoch":
        weights, _ = checkpoint.read(targets / "job" / "best_model.pth")
        assert all(value.isfinite().all() for value in weights.values())


def test_the_same_seed_gives_the_same_weights(targets, final_weights, octopi_command):
    assert octopi_command("train", *WORDS) == 0
    assert _equal(_weights(targets / "job"), final_weights)


def test_a_resumed_training_keeps_its_settings(targets, octopi_command, capsys):
    assert octopi_command("train", *WORDS, "trainer.max_epochs=1") == 0
    assert octopi_command("train", "resume=job", "optim.optimizer.lr=0.5") == 2
    assert "optim.optimizer.lr" in capsys.readouterr().err


AWKWARD = "it's, a=[b] ü"


def content(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def test_a_moved_project_is_resumed_and_one_with_other_data_is_not(
    targets, octopi_command, capsys, monkeypatch, tmp_path_factory
):
    assert octopi_command("train", *TINY, *RUNS, "hydra.run.dir=job") == 0
    moved = tmp_path_factory.mktemp("moved") / "project"
    shutil.copytree(targets, moved, copy_function=shutil.copyfile)  # with new times
    config = (moved / "project.json").read_text(encoding="utf-8")
    (moved / "project.json").write_text(config.replace(str(targets), str(moved)), encoding="utf-8")
    monkeypatch.chdir(moved)
    resume = ("train", "resume=job", "trainer.max_epochs=2", "data.num_workers=1")
    assert octopi_command(*resume, "project.config=project.json", "data.cache_dir=cache") == 0
    (targets / "project.json").rename(targets / "elsewhere.json")
    monkeypatch.setenv("OCTOPI_PROJECT", str(moved / "project.json"))
    assert octopi_command("train", "resume=job", "trainer.max_epochs=3") == 0
    (path,) = moved.glob("static/**/TS_03/Picks/*_ribosome.json")
    picks = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**picks, "points": picks["points"][:1]}), encoding="utf-8")
    capsys.readouterr()
    assert octopi_command("train", "resume=job", "trainer.max_epochs=4") == 3
    assert "has changed since" in (error := capsys.readouterr().err)
    assert "content.TS_03.picks of ribosome. Restore it" in error


def test_a_training_that_validates_nothing_is_refused(targets, octopi_command, capsys):
    nothing = "+trainer.limit_val_batches=0"
    for dry_run in ("true", "false"):
        assert octopi_command("train", *TINY, nothing, f"dry_run={dry_run}") == 2
        assert "trainer.limit_val_batches must be int of 1 … 1000000" in capsys.readouterr().err


def test_no_file_of_a_job_holds_the_password_of_its_tracker_and_it_can_be_resumed(
    targets, octopi_command, capsys, monkeypatch
):
    uri = "logger.tracking_uri=http://lab:hunter2hunter2@127.0.0.1:9"
    words = [w for w in WORDS if w not in ("trainer.max_epochs=4", SABOTAGE)]
    assert octopi_command("train", *words, "trainer.max_epochs=1", "logger=mlflow", uri) == 0
    again = ("train", "resume=job", "trainer.max_epochs=2")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow sets it in this process
    assert octopi_command(*again) == 2
    output = "".join(capsys.readouterr())
    assert "Type it again (logger.tracking_uri=…)" in output
    assert octopi_command(*again, uri) == 0
    assert "hunter2" not in output + "".join(capsys.readouterr())
    files = [path for path in targets.rglob("*") if path.is_file()]
    assert not [path for path in files if b"hunter2" in path.read_bytes()]


def test_a_refused_command_leaves_a_training_as_it_was(targets, octopi_command, capsys):
    words = [w for w in WORDS if w not in ("trainer.max_epochs=4", SABOTAGE)]
    assert octopi_command("train", *words, "trainer.max_epochs=1") == 0
    before = content(targets / "job")
    assert octopi_command("train", "resume=job", "optim.optimizer.lr=0.5") == 2
    assert octopi_command("train", *words, "seed=7", "loss=dice") == 2
    with lock_folder(targets / "job"):
        assert octopi_command("train", *words, "seed=8", "model=segresnet") in (2, 7)
        assert octopi_command("train", *words, "seed=8") == 7
        assert octopi_command("train", "resume=job") == 7
    assert content(targets / "job") == before
    assert octopi_command("train", "resume=job", "trainer.max_epochs=2") == 0
    history = _history(targets / "job")
    assert history["train_loss"]["epoch"] == [0, 1]
    again = ["experiment=./job", "trainer.max_epochs=1", "hydra.run.dir=again"]
    assert octopi_command("train", *again) == 0
    config = yaml.safe_load((targets / "again" / "config.yaml").read_text(encoding="utf-8"))
    assert (config["seed"], config["data"]["seed"]) == (42, 42)
    assert "Dice" not in config["loss"]["_target_"]


def test_a_folder_of_any_name_is_trained_in_resumed_and_repeated(targets, octopi_command):
    words = [w for w in WORDS if not w.startswith(("hydra.run.dir", "trainer.max_epochs"))]
    folder = targets / AWKWARD / "job"
    place = override_text("hydra.run.dir", folder)
    assert octopi_command("train", *words, "trainer.max_epochs=1", place) == 0
    assert octopi_command("train", f"resume={folder}", "trainer.max_epochs=2") == 0
    again = override_text("hydra.run.dir", targets / "again")
    words = ["trust=[saboteur.Saboteur]", "trainer.max_epochs=1", again]
    assert octopi_command("train", f"experiment={folder}", *words) == 0
    model = override_text("checkpoint", targets / "again" / "best_model.pth")
    assert octopi_command("segment", model, "runs=[TS_01]", "dry_run=true") == 0
    assert octopi_command("report", override_text("folder", folder), "dry_run=true") == 0


class Marker:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def spoil(folder: Path, how: str) -> None:
    path = folder / "last.ckpt"
    state = torch.load(path, weights_only=True)
    if how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("not a checkpoint", encoding="utf-8")
    elif how == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "foreign":
        torch.save({"state_dict": {"weight": torch.zeros(3)}}, path)
    elif how == "another network":
        torch.save({**state, "state_dict": {"weight": torch.zeros(3)}}, path)
    elif how == "older":
        shortened = {key: dict(list(kept.items())[1:]) for key, kept in state["callbacks"].items()}
        torch.save({**state, "callbacks": shortened}, path)
    elif how == "code":
        torch.save({**state, "hyper_parameters": Marker(folder.parent / "marker")}, path)
    elif how == "pickle":
        path.write_bytes(pickle.dumps(Marker(folder.parent / "marker")))


def test_a_checkpoint_that_cannot_be_gone_on_from_is_refused_and_nothing_in_it_is_run(
    targets, octopi_command, capsys
):
    assert octopi_command("train", *WORDS, "trainer.max_epochs=1") == 0
    whole = (targets / "job" / "last.ckpt").read_bytes()
    ways = ("empty", "text", "cut", "foreign", "another network", "older", "code", "pickle")
    for how in ways:
        (targets / "job" / "last.ckpt").write_bytes(whole)
        spoil(targets / "job", how)
        capsys.readouterr()
        assert octopi_command("train", "resume=job", "trainer.max_epochs=2") == 2, how
        said = capsys.readouterr().err
        assert "job/last.ckpt" in said, how
        assert "init_from=" in said, how
        assert not (targets / "marker").exists(), how
    (targets / "job" / "last.ckpt").write_bytes(whole)
    (targets / "job" / "data.json").write_text("{", encoding="utf-8")
    assert octopi_command("train", "resume=job", "trainer.max_epochs=2") == 2
    assert "data.json is damaged" in capsys.readouterr().err
    (targets / "job" / "data.json").unlink()
    assert octopi_command("train", "resume=job", "trainer.max_epochs=2") == 0


def test_a_best_model_that_is_lost_is_written_anew(targets, octopi_command, caplog):
    assert octopi_command("train", *WORDS, "trainer.max_epochs=1") == 0
    # nothing is left to train, then an epoch is, then nothing again
    for spoiled, epochs in ((None, 1), (b"", 2), (b"PK", 2)):
        path = targets / "job" / "best_model.pth"
        path.unlink()
        if spoiled is not None:
            path.write_bytes(spoiled)
        with caplog.at_level(logging.WARNING):
            assert octopi_command("train", "resume=job", f"trainer.max_epochs={epochs}") == 0
        checkpoint.load(path)
        log = (targets / "job" / "train.log").read_text(encoding="utf-8")
        assert "The best model so far is lost" in log
        assert "best_model.pth" in log


def test_a_used_folder_is_not_trained_into_again(targets, octopi_command, capsys):
    assert octopi_command("train", *WORDS, "trainer.max_epochs=1") == 0
    before = (targets / "job" / "best_model.pth").read_bytes()
    assert octopi_command("train", *WORDS) == 2
    assert "already holds a training" in capsys.readouterr().err
    assert (targets / "job" / "best_model.pth").read_bytes() == before


def test_a_training_replaces_no_file_of_somebody_else(targets, octopi_command, capsys):
    (targets / "job").mkdir()
    for name in ("config.yaml", "best_model.pth"):
        (targets / "job" / name).write_text("mine", encoding="utf-8")
    for extra in ("dry_run=true", "dry_run=false"):
        assert octopi_command("train", *WORDS, extra) == 2
        message = capsys.readouterr().err
        assert "job has config.yaml, best_model.pth, which octopi did not write" in message
    assert {p.read_text(encoding="utf-8") for p in (targets / "job").iterdir()} == {"mine"}


def test_a_folder_that_cannot_be_written_is_found_out_before_the_first_step(
    targets, octopi_command, capsys
):
    (targets / "job").write_text("a file where the folder should be", encoding="utf-8")
    assert octopi_command("train", *WORDS) != 0
    assert not (targets / "outputs" / "cache").exists()


@pytest.mark.slow
def test_all_folds_of_a_training_become_one_model_with_out_of_fold_thresholds(
    targets, octopi_command
):
    words = [w for w in WORDS if w not in RUNS and w != SABOTAGE]
    assert run_command("train", *words, "num_folds=3", "trainer.max_epochs=1") == 0
    held_out = [
        checkpoint.read(targets / "job" / f"fold_{k}" / "best_model.pth")[1].provenance["split"]
        for k in range(3)
    ]
    assert sorted(s["validation"][0] for s in held_out) == ["TS_01", "TS_02", "TS_03"]
    net, recipe = checkpoint.load(targets / "job" / "best_model.pth")
    assert len(net.nets) == 3
    assert all(0 <= t <= 1 for t in recipe.thresholds["4"].values())
    results = json.loads((targets / "job" / "results.json").read_text(encoding="utf-8"))
    assert results["out_of_fold"]["object_fbeta"] is not None

    (targets / "job" / "fold_1" / "outcome.json").unlink()  # as if it had been killed
    shutil.rmtree(targets / "job" / "fold_2")  # and before this one began
    untouched = (targets / "job" / "fold_0" / "best_model.pth").stat().st_mtime_ns
    assert octopi_command("train", "resume=job") == 0
    assert (targets / "job" / "fold_0" / "best_model.pth").stat().st_mtime_ns == untouched
    assert octopi_command("segment", "checkpoint=job/best_model.pth", "runs=[TS_01]") == 0


def test_a_fold_that_fails_says_why_and_leaves_the_others(targets):
    (targets / "sabotage").write_text("1 diverge", encoding="utf-8")
    words = [w for w in WORDS if w not in RUNS]
    training = Command("train", *words, "num_folds=3", log=targets / "log")
    assert training.wait() == 5
    assert "The loss is" in training.output()
    assert "resume=" in training.output()


def test_an_object_absent_from_validation_is_not_applicable(targets, octopi_command):
    for picks in (targets / "static").rglob("TS_03/Picks/*ribosome*"):
        picks.unlink()
    assert octopi_command("create_targets", "overwrite=true") == 0
    assert octopi_command("train", *WORDS, "trainer.max_epochs=1") == 0
    history = _history(targets / "job")
    assert set(history["f1_ribosome"]["value"]) == {None}
    assert set(history["object_f1_ribosome"]["value"]) == {None}
    assert all(value is not None for value in history["avg_f1"]["value"])
    assert "No validation run holds ribosome" in (targets / "job" / "train.log").read_text(
        encoding="utf-8"
    )


def test_a_step_that_cannot_fit_into_memory_is_refused_before_it_begins(
    targets, octopi_command, capsys
):
    words = [*TINY, *RUNS, "data.crops_per_step=4096", "data.crop_size=[160,160,160]"]
    assert octopi_command("train", *words, "hydra.run.dir=job") == 4
    said = capsys.readouterr().err
    assert "needs more than" in said
    assert "data.crops_per_step" in said
