"""What becomes of a training that is killed, stopped, resumed, or goes wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import TINY

from octopi import checkpoint

RUNS = ["data.train_runs=[TS_01,TS_02]", "data.validation_runs=[TS_03]"]
SABOTAGE = "+callbacks.saboteur={_target_: saboteur.Saboteur}"
WORDS = [*TINY, *RUNS, SABOTAGE, "trainer.max_epochs=4", "model.dropout=0.2", "hydra.run.dir=job"]


@pytest.fixture
def targets(here, octopi_command):
    assert octopi_command("create_targets") == 0
    return here


@pytest.fixture
def final_weights(targets, octopi_command):
    """Of a training that nothing interrupted."""
    words = [w for w in WORDS if not w.startswith("hydra.run.dir")]
    assert octopi_command("train", *words, "hydra.run.dir=uninterrupted") == 0
    return _weights(targets / "uninterrupted")


def _weights(folder: Path):
    state = torch.load(folder / "last.ckpt", weights_only=False)
    averaged = {k: v for k, v in state["state_dict"].items() if k.startswith("net.")}
    current = {k: v for k, v in state["current_model_state"].items() if k.startswith("net.")}
    return averaged, current


def _equal(one, other):
    return all(torch.equal(a[name], b[name]) for a, b in zip(one, other, strict=True) for name in a)


def _train_elsewhere(*words: str) -> int:
    """The exit code of a training in a process of its own."""
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": str(here)}
    command = [sys.executable, "-m", "octopi.train", *words]
    return subprocess.run(command, env=environment, check=False, capture_output=True).returncode


@pytest.mark.slow
def test_a_training_killed_at_an_epoch_boundary_ends_as_one_that_was_not(
    targets, final_weights, octopi_command
):
    (targets / "sabotage").write_text("4 SIGKILL")  # the first step of the third epoch
    assert _train_elsewhere(*WORDS) == -9
    assert not (targets / "sabotage").exists()
    assert len(json.loads((targets / "job" / "results.json").read_text())["history"]) > 0
    assert octopi_command("train", "resume=job") == 0
    assert _equal(_weights(targets / "job"), final_weights)
    history = json.loads((targets / "job" / "results.json").read_text())["history"]
    assert history["train_loss"]["epoch"] == [0, 1, 2, 3]


def test_sigterm_ends_with_143_and_a_checkpoint_that_goes_on_to_the_same_end(
    targets, final_weights, octopi_command, capsys
):
    (targets / "sabotage").write_text("5 SIGTERM")  # in the middle of the third epoch
    assert octopi_command("train", *WORDS) == 143
    err = capsys.readouterr().err
    assert "resume=" in err
    assert "Traceback" not in err
    checkpoint.load(targets / "job" / "best_model.pth")
    assert octopi_command("train", "resume=job") == 0
    assert _equal(_weights(targets / "job"), final_weights)


def test_ctrl_c_ends_with_130_after_the_step(targets, octopi_command, capsys):
    (targets / "sabotage").write_text("3 SIGINT")
    assert octopi_command("train", *WORDS) == 130
    assert "SIGINT in epoch 1" in capsys.readouterr().err
    assert (targets / "job" / "last.ckpt").exists()


def test_a_loss_that_is_not_a_number_ends_with_5_and_keeps_the_best_model(
    targets, octopi_command, capsys
):
    (targets / "sabotage").write_text("4 diverge")
    assert octopi_command("train", *WORDS) == 5
    assert "loss is nan at step 4" in capsys.readouterr().err
    weights, _ = checkpoint.read(targets / "job" / "best_model.pth")
    assert all(torch.isfinite(value).all() for value in weights.values())


@pytest.mark.parametrize("validations", ["each epoch", "none"])
def test_statistics_that_are_not_numbers_end_with_5_before_they_are_saved(
    targets, octopi_command, capsys, validations
):
    (targets / "sabotage").write_text("4 spoil")  # in the third epoch; its loss stays finite
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
    assert octopi_command("train", *WORDS) == 0
    assert octopi_command("train", "resume=job", "optim.optimizer.lr=0.5") == 2
    assert "optim.optimizer.lr" in capsys.readouterr().err


def test_a_used_folder_is_not_trained_into_again(targets, octopi_command, capsys):
    assert octopi_command("train", *WORDS, "trainer.max_epochs=1") == 0
    before = (targets / "job" / "best_model.pth").read_bytes()
    assert octopi_command("train", *WORDS) == 2
    assert "already holds a training" in capsys.readouterr().err
    assert (targets / "job" / "best_model.pth").read_bytes() == before


def test_a_folder_that_cannot_be_written_is_found_out_before_the_first_step(
    targets, octopi_command, capsys
):
    (targets / "job").write_text("a file where the folder should be")
    assert octopi_command("train", *WORDS) != 0
    assert not (targets / "outputs" / "cache").exists()


def test_all_folds_of_a_training_become_one_model_with_out_of_fold_thresholds(
    targets, octopi_command
):
    words = [w for w in WORDS if w not in RUNS and w != SABOTAGE]
    assert octopi_command("train", *words, "num_folds=3", "trainer.max_epochs=1") == 0
    held_out = [
        checkpoint.read(targets / "job" / f"fold_{k}" / "best_model.pth")[1].provenance["split"]
        for k in range(3)
    ]
    assert sorted(s["validation"][0] for s in held_out) == ["TS_01", "TS_02", "TS_03"]
    net, recipe = checkpoint.load(targets / "job" / "best_model.pth")
    assert len(net.nets) == 3
    assert all(0 <= t <= 1 for t in recipe.thresholds["4"].values())
    results = json.loads((targets / "job" / "results.json").read_text())
    assert results["out_of_fold"]["object_fbeta"] is not None

    (targets / "job" / "fold_1" / "outcome.json").unlink()  # as if it had been killed
    untouched = (targets / "job" / "fold_0" / "best_model.pth").stat().st_mtime_ns
    assert octopi_command("train", "resume=job") == 0
    assert (targets / "job" / "fold_0" / "best_model.pth").stat().st_mtime_ns == untouched
    assert octopi_command("segment", "checkpoint=job/best_model.pth", "runs=[TS_01]") == 0


def test_a_fold_that_fails_says_why_and_leaves_the_others(targets, octopi_command, capsys):
    words = [w for w in WORDS if w not in RUNS and w != SABOTAGE]
    bad = ["num_folds=3", "trainer.max_epochs=1", "optim.optimizer.lr=1e30"]
    assert octopi_command("train", *words, *bad) == 5
    err = capsys.readouterr().err
    assert "The loss is" in err
    assert "resume=" in err


def test_an_object_absent_from_validation_is_not_applicable(targets, octopi_command):
    for picks in (targets / "static").rglob("TS_03/Picks/*ribosome*"):
        picks.unlink()
    assert octopi_command("create_targets", "overwrite=true") == 0
    assert octopi_command("train", *WORDS) == 0
    history = json.loads((targets / "job" / "results.json").read_text())["history"]
    assert set(history["f1_ribosome"]["value"]) == {None}
    assert set(history["object_f1_ribosome"]["value"]) == {None}
    assert all(value is not None for value in history["avg_f1"]["value"])
    assert "No validation run holds ribosome" in (targets / "job" / "train.log").read_text()


def test_a_step_that_cannot_fit_into_memory_is_refused_before_it_begins(
    targets, octopi_command, capsys
):
    words = [*TINY, *RUNS, "data.crops_per_step=100000", "data.crop_size=[160,160,160]"]
    assert octopi_command("train", *words, "hydra.run.dir=job") == 4
    said = capsys.readouterr().err
    assert "needs more than" in said
    assert "data.crops_per_step" in said
