"""Start sweeps as a user does, in processes that can be killed."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tiny import TINY

from octopi.sweeps.study import open_study

TESTS = Path(__file__).parent
RUNS = ["data.train_runs=[TS_01,TS_02]", "data.validation_runs=[TS_03]"]
OVERLAY = """# @package _global_
hydra:
  sweeper:
    params:
      optim.optimizer.lr: tag(log, interval(1e-4, 1e-2))
      loss: choice(tversky, focal)
    when:
      loss=tversky:
        loss.alpha: interval(0.1, 0.5)
"""


def write_overlay(folder: Path) -> list[str]:
    """Write a search of the user's own; return the arguments that choose it."""
    path = folder / "my_conf" / "search" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(OVERLAY, encoding="utf-8")
    return ["--config-dir", str(folder / "my_conf"), "search=mine"]


def start_sweep(*arguments: str, log: Path) -> subprocess.Popen:
    """Start `octopi train -m` in a process of its own, with its output in a file."""
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "octopi.train", "-m", *TINY, *RUNS, *arguments],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def run_sweep(*arguments: str, log: Path, timeout: float = 240) -> int:
    """Run a sweep to its end; return its exit code."""
    return start_sweep(*arguments, log=log).wait(timeout)


def wait_until(condition: Callable[[], bool], *, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} seconds"
        time.sleep(0.02)


def read_states(folder: Path) -> list[str]:
    return [trial.state.name for trial in open_study(folder).get_trials(deepcopy=False)]


def hash_files(folder: Path) -> dict[str, str]:
    """Return a hash of each file in a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
