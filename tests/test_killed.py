"""Kill each command at a moment; started again it ends as one that was never killed.

The moments are counted in what a command does to files, so that a seed names the same ones on each
machine; half of them are before and after files and folders are renamed. With `KILLS=12` each
command is killed 12 times, and `KILLS_TABLE=FILE` writes what came of it.
"""

import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from killed_commands import COMMANDS, KilledCommand, make_inputs, torn_files
from processes import Command
from saboteur import DeathAtMoment
from tiny import enter_copy

from octopi.signals import STOP_SIGNALS

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("KILLS", "1"))  # of each command
COLUMNS = ["kills", "beside a rename", "lost", "torn", "orphans", "not finished", "other results"]


@pytest.fixture(scope="module")
def pipeline(tiny_phantom, tmp_path_factory, octopi_command) -> Path:
    """A project with the results of each command."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("pipeline") / "work"
        enter_copy(tiny_phantom, folder, patch)
        make_inputs(folder, octopi_command)
    return folder


@pytest.fixture(scope="module")
def table():
    """Counts what came of the kills of each command, and writes that where asked."""
    rows: dict[str, Counter[str]] = {}
    yield rows
    if "KILLS_TABLE" in os.environ:
        rows["all"] = sum(rows.values(), Counter())
        lines = [["command", *COLUMNS], ["---", *["---:"] * len(COLUMNS)]]
        lines += [[name, *(str(row[key]) for key in COLUMNS)] for name, row in rows.items()]
        text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        Path(os.environ["KILLS_TABLE"]).write_text(text, encoding="utf-8")


def run(
    command: KilledCommand,
    overrides: list[str],
    moment: int,
    log: Path,
    number: int = signal.SIGKILL,
) -> int:
    """Run a command, with its other workers if it has any; return the exit code of the first."""
    log.with_suffix(".moments").write_bytes(b"")
    death = DeathAtMoment(moment, log.with_suffix(".moments"), number)
    first = Command(command.verb, *overrides, log=log, death=death)
    others = [Command(command.verb, *overrides, log=log) for _ in range(1, command.num_workers)]
    code = first.wait()
    assert all(other.wait() == 0 for other in others), first.output()
    return code


def choose_moments(letters: str) -> list[int]:
    """Choose the moments at which a command is killed: half of them beside a rename."""
    rng, moments = random.Random(16), range(1, len(letters) + 1)
    renames = [moment for moment in moments if letters[moment - 1] == "r"]
    chosen = rng.sample(renames, min(len(renames), (KILLS + 1) // 2))
    others = [moment for moment in moments if moment not in chosen]
    return sorted(chosen + rng.sample(others, min(len(others), KILLS - len(chosen))))


def processes_in(folder: Path) -> list[int]:
    """Return the processes that work in a folder."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if link.readlink().is_relative_to(folder) and int(link.parts[2]) != os.getpid():
                found.append(int(link.parts[2]))
        except OSError:  # it has ended, or is another user's
            continue
    return found


def count_orphans(folder: Path) -> int:
    """Count the processes that outlive a killed command by more than their last checkpoint."""
    end = time.monotonic() + 30
    while processes_in(folder) and time.monotonic() < end:
        time.sleep(0.05)
    return len(processes_in(folder))


@pytest.mark.timeout(120 + 60 * KILLS)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_was_killed_ends_as_one_that_was_not(
    pipeline, table, name, tmp_path, monkeypatch
):
    command, folder, log = COMMANDS[name], tmp_path / "work", tmp_path / "log"

    def start_anew():
        shutil.rmtree(folder, ignore_errors=True)
        enter_copy(pipeline / "project.json", folder, monkeypatch)

    start_anew()
    before = command.results(folder) if command.results.__name__ == "overlay" else {}
    assert run(command, command.overrides, 0, log) == 0, log.read_text(encoding="utf-8")
    after = command.results(folder)
    letters = log.with_suffix(".moments").read_text(encoding="ascii")
    row, faults = table.setdefault(name, Counter()), []
    for moment in choose_moments(letters):
        start_anew()
        files = {path for path in folder.rglob("*") if path.is_file()}
        code = run(command, command.overrides, moment, log)
        if code == 0:  # of two workers the other was quicker this time
            continue
        assert code == -signal.SIGKILL, log.read_text(encoding="utf-8")
        result = Counter({"kills": 1, "beside a rename": int(letters[moment - 1] == "r")})
        result["orphans"] = count_orphans(folder)
        result["lost"] = sum(not path.exists() for path in files)
        torn = torn_files(folder)
        if before:
            now = command.results(folder)
            result["lost"] += len(before.keys() - now.keys())
            torn += [k for k, v in now.items() if v not in (before.get(k), after.get(k))]
        result["torn"] = len(torn)
        code = run(command, command.overrides, 0, log)
        if code == 2 and command.resume is not None:  # it was advised so
            code = run(command, [f"resume={command.resume}"], 0, log)
        result["not finished"] = int(code != 0)
        result["other results"] = int(code != 0 or command.results(folder) != after)
        leftovers = list(folder.rglob(".octopi-*"))
        result["orphans"] += len(leftovers) + count_orphans(folder)
        row.update(result)
        if any(result[key] for key in COLUMNS[2:]):
            end = log.read_text(encoding="utf-8")[-800:]
            faults.append((moment, letters[moment - 1], dict(result), torn, leftovers, end))
    if faults:
        pytest.fail("\n".join(map(str, faults)))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_gets_a_signal_says_what_is_kept_and_ends_as_one_that_got_none(
    pipeline, name, tmp_path, monkeypatch
):
    command, folder, log = COMMANDS[name], tmp_path / "work", tmp_path / "log"
    number = (*STOP_SIGNALS, signal.SIGINT)[list(COMMANDS).index(name) % 4]
    enter_copy(pipeline / "project.json", folder, monkeypatch)
    assert run(command, command.overrides, 0, log) == 0, log.read_text(encoding="utf-8")
    after = command.results(folder)
    letters = log.with_suffix(".moments").read_text(encoding="ascii")
    shutil.rmtree(folder)
    enter_copy(pipeline / "project.json", folder, monkeypatch)
    moment = random.Random(name).randint(1, len(letters))
    assert run(command, command.overrides, moment, log, number) == 128 + number
    errors = [line for line in log.read_text(encoding="utf-8").splitlines() if "octopi: " in line]
    stopped = f"octopi: Stopped by {number.name}"
    assert errors[-1].startswith((stopped, "octopi: Interrupted. What was")), errors
    assert torn_files(folder) == []
    code = run(command, command.overrides, 0, log)
    if code == 2 and command.resume is not None:  # it was advised so
        code = run(command, [f"resume={command.resume}"], 0, log)
    assert code == 0, log.read_text(encoding="utf-8")
    assert command.results(folder) == after
    assert list(folder.rglob(".octopi-*")) == []
