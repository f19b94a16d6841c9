"""`dry_run=true`: what would be done is said, what would fail fails, and nothing is written."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from tiny import TINY

from octopi.project import PicksQuery, open_project
from octopi.system.locks import lock_folder

DRY = "dry_run=true"


def tree(folder: Path) -> dict[str, str]:
    """Every file and folder below, with what is in it."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        )
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def rehearse(here, octopi_command, capfd):
    """Runs a command dry; returns its exit code and what it said. Nothing has changed."""

    def run(verb, *words):
        capfd.readouterr()
        before = tree(here)
        code = octopi_command(verb, *words, DRY)
        assert tree(here) == before
        return code, "".join(capfd.readouterr())

    return run


@pytest.fixture
def targets(here, octopi_command):
    assert octopi_command("create_targets", "tomo_types=[denoised]") == 0
    shutil.rmtree(here / "outputs")


def test_targets_are_told_with_their_classes_and_not_painted(rehearse, here):
    code, said = rehearse("create_targets", "tomo_types=[denoised]", "hydra.run.dir=job")
    assert code == 0
    assert "3 targets: TS_01, TS_02, TS_03" in said
    assert "6 picks of curation/0 in 3 runs" in said
    assert str(here / "overlay") in said


def test_a_target_that_is_there_is_said_to_stay_and_another_to_be_refused(rehearse, targets):
    code, said = rehearse("create_targets", "tomo_types=[denoised]")
    assert code == 0
    assert "unchanged    3 targets" in said
    words = ["tomo_types=[denoised]", "targets.radius_scale=0.8"]
    code, said = rehearse("create_targets", *words)
    assert code == 2
    assert "overwrite=true" in said
    code, said = rehearse("create_targets", *words, "overwrite=true")
    assert code == 0
    assert "replaced     3 targets" in said


def test_a_training_tells_its_split_particles_cache_and_folder(rehearse, targets, here):
    words = [*TINY, "data.train_runs=[TS_01,TS_03]", "data.validation_runs=[TS_02]"]
    code, said = rehearse("train", *words, "hydra.run.dir=outputs/first")
    assert code == 0
    assert "2 train (TS_01, TS_03); 1 validation (TS_02); 0 test (none)" in said
    assert "ribosome 4" in said  # two in each training run
    assert "6 of 6 volumes to be made" in said
    assert str(here / "outputs/first") in said


def test_every_fold_is_told(rehearse, targets):
    code, said = rehearse("train", *TINY, "num_folds=3")
    assert code == 0
    assert all(f"fold {fold}" in said for fold in range(3))
    assert said.count("2 train") == said.count("1 validation") == 3


def test_a_training_that_cannot_be_is_refused_as_the_real_one(rehearse, targets, octopi_command):
    for words, code in (
        (["data.crop_size=[15,32,32]"], 2),
        (["data.validation_runs=[TS_9]"], 3),
        (["trainer.accelerator=gpu"], None),
        (["target=other:octopi/1"], 3),
        (["model=unett"], 2),
    ):
        told, _ = rehearse("train", *TINY[1:], "data.crop_size=[16,32,32]", *words)
        real = octopi_command("train", *TINY[1:], "data.crop_size=[16,32,32]", *words)
        assert told == real
        assert code in (told, None)


def test_a_folder_with_a_training_or_with_somebody_in_it_is_refused(rehearse, targets, here):
    folder = here / "job"
    folder.mkdir()
    with lock_folder(folder):
        code, said = rehearse("train", *TINY, "hydra.run.dir=job")
    assert code == 7
    assert "in use by process" in said
    (folder / "last.ckpt").touch()
    assert rehearse("train", *TINY, "hydra.run.dir=job")[0] == 2


def test_a_sweep_tells_what_would_run_and_what_is_done(rehearse, targets, here):
    done = here / "cv" / "fold_1"
    done.mkdir(parents=True)
    outcome = {"state": "complete", "seconds": 1.0, "values": {}}
    (done / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")
    words = [*TINY, "-m", "fold=0,1,2", "num_folds=3", "hydra.sweep.dir=cv"]
    code, said = rehearse("train", *words)
    assert code == 0
    assert "would run  2: fold_0, fold_2" in said
    assert "skipped    1 that are done: fold_1" in said


def test_a_search_tells_how_many_trials_would_run(rehearse, targets):
    words = ["tomo_types=[denoised]", "-m", "search=unet", "hydra.sweeper.n_trials=7"]
    code, said = rehearse("train", *words)
    assert code == 0
    assert "7 trials" in said


def test_commands_that_only_look_take_the_word_too(rehearse, targets):
    code, said = rehearse("check", "tomo_types=[denoised]")
    assert code == 0
    assert "TS_03" in said
    assert rehearse("doctor")[0] in (0, 4)


def test_a_report_tells_its_runs_and_file(rehearse, trained, octopi_command, here):
    assert octopi_command("segment", trained) == 0
    code, said = rehearse("report", "folder=job")
    assert code == 0
    assert "TS_03: candidates of" in said
    assert f"{here / 'job' / 'report.html'}, which is new" in said


@pytest.fixture
def trained(here, targets, octopi_command):
    words = ["data.train_runs=[TS_01,TS_02]", "data.validation_runs=[TS_03]"]
    assert octopi_command("train", *TINY, *words, "hydra.run.dir=job") == 0
    return "checkpoint=job/best_model.pth"


def test_segment_localize_and_evaluate_tell_and_skip(rehearse, trained, octopi_command):
    code, said = rehearse("segment", trained)
    assert code == 0
    assert "would run  3 tomograms on cpu" in said
    assert octopi_command("segment", trained, "runs=[TS_01]") == 0
    code, said = rehearse("segment", trained)
    assert "skipped    1 that are done: TS_01" in said
    code, said = rehearse("segment", "checkpoint=none.pth")
    assert code == 2

    code, said = rehearse("localize")
    assert code == 0
    assert "would run  1 runs: TS_01" in said
    assert "skipped    2 runs" in said
    assert rehearse("localize", "beta=3")[0] == 2
    assert rehearse("evaluate")[0] == 3
    assert octopi_command("localize") == 0
    code, said = rehearse("localize")
    assert "5 files are replaced" in said

    code, said = rehearse("evaluate", "hydra.run.dir=scores")
    assert code == 0
    assert "2 in truth" in said
    assert "scores: scores.json" in said


def test_a_training_that_is_gone_on_with_is_told_as_such(rehearse, trained):
    code, said = rehearse("train", "resume=job", "trainer.max_epochs=2")
    assert code == 0
    assert "job (goes on)" in said


def test_the_demo_project_is_not_made(rehearse, here):
    code, said = rehearse("create_targets", "project=demo")
    assert code == 0
    assert "outputs/demo/project would be made" in said


def test_an_overlay_below_a_file_is_refused_without_being_touched(rehearse, here):
    config = json.loads((here / "project.json").read_text(encoding="utf-8"))
    (here / "file").touch()
    config["overlay_root"] = f"local://{here}/file/overlay"
    (here / "project.json").write_text(json.dumps(config), encoding="utf-8")
    code, said = rehearse("create_targets", "tomo_types=[denoised]")
    assert code == 4
    assert "overlay_root" in said


def test_a_dry_run_may_be_asked_for_in_a_file(here, octopi_command):
    experiment = here / "experiment" / "mine.yaml"
    experiment.parent.mkdir()
    experiment.write_text("# @package _global_\ndry_run: true\n", encoding="utf-8")
    before = tree(here)
    assert octopi_command("create_targets", "--config-dir", ".", "experiment=mine") == 0
    assert tree(here) == before


def test_picks_and_overlay_stay_as_they_are(rehearse, here):
    before = open_project(here / "project.json").runs[0].picks()
    rehearse("create_targets", "tomo_types=[denoised]")
    assert open_project(here / "project.json").runs[0].picks() == before
    assert PicksQuery("ribosome", "curation", "0") in before


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["loss._target_=torch.nn.CrossEntropyLoss"], ["loss", "CrossEntropyLoss", "(2, 1, z, y"]),
        (["loss=dice_ce", "+loss.weight=[0.1,1,3]"], ["loss", "weight"]),
        (["loss=dice", "+loss.reduction=none"], ["loss", "gradient"]),
        (
            ["callbacks.early_stopping.monitor=val_loss"],
            ["EarlyStopping", "val_loss", "train/loss"],
        ),
        (["callbacks.early_stopping.monitor=val/x"], ["EarlyStopping", "val/x", "object_fbeta"]),
        (["+trainer.limit_val_batches=0"], ["limit_val_batches", "1 or more"]),
        (["+trainer.limit_train_batches=0.0"], ["limit_train_batches"]),
    ],
)
def test_what_the_training_would_stumble_over_is_refused(rehearse, targets, overrides, names):
    code, said = rehearse("train", *TINY, "tomo_types=[denoised]", *overrides)
    message = said.split("octopi: ")[-1]
    assert code == 2
    assert all(name in message for name in names), message
    assert len(message) < 600
