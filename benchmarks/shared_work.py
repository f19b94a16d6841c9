"""How well processes share runs: work that sleeps, so that only the sharing itself is measured.

python benchmarks/shared_work.py [--workers 8] [--runs 200] [--seconds 0.5] [--kill]

Efficiency is the time that the work alone would take, shared out evenly, over the time that it
took from the first worker's start to the last one's end. With --kill one worker is killed midway.
"""

import argparse
import json
import multiprocessing
import os
import signal
import tempfile
import time
from collections import Counter
from multiprocessing.synchronize import Barrier
from pathlib import Path


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


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.5, help="that the work on a run takes")
    parser.add_argument("--kill", action="store_true", help="kill one worker midway")
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(given.workers + 1)
    ideal = given.runs * given.seconds / given.workers
    with tempfile.TemporaryDirectory() as folder:
        config = write_project(Path(folder), given.runs)
        arguments = (config, given.seconds, start)
        workers = [context.Process(target=work, args=arguments) for _ in range(given.workers)]
        for worker in workers:
            worker.start()
        start.wait()
        began = time.perf_counter()
        if given.kill:
            time.sleep(ideal / 2)
            os.kill(workers[0].pid or 0, signal.SIGKILL)
        for worker in workers:
            worker.join()
        seconds = time.perf_counter() - began
        done = Counter(
            name for log in Path(folder).glob("log.*") for name in log.read_text().split()
        )
    twice = sum(times > 1 for times in done.values())
    print(
        f"{len(done)} of {given.runs} runs done, {twice} twice, by {given.workers} workers in "
        f"{seconds:.1f} s; efficiency {ideal / seconds:.2f}; load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
