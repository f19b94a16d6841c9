"""Two real commands at once do each run once, and one takes over what a killed one has begun."""

import os
import re
import signal
from pathlib import Path

import pytest
from processes import Command
from tiny import RUNS, TINY
from waiting import wait_until

from octopi.project import open_project
from octopi.project.work_folder import LEASE, WorkFolder

pytestmark = pytest.mark.slow

WORDS = {
    "create_targets": ["overwrite=true"],
    "segment": ["checkpoint=job/best_model.pth", "accelerator=cpu", "overwrite=true"],
}
OUTPUTS = {"create_targets": "targets targets:octopi/1", "segment": "scores predict:octopi/1"}


@pytest.fixture
def made(here: Path, octopi_command) -> Path:
    """A project in which each command has been run once, undisturbed."""
    assert octopi_command("create_targets") == 0
    assert octopi_command("train", *TINY, *RUNS, "hydra.run.dir=job") == 0
    assert octopi_command("segment", *WORDS["segment"]) == 0
    return here


def start(verb: str, name: str) -> Command:
    log = Path(f"{name}.log")
    log.touch()
    return Command(verb, *WORDS[verb], f"hydra.run.dir={name}", log=log)


def work_folder(verb: str) -> WorkFolder:
    root = open_project("project.json").runs[0].copick_run.root
    return WorkFolder.for_output(root, OUTPUTS[verb])


def outputs(folder: Path) -> dict[str, bytes]:
    """Read the chunks of all volumes that were written, without attributes, which have dates."""
    files = (folder / "overlay/ExperimentRuns").rglob("*")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.mark.parametrize("verb", WORDS)
def test_two_commands_at_once_do_each_run_once(made: Path, verb: str):
    before, folder = outputs(made), work_folder(verb)
    first = start(verb, "first")
    wait_until(lambda: folder.list_files().claims(), seconds=120, seconds_between=0.01)
    os.kill(first.pid, signal.SIGSTOP)  # it has a run, and keeps it
    second = start(verb, "second")
    wait_until(lambda: len(folder.list_files().workers()) == 2, seconds=120)
    os.kill(first.pid, signal.SIGCONT)
    assert (first.wait(), second.wait()) == (0, 0), first.output() + second.output()
    texts = first.output() + second.output()
    elsewhere = re.findall(r"(\d) of 3 runs were done by other processes", texts)
    assert sum(map(int, elsewhere)) == 3, texts  # of two times three runs
    assert outputs(made) == before
    assert not folder.list_files().modified


@pytest.mark.parametrize("where", ["this machine", "a lost machine"])
def test_one_takes_over_what_a_killed_one_has_begun(made: Path, where: str):
    before, folder = outputs(made), work_folder("segment")
    first = start("segment", "first")
    wait_until(lambda: "TS_02" in folder.list_files().claims(), seconds=120, seconds_between=0.01)
    first.kill()
    assert folder.list_files().claims()
    (worker,) = folder.list_files().workers()
    if where == "a lost machine":
        move_elsewhere(folder, worker)
    second = start("segment", "second")
    if where == "a lost machine":
        wait_until(lambda: "Waiting for other processes" in second.output(), seconds=120)
        written = Path(folder.path, "worker.elsewhere-0-1-abc")
        os.utime(written, (0, written.stat().st_mtime - LEASE))
    assert second.wait() == 0, second.output()
    assert outputs(made) == before
    assert not folder.list_files().modified


def move_elsewhere(folder: WorkFolder, worker: str) -> None:
    """Make a worker that was killed one of another machine, of which nobody knows whether it is."""
    Path(folder.path, f"worker.{worker}").rename(Path(folder.path, "worker.elsewhere-0-1-abc"))
    for path in [*Path(folder.path).glob("claim.*"), *Path(folder.path).glob("job.*")]:
        text = path.read_text(encoding="utf-8").replace(worker, "elsewhere-0-1-abc")
        path.write_text(text, encoding="utf-8")
