"""Progress is a bar for a person at a terminal, and a line now and then in a log."""

import logging
import sys

import pytest

from octopi.system import progress
from octopi.system.progress import ProgressBar


@pytest.fixture
def in_file(monkeypatch, capsys):
    """Standard error is a file."""
    assert not sys.stderr.isatty()
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)


def test_a_log_has_lines_without_carriage_returns(in_file, monkeypatch, caplog, capsys):
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    with caplog.at_level(logging.INFO):
        for _ in ProgressBar(range(3), desc="segment", unit="run"):
            pass
    lines = [record.getMessage() for record in caplog.records]
    assert lines[-1].startswith("segment: 3 of 3 runs, ")
    assert lines[-1].endswith(" left")
    assert not any("\r" in line or "\n" in line for line in lines)
    assert capsys.readouterr().err == ""


def test_work_of_less_than_the_interval_logs_none(in_file, caplog, capsys):
    with caplog.at_level(logging.INFO):
        for _ in ProgressBar(range(1000), desc="segment", unit="run"):
            pass
    assert caplog.records == []
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for _ in ProgressBar(range(3), desc="segment", unit="run"):
        pass
    assert "segment: 100%" in capsys.readouterr().err


def test_no_command_writes_carriage_returns_into_a_file(here, octopi_command, capfd):
    assert octopi_command("create_targets") == 0
    assert octopi_command("check") == 0
    written = capfd.readouterr()
    assert "\r" not in written.out + written.err
