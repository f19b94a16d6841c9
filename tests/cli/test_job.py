"""A command runs in a folder of its own, and ends with a code and a line however it ends."""

import dataclasses
import importlib
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import pytorch_lightning as pl
from tiny import RUNS, TINY

import octopi
from octopi.config.files import COMMANDS
from octopi.config.settings import SETTINGS_CLASSES
from octopi.system import files

STOPPED_WHILE_WRITING = """
import os, pathlib, sys, time
from octopi.cli.job import Command
from octopi.system.files import staged
def work(settings, job):
    with staged(pathlib.Path("result")) as stage:
        stage.write_text("half")
        os.kill(os.getpid(), number)
        time.sleep(60)
number = int(sys.argv.pop())
Command("summarize", work)()
"""

LOGGING = """# @package _global_
hydra:
  job_logging:
    handlers:
      file: {(): os.mkdir, path: made, filename: x}
"""
CALLBACK = """# @package _global_
hydra:
  callbacks:
    mine: {_target_: os.mkdir, path: made}
"""


def test_four_calls_of_ours_lead_from_the_console_to_fit(here, octopi_command, monkeypatch):
    def stop(*_, **__):
        package = str(Path(octopi.__file__).parent)
        stack = traceback.extract_stack()
        calls.extend(frame.name for frame in stack if frame.filename.startswith(package))
        raise KeyboardInterrupt

    calls = []
    monkeypatch.setattr(pl.Trainer, "fit", stop)
    assert octopi_command("create_targets") == 0
    assert octopi_command("train", *TINY, *RUNS) == 130
    assert calls == ["main", "__call__", "train", "run_training"]


def test_every_command_that_has_the_setting_workers_starts_them():
    mains = {verb: importlib.import_module(f"octopi.{verb}").main for verb in COMMANDS}
    fields = {verb: dataclasses.fields(SETTINGS_CLASSES[verb]) for verb in COMMANDS}
    have_setting = {verb for verb in COMMANDS if "workers" in {f.name for f in fields[verb]}}
    assert have_setting == {verb for verb, main in mains.items() if main.start_workers}
    assert have_setting == {"create_targets", "segment", "localize", "extract"}


def test_an_experiment_calls_nothing_while_logging_is_configured(here, octopi_command, capsys):
    path = here / "experiment" / "mine.yaml"
    path.parent.mkdir()
    for content, mode in ((LOGGING, []), (LOGGING, ["-m"]), (CALLBACK, ["-m"])):
        path.write_text(content, encoding="utf-8")
        assert octopi_command("evaluate", "truth=curation/0", f"experiment={path}", *mode) != 0
        assert "os.mkdir" in capsys.readouterr().err
        assert not (here / "made").exists()


def test_a_setting_that_is_typed_twice_is_remarked_on_with_both(here, octopi_command, capsys):
    assert octopi_command("check", "voxels=true", "voxels=false", "picks=nobody/0") == 3
    assert "the last counts: voxels=true, voxels=false." in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_ends_a_command_with_its_code_a_line_and_no_file_half_written(tmp_path, number):
    ended = subprocess.run(
        [sys.executable, "-c", STOPPED_WHILE_WRITING, "folder=x", str(int(number))],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ended.returncode == 128 + number
    assert ended.stderr.splitlines()[-1].startswith(f"octopi: Stopped by {number.name}.")
    assert "Traceback" not in ended.stderr
    assert not [path for path in tmp_path.iterdir() if path.name != "outputs"]


def test_signals_are_as_before_when_a_command_has_ended(octopi_command):
    before = signal.getsignal(signal.SIGTERM)
    assert octopi_command("summarize", "folder=nowhere") != 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_job_folder_that_cannot_be_written_is_named(tmp_path, octopi_command, capfd, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "x.log")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("logging.FileHandler.__init__", refuse)
    assert octopi_command("summarize", "folder=x", "hydra.run.dir=mine") == 4
    error = capfd.readouterr().err
    assert f"{tmp_path / 'mine'} cannot be written" in error
    assert "hydra.run.dir" in error


@pytest.mark.parametrize(
    ("command", "setting"),
    [
        (["check"], "hydra.run.dir"),
        (["evaluate"], "hydra.run.dir"),
        (["train"], "hydra.run.dir"),
        (["train", "-m", "seed=1,2"], "hydra.sweep.dir"),
    ],
)
@pytest.mark.parametrize("dry_run", [[], ["dry_run=true"]])
def test_a_job_folder_in_which_nobody_can_make_files_is_refused_also_by_a_dry_run(
    octopi_command, capfd, command, setting, dry_run
):
    assert octopi_command(*command, f"{setting}=/proc/mine", *dry_run) == 4
    error = capfd.readouterr().err
    assert "/proc/mine: /proc cannot be written" in error
    assert f"Choose another folder with {setting}=" in error


@pytest.mark.parametrize(
    ("folder", "overrides"),
    [
        ("mine", ["hydra.run.dir=mine"]),
        ("outputs/evaluate/2026-01-01_00-00-00", []),
        ("outputs/evaluate/2026-01-01_00-00-00/.hydra", []),
        ("outputs/evaluate/2026-01-01_00-00-00/12/.hydra", []),
    ],
)
def test_a_job_removes_what_a_killed_one_left(
    tmp_path, octopi_command, monkeypatch, folder, overrides
):
    monkeypatch.chdir(tmp_path)
    died = subprocess.Popen([sys.executable, "-c", ""])
    died.wait()
    monkeypatch.setattr(os, "getpid", lambda: died.pid)
    with pytest.raises(KeyError), files.staged(tmp_path / folder / "a") as stage:
        stage.touch()
        monkeypatch.setattr(files, "_remove", lambda _: None)
        raise KeyError
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert stage.exists()
    if "/12/" in folder:
        monkeypatch.setenv("SLURM_JOB_ID", "13")
    octopi_command("evaluate", *overrides)
    assert not stage.exists()


def test_a_folder_that_was_deleted_under_the_command_is_said_so(tmp_path, octopi_command, capfd):
    gone = tmp_path / "gone"
    gone.mkdir()
    before = Path.cwd()
    os.chdir(gone)
    try:
        gone.rmdir()
        assert octopi_command("check") == 4
    finally:
        os.chdir(before)
    assert "started in is not there any more. Change to one that is" in capfd.readouterr().err
