"""Kill each command at random moments; started again it ends as one that was never killed.

The moments are counted in system events of Python (files opened, renamed, removed), so that a
seed names the same ones on each machine. `KILLS=40 pytest tests/test_killed.py` kills each of the
five commands 40 times.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import TINY, enter_copy

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("KILLS", "4"))  # of each command
NEVER = 10**9  # events
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}

# Counts the events below the working folder in this process, and dies at the one that is asked for.
DRIVER = """
import os, signal, sys, importlib
verb, moment, events = sys.argv[1], int(sys.argv[2]), set(sys.argv[3].split(","))
sys.argv[:4] = ["octopi"]
importlib.import_module(f"octopi.{verb}")
here, count, pid = os.getcwd(), 0, os.getpid()
def watch(event, arguments):
    global count
    if event not in events or os.getpid() != pid or not isinstance(arguments[0], (str, bytes)):
        return
    if event == "open" and not (arguments[1] and set(arguments[1]) & set("wax+")):
        return
    if not os.path.abspath(os.fsdecode(arguments[0])).startswith(here):
        return
    count += 1
    if count == moment:
        os.kill(pid, signal.SIGKILL)
sys.addaudithook(watch)
try:
    importlib.import_module(f"octopi.{verb}").main()
finally:
    if not moment:
        open("count", "w", encoding="utf-8").write(str(count))
"""

COMMANDS = {
    "create_targets": ["targets.radius_scale=0.8", "overwrite=true"],
    "train": [
        *TINY, "data.train_runs=[TS_01,TS_02]", "data.validation_runs=[TS_03]",
        "trainer.max_epochs=2", "hydra.run.dir=job",
    ],
    "segment": ["checkpoint=model/best_model.pth", "accelerator=cpu", "overwrite=true"],
    "localize": ["thresholds=0.3", "overwrite=true", "num_workers=1"],
    "evaluate": ["truth=curation/0", "hydra.run.dir=scores"],
}  # fmt: skip


def drive(verb: str, overrides: list[str], moment: int) -> int:
    """Run a command in a new process that dies at an event; 0 counts them. Return its exit code."""
    command = [sys.executable, "-c", DRIVER, verb, str(moment), ",".join(EVENTS), *overrides]
    return subprocess.run(command, check=False, capture_output=True, timeout=240).returncode


@pytest.fixture(scope="module")
def pipeline(tiny_phantom, tmp_path_factory, octopi_command) -> Path:
    """A project with the results of each command."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("pipeline") / "work"
        enter_copy(tiny_phantom, folder, patch)
        assert octopi_command("create_targets") == 0
        assert octopi_command("train", *COMMANDS["train"][:-1], "hydra.run.dir=model") == 0
        for verb in ("segment", "localize"):
            assert octopi_command(verb, *COMMANDS[verb]) == 0
    return folder


def read_results(folder: Path, verb: str) -> dict[str, str]:
    """Digests of all that a command leaves, without times; fails where something cannot be read."""
    if verb == "train":
        state = torch.load(folder / "job" / "last.ckpt", weights_only=True)["state_dict"]
        best = torch.load(folder / "job" / "best_model.pth", weights_only=True)["weights"]
        values = {**state, **{f"best.{name}": value for name, value in best.items()}}
        return {name: digest(value.numpy().tobytes()) for name, value in values.items()}
    if verb == "evaluate":
        scores = json.loads((folder / "scores" / "scores.json").read_text(encoding="utf-8"))
        return {"scores": digest(json.dumps(scores).encode())}
    files = [path for path in (folder / "overlay").rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): digest(path.read_bytes()) for path in files}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.timeout(60 + 60 * KILLS)
@pytest.mark.parametrize("verb", COMMANDS)
def test_a_command_that_was_killed_anywhere_ends_as_one_that_was_not(
    pipeline, verb, tmp_path, monkeypatch
):
    folder = tmp_path / "work"
    enter_copy(pipeline / "project.json", folder, monkeypatch)
    assert drive(verb, COMMANDS[verb], 0) == 0
    expected = read_results(folder, verb)
    num_events = int((folder / "count").read_text(encoding="utf-8"))
    for moment in random.Random(16).sample(range(1, num_events + 1), min(KILLS, num_events)):
        shutil.rmtree(folder)
        enter_copy(pipeline / "project.json", folder, monkeypatch)
        assert drive(verb, COMMANDS[verb], moment) == -signal.SIGKILL
        resumes = verb == "train" and (folder / "job" / "last.ckpt").exists()
        assert drive(verb, ["resume=job"] if resumes else COMMANDS[verb], NEVER) == 0, moment
        assert read_results(folder, verb) == expected, moment
        assert not list(folder.rglob(".octopi-*")), moment
