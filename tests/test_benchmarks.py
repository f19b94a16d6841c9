"""What the scripts of `make bench` and `make gpu` measure of octopi still runs, at small sizes."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import run_command

pytestmark = [
    *(pytest.mark.slow, pytest.mark.timeout(900)),
    pytest.mark.filterwarnings("ignore"),  # what torch warns of while it compiles
]

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = [
    *("create_targets", "localize", "evaluate", "first_batch", "arithmetic", "train_step"),
    *("segment", "shared_work", "many_runs"),
]


@pytest.fixture(autouse=True)
def octopi_of_this_clone(monkeypatch):
    """The scripts find their parts, and the commands that they start find octopi."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setenv("PYTHONPATH", str(BENCHMARKS.parent))


def load(script):
    """Import a script without running it."""
    sys.modules.pop(script, None)  # a folder of the tests may have its name
    return importlib.import_module(script)


def test_a_script_prints_its_figures_as_json(tmp_path):
    command = [sys.executable, BENCHMARKS / "help.py", "--small", "--repeats", "1"]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", check=False, cwd=tmp_path, env=os.environ
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout)["figures"]
    assert figures
    assert all(figure["ours"]["median"] > 0 for figure in figures)


def fork(words, log, **options):
    """Run a command of octopi as `spawn` does, but fork it; what it used is not measured."""
    side_by_side = importlib.import_module("parts.side_by_side")
    if words[:2] != [sys.executable, "-m"]:
        return side_by_side.spawn(words, log, **options)
    assert run_command(words[2].removeprefix("octopi."), *words[3:], log=log) == 0
    return side_by_side.Spent(seconds=1.0, cpu=1.0, gigabytes=1.0)


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_turn_of_a_script_measures_what_its_figures_tell(script, tmp_path, monkeypatch):
    module = load(script)
    monkeypatch.setattr(module, "spawn", fork, raising=False)
    benchmark = module.BENCHMARK
    sizes = benchmark.sizes | benchmark.small | {"threads": 1}
    if benchmark.prepare is not None:
        benchmark.prepare(tmp_path, sizes)
    for turn in benchmark.turns:
        numbers = turn.ours(tmp_path, sizes)
        keys = {figure.key for figure in turn.figures if not figure.key.startswith("process.")}
        assert keys <= numbers.keys(), turn.name
        keys -= {"more"}  # a difference of two, which is nothing at small sizes
        assert all(numbers[key] > 0 for key in keys), (turn.name, numbers)


def test_the_script_for_gpus_measures_on_a_cpu_too(tmp_path, monkeypatch):
    gpu = load("gpu")
    monkeypatch.setattr(gpu, "spawn", fork)
    figures = gpu.measure(tmp_path, gpu.SMALL, "cpu")
    assert list(figures) == [
        "training, volumes on the device",
        "training, crops from worker processes",
        "commands",
    ]
    assert all(value > 0 for rows in figures.values() for _, _, value in rows)
