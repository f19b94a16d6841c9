"""Lines of the log stand by themselves on the screen, also beside progress bars."""

import contextlib
import logging
import os
import re

import pytest
from tqdm import tqdm

from octopi.cli import job_log, python_api
from octopi.cli.job import Command
from octopi.errors import SettingError
from octopi.system.job_folder import Job


@pytest.fixture
def screen(tmp_path):
    """A file to be in the place of stderr."""
    with (tmp_path / "screen").open("w+", encoding="utf-8", newline="") as file:
        yield file


def lines_of(file):
    file.seek(0)
    return file.read().split("\n")


def test_a_record_begins_a_line_while_a_bar_is_shown_in_a_file(screen):
    handler = job_log.ScreenHandler(screen)
    for _ in tqdm(range(3), file=screen, mininterval=0):
        handler.emit(logging.makeLogRecord({"msg": "a warning"}))
    handler.emit(logging.makeLogRecord({"msg": "no bar"}))
    lines = lines_of(screen)
    assert [line for line in lines if line and line[0] != "\r"] == ["a warning"] * 3 + ["no bar"]
    assert "3/3" in lines[-3]  # the bar's last line is whole


def test_a_forked_process_logs_without_the_lock_of_the_bars(screen):
    handler = job_log.ScreenHandler(screen)
    with tqdm(range(3), file=screen), tqdm.get_lock():
        if (child := os.fork()) == 0:
            handler.emit(logging.makeLogRecord({"msg": "of the child"}))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    assert "of the child" in "".join(lines_of(screen))


@pytest.mark.parametrize("mode", [[], ["-m"]])
def test_a_record_of_a_command_begins_a_line_while_a_bar_is_shown(
    tmp_path, screen, monkeypatch, mode
):
    def work(_settings, _job):
        for _ in tqdm(range(3), mininterval=0, file=screen):
            python_api.logger.warning("token=mine")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["octopi", "folder=x", *mode])
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with pytest.raises(SystemExit), contextlib.redirect_stderr(screen):
        Command("summarize", work)()
    lines = [line for line in lines_of(screen) if "token" in line]
    assert len(lines) == 3
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d WARNING token=\*\*\*", line) for line in lines)


def test_the_log_of_the_published_functions_looks_like_that_of_a_command(tmp_path, caplog):
    job = Job(tmp_path / "job", [])
    python_api.run_in_folder("segment", lambda *_: python_api.logger.info("token=mine"), None, job)
    log = (job.folder / "segment.log").read_text(encoding="utf-8")
    assert re.fullmatch(r"\d\d:\d\d:\d\d INFO token=\*\*\*\n", log)


def test_the_first_job_in_a_folder_replaces_no_file_that_octopi_did_not_write(tmp_path):
    scores = tmp_path / "scores.json"
    scores.write_text("mine", encoding="utf-8")
    with pytest.raises(SettingError, match=r"scores\.json, which octopi did not write"):
        job_log.write_overrides(tmp_path / ".hydra", ["beta=1"])
    assert not (tmp_path / ".hydra").exists()
    scores.unlink()
    job_log.write_overrides(tmp_path / ".hydra", ["beta=1"])
    scores.write_text("of evaluate", encoding="utf-8")
    job_log.write_overrides(tmp_path / ".hydra", ["beta=2"])
