"""Sweeps as a user starts them, in processes that can be killed."""

import hashlib
import os
import subprocess
import sys
import time
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
    """The words that choose a search of the user's own."""
    path = folder / "my_conf" / "search" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(OVERLAY, encoding="utf-8")
    return ["--config-dir", str(folder / "my_conf"), "search=mine"]


def start(*words: str, log: Path) -> subprocess.Popen:
    """A sweep at work."""
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "octopi.train", "-m", *TINY, *RUNS, *words],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def wait_until(condition, *, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def states(folder: Path) -> list[str]:
    return [trial.state.name for trial in open_study(folder).get_trials(deepcopy=False)]


def digest(folder: Path) -> dict[str, str]:
    """What a folder holds, byte for byte."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
