"""`octopi status` says what exists, who is at work, and how far trainings are."""

import contextlib
import json
import os

import pytest
import yaml

from octopi.errors import DataError
from octopi.project import open_project
from octopi.project.shared_work import RunsFailedError, failing_alone
from octopi.project.work_folder import WorkFolder
from octopi.project.worker import Worker
from octopi.system.locks import lock_folder


def all_files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_it_says_what_exists_and_which_runs_lack_it(here, octopi_command, capfd):
    assert octopi_command("create_targets", "runs=[TS_01,TS_03]") == 0
    before = all_files(here)
    assert octopi_command("status") == 0
    assert all_files(here) == before
    lines = [line.split() for line in capfd.readouterr().err.splitlines()]
    assert ["tomogram", "denoised@20.0", "3"] in lines
    assert ["segmentation", "targets:octopi/1@20.0", "2"] in lines
    assert ["TS_02", "segmentation", "targets:octopi/1@20.0"] in lines
    assert octopi_command("status", "runs=[TS_01]") == 0
    assert "lacks" not in capfd.readouterr().err


def test_it_says_who_is_at_work_on_which_run(here, octopi_command, capfd, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    project = open_project(here / "project.json")
    folder = WorkFolder.for_output(project.runs[0].copick_run.root, "scores predict:octopi/1")
    worker = Worker(folder, {}, "scores predict:octopi/1")
    worker.join()
    worker.show_life(num_runs=3)
    worker.look()
    for run in project.runs[:2]:
        worker.claim(run.name).finish()
    written = [here / "overlay/.octopi/work/scores_predict%3Aoctopi%2F1" / f"done.1.TS_0{n}"
               for n in (1, 2)]  # fmt: skip
    os.utime(written[0], (0, written[1].stat().st_mtime - 600))
    worker.claim("TS_03")
    before = all_files(here)
    assert octopi_command("status") == 0
    assert all_files(here) == before
    output = capfd.readouterr().err
    assert "scores predict:octopi/1: 2 of 3 runs done, about 10 min left" in output
    assert f"process {os.getpid()} on " in output
    assert ", SLURM job 4711, since 20" in output
    assert ": at work on TS_03" in output
    worker.leave()
    assert octopi_command("status") == 0
    assert "No process is at work on it." in capfd.readouterr().err


def test_it_says_which_runs_have_failed_and_why(here, octopi_command, capfd):
    project = open_project(here / "project.json")
    shared = project.writing(project.runs, "picks octopi/1", {}, dry_run=False)
    with contextlib.suppress(RunsFailedError), shared as work:
        for run in work.one_by_one(project.runs, lambda run: run):
            with failing_alone(run):
                if run.name == "TS_02":
                    raise DataError("Run TS_02: its scores are damaged.")
        assert octopi_command("status") == 0
        output = capfd.readouterr().err
        assert "picks octopi/1: 2 of 3 runs done" in output
        assert "  failed 1 of 3 tries: Run TS_02: its scores are damaged." in output
    before = all_files(here)
    assert octopi_command("status") == 0
    assert all_files(here) == before
    output = capfd.readouterr().err
    assert "picks octopi/1: runs failed in the last job" in output
    assert "  failed 1 of 3 tries: Run TS_02: its scores are damaged." in output


def make_training(folder, *, epochs, state=None):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"trainer": {"max_epochs": 8}}), encoding="utf-8"
    )
    (folder / "last.ckpt").write_bytes(b"")
    started = (folder / "last.ckpt").stat().st_mtime - 120
    os.utime(folder / "config.yaml", (0, started))
    history = {
        "train_loss": {"epoch": list(range(epochs)), "value": [0.5] * epochs},
        "object_fbeta": {"epoch": [epochs - 1], "value": [0.875]},
    }
    content = {"best_metric": "object_fbeta", "history": history}
    (folder / "results.json").write_text(json.dumps(content), encoding="utf-8")
    if state:
        outcome = {"state": state, "values": {}, "seconds": 1.0}
        (folder / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")


def test_it_says_how_far_the_trainings_of_a_sweep_are(tmp_path, octopi_command, capfd):
    make_training(tmp_path / "sweep/trial_0", epochs=8, state="complete")
    make_training(tmp_path / "sweep/trial_2", epochs=2)
    make_training(tmp_path / "sweep/trial_10", epochs=4)
    with lock_folder(tmp_path / "sweep/trial_2"):
        before = all_files(tmp_path)
        assert octopi_command("status", f"folder={tmp_path}/sweep") == 0
        assert all_files(tmp_path) == before
    lines = [line for line in capfd.readouterr().err.splitlines() if "sweep/trial" in line]
    assert [line.split()[:6] for line in lines] == [
        ["sweep/trial_0", "complete", "8", "of", "8", "object_fbeta"],
        ["sweep/trial_2", "at", "work", "2", "of", "8"],
        ["sweep/trial_10", "interrupted", "4", "of", "8", "object_fbeta"],
    ]
    assert f"about 6 min; process {os.getpid()} on" in lines[1]


def test_folds_and_one_training_are_listed_likewise(tmp_path, octopi_command, capfd):
    make_training(tmp_path / "folds/fold_0", epochs=8, state="complete")
    make_training(tmp_path / "folds/fold_1", epochs=1)
    for folder, expected in (("folds", "1 complete, 1 interrupted"), ("folds/fold_1", "1 of 8")):
        assert octopi_command("status", f"folder={tmp_path / folder}") == 0
        assert expected in capfd.readouterr().err


def test_trainings_of_a_grid_are_listed_by_the_names_of_their_folders(
    tmp_path, octopi_command, capfd
):
    for name in ("seed_10", "seed_9", "loss_dice"):
        make_training(tmp_path / "grid" / name, epochs=8, state="complete")
    (tmp_path / "grid/.hydra").mkdir()
    (tmp_path / "grid/.hydra/config.yaml").touch()
    assert octopi_command("status", f"folder={tmp_path}/grid") == 0
    lines = [line.split()[0] for line in capfd.readouterr().err.splitlines() if "grid/" in line]
    assert lines[-3:] == ["grid/loss_dice", "grid/seed_9", "grid/seed_10"]


@pytest.mark.parametrize("text", ["{", '{"history": [1]}', '{"history": {"train_loss": 3}}'])
def test_what_is_damaged_is_said_and_the_others_are_listed(tmp_path, octopi_command, capfd, text):
    make_training(tmp_path / "folds/fold_0", epochs=8, state="complete")
    make_training(tmp_path / "folds/fold_1", epochs=1)
    (tmp_path / "folds/fold_1/results.json").write_text(text, encoding="utf-8")
    assert octopi_command("status", f"folder={tmp_path}/folds") == 0
    output = capfd.readouterr().err
    assert "fold_0" in output
    assert "fold_1" in output


def test_a_folder_without_trainings_is_refused(tmp_path, octopi_command, capfd):
    assert octopi_command("status", f"folder={tmp_path}") == 2
    assert "is not the folder of a training, of folds or of a sweep" in capfd.readouterr().err
