"""How well processes share runs: work that sleeps, so that only the sharing itself is measured.

python benchmarks/shared_work.py

Efficiency is the time that the work alone would take, shared out evenly, over the time that it
took from the first worker's start to the last one's end. In a second turn one worker is killed.
"""

import json
import multiprocessing
import os
import signal
import tempfile
import time
from collections import Counter
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path

from parts.side_by_side import Benchmark, Figure, Sizes, Turn, main


def write_project(folder: Path, num_runs: int) -> Path:
    """Write a copick project of empty runs; return its config."""
    for number in range(num_runs):
        (folder / "static" / "ExperimentRuns" / f"TS_{number:04d}").mkdir(parents=True)
    path = folder / "project.json"
    content = {
        "config_type": "filesystem",
        "pickable_objects": [],
        "overlay_root": f"local://{folder}/overlay",
        "static_root": f"local://{folder}/static",
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def work(config: Path, seconds: float, start: Barrier) -> None:
    """Take runs and sleep; note each in a file of this process."""
    from octopi.project import open_project

    project = open_project(config)
    log = config.with_name(f"log.{os.getpid()}")
    start.wait()
    with project.writing(project.runs, "work", {}, dry_run=False) as shared:
        for run in shared.one_by_one(project.runs, lambda run: run):
            time.sleep(seconds)
            with log.open("a", encoding="utf-8") as file:
                file.write(f"{run.name}\n")


def ours(folder: Path, sizes: Sizes, *, kill: bool) -> dict[str, float]:
    """Let processes share the runs; kill one of them midway, if so asked."""
    folder = Path(tempfile.mkdtemp(dir=folder))
    config = write_project(folder, sizes["runs"])
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(sizes["workers"] + 1)
    ideal = sizes["runs"] * sizes["seconds"] / sizes["workers"]
    arguments = (config, sizes["seconds"], start)
    workers = [context.Process(target=work, args=arguments) for _ in range(sizes["workers"])]
    for worker in workers:
        worker.start()
    start.wait()
    began = time.perf_counter()
    if kill:
        time.sleep(ideal / 2)
        os.kill(workers[0].pid or 0, signal.SIGKILL)
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - began
    done = Counter(name for log in folder.glob("log.*") for name in log.read_text().split())
    once = sum(times == 1 for times in done.values())
    return {"efficiency": ideal / seconds, "once": once / sizes["runs"]}


def make_turn(name: str, label: str, must: str, *, kill: bool) -> Turn:
    """Return a turn with its figures."""
    return Turn(
        name,
        figures=[
            Figure("efficiency", f"{label}, efficiency", "", must=must),
            Figure("once", f"{label}, share of the runs that are done once", "", must="≥ 1"),
        ],
        ours=partial(ours, kill=kill),
        why_no_peer="its processes do not share runs",
        repeats=5,
    )


BENCHMARK = Benchmark(
    script=__file__,
    title="8 processes share 200 runs, in each of which they sleep",
    sizes={"workers": 8, "runs": 200, "seconds": 1.0},
    small={"workers": 2, "runs": 6, "seconds": 0.2},
    turns=[
        make_turn("share", "8 processes share 200 runs of a second", "≥ 0.9", kill=False),
        make_turn("kill", "the same, one of them killed", "", kill=True),
    ],
)

if __name__ == "__main__":
    main(BENCHMARK)
