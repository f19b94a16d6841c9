"""A signal ends a command with its code and a line, from when it begins to be imported."""

import functools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from octopi.cli.job import stop_on_signals
from octopi.config.files import COMMANDS
from octopi.errors import StoppedBySignal
from octopi.signals import STOP_SIGNALS

# Python runs this file at its start, before it looks for the command.
SIGNAL_AT_IMPORT = """
import os, sys
def stop(event, arguments):
    if event == "import" and arguments[0] == os.environ["SIGNAL_AT"]:
        os.kill(os.getpid(), int(os.environ["SIGNAL"]))
sys.addaudithook(stop)
"""
SCRIPT = str(Path(sys.executable).with_name("octopi"))
COPICK = str(Path(sys.executable).with_name("copick"))


def end_at_import(folder: Path, command: list[str], number: int, module: str) -> tuple[int, str]:
    """Send a signal to a command that begins to import a module; return its code and output."""
    (folder / "sitecustomize.py").write_text(SIGNAL_AT_IMPORT, encoding="utf-8")
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": path, "SIGNAL": str(int(number)), "SIGNAL_AT": module},
        preexec_fn=functools.partial(signal.signal, signal.SIGHUP, signal.SIG_DFL),  # under nohup
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_command_that_is_imported_ends_with_the_code_of_the_signal_and_a_line(tmp_path, verb):
    command = [sys.executable, "-m", f"octopi.{verb}"]
    code, output = end_at_import(tmp_path, command, signal.SIGTERM, "hydra")
    assert code == 143
    assert output.splitlines() == [
        "octopi: Stopped by SIGTERM before the work began: nothing was written. Start it again."
    ]


@pytest.mark.parametrize("number", [*STOP_SIGNALS, signal.SIGINT])
@pytest.mark.parametrize(
    ("command", "module"),
    [
        ([SCRIPT, "train"], "octopi.errors"),
        ([SCRIPT, "segment"], "numpy"),
        ([COPICK, "training", "octopi"], "hydra"),
    ],
)
def test_each_signal_and_form_of_a_command_ends_so(tmp_path, command, module, number):
    code, output = end_at_import(tmp_path, command, number, module)
    assert code == 128 + number
    last = output.splitlines()[-1]
    assert last.startswith(f"octopi: Stopped by {number.name} before the work began")
    assert "Traceback" not in output


def test_a_program_that_imports_octopi_keeps_its_handlers():
    program = "import signal, octopi.train; print(signal.getsignal(signal.SIGTERM))"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True
    )
    assert ended.stdout.strip() == str(signal.SIG_DFL)


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(StoppedBySignal, match="SIGTERM"), stop_on_signals():
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
