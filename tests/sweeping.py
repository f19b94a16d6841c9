"""Start sweeps as a user does, in processes that can be killed."""

import hashlib
from pathlib import Path

from processes import Command
from saboteur import DeathAtFile
from tiny import RUNS, TINY

from octopi.sweeps.study import open_study

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


def start_sweep(*overrides: str, log: Path, death: DeathAtFile | None = None) -> Command:
    """Start a sweep in a process of its own."""
    return Command("train", "-m", *TINY, *RUNS, *overrides, log=log, death=death)


def run_sweep(*overrides: str, log: Path = Path("sweep.log"), exit_code: int = 0) -> str:
    """Run a sweep to its end, check its exit code, and return what it printed."""
    sweep = start_sweep(*overrides, log=log)
    assert sweep.wait() == exit_code, sweep.output()
    return sweep.output()


def read_states(folder: Path) -> list[str]:
    return [trial.state.name for trial in open_study(folder).get_trials(deepcopy=False)]


def hash_files(folder: Path) -> dict[str, str]:
    """Return a hash of each file in a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
