"""Each script of `make bench` and `make gpu` still runs: at small sizes, once, without a peer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = ["help", "create_targets", "localize", "evaluate", "first_batch", "shared_work"]


def figures_of(script, *options):
    """Run a script and return the figures of its first line of JSON."""
    command = [sys.executable, BENCHMARKS / f"{script}.py", "--small", *options]
    environment = os.environ | {"PYTHONPATH": str(BENCHMARKS.parent)}
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return json.loads(lines[0])["figures"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_measures_our_side(script):
    figures = figures_of(script, "--repeats", "1")
    assert figures
    assert all(figure["ours"]["median"] > 0 for figure in figures)


def test_the_commands_run_on_many_runs():
    figures = figures_of("many_runs")
    totals = [figure for figure in figures if "1,000 runs more" not in figure["figure"]]
    assert len(totals) == 2 * len(figures) / 3
    assert all(figure["ours"]["median"] > 0 for figure in totals)


def test_the_script_for_gpus_measures_on_a_cpu_too():
    """It also runs train_step, segment and arithmetic."""
    figures = figures_of("gpu", "--cpu")
    assert list(figures) == [
        "training, volumes on the device",
        "training, crops from worker processes",
        "commands",
    ]
    assert all(value > 0 for rows in figures.values() for _, _, value in rows)
