"""What a GPU makes of octopi: steps, samples and tomograms a second, utilisation, peaks, DDP.

python benchmarks/gpu.py [--peer PEER/bin/python] [--small] [--cpu]

Prints a table in Markdown, for RESULTS.md, and one JSON line. The first steps of a training are
left out of its figures. Then it runs `arithmetic.py`, for precision, memory format and
`torch.compile`, and the scripts that compare with octopi 1.7.0. `--cpu` tries it without a GPU.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from parts.jobs import octopi, picks_words, watched, write_checkpoint
from parts.side_by_side import machine, spawn, versions
from parts.synthetic import RADII, write_project

WARM_UP = 10  # steps
SIZES = {
    **{"shape": [184, 630, 630], "runs": 4, "particles": 50},  # of each object in a run
    **{"crop": 96, "crops": 8, "steps": 100, "threads": 4},
}
SMALL = {
    **{"shape": [64, 128, 128], "runs": 2, "particles": 2},
    **{"crop": 32, "crops": 2, "steps": 4, "threads": 1},
}
Row = tuple[str, str, float]


@contextmanager
def utilisation() -> Iterator[list[float]]:
    """Collect the percentage of time in which a kernel ran on the first GPU, twice a second."""
    seen: list[float] = []
    done = threading.Event()
    query = [
        "nvidia-smi",
        "-i",
        "0",
        "--query-gpu=utilization.gpu",
        "--format=csv,noheader,nounits",
    ]

    def watch() -> None:
        while not done.wait(0.5):
            answer = subprocess.run(
                query, check=False, capture_output=True, encoding="utf-8"
            ).stdout
            if answer.strip().isdecimal():
                seen.append(float(answer))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def train(folder: Path, sizes: dict[str, Any], accelerator: str, *words: str) -> list[Row]:
    """Train and return seconds of a step, samples a second, memory and utilisation."""
    import torch

    steps = WARM_UP + sizes["steps"]
    on_gpu = accelerator == "gpu"
    with utilisation() if on_gpu else tempfile.TemporaryFile() as seen:
        own = [f"trainer.accelerator={accelerator}", *words]
        watch = watched(folder, sizes, steps=steps, words=own)
    data, compute = ([s for s, _ in timed][WARM_UP:] for timed in (watch.data, watch.compute))
    step = statistics.median(a + b for a, b in zip(data, compute, strict=True))
    rows = [("a step", "s", step), ("crops", "1/s", sizes["crops"] / step)]
    rows += [("data of a step", "s", statistics.median(data))]
    if on_gpu:
        rows += [("utilisation", "%", statistics.mean(seen[2:] or [0.0]))]
        rows += [("memory of the GPU", "GB", torch.cuda.max_memory_allocated() / 1e9)]
    return rows


def commands(folder: Path, accelerator: str) -> list[Row]:
    """Segment and localize all tomograms by command; return seconds for each."""
    rows = []
    for verb, own in {
        "segment": [f"checkpoint={folder / 'model.pth'}", f"accelerator={accelerator}"],
        "localize": [f"checkpoint={folder / 'model.pth'}", "thresholds=0.5",
                     f"accelerator={accelerator}"],
    }.items():  # fmt: skip
        spent = spawn(octopi(verb, folder, *own, "overwrite=true"), folder / f"{verb}.txt")
        rows.append((f"{verb}, all tomograms", "s", spent.seconds))
    return rows


def several_gpus(folder: Path, sizes: dict[str, Any], count: int) -> list[Row]:
    """Train on several GPUs by command; return the seconds of an epoch, start-up included."""
    words = [f"trainer.devices={count}", "trainer.accelerator=gpu", "trainer.max_epochs=1"]
    words += [f"data.steps_per_epoch={sizes['steps']}", "data.ratios=[1,0,0]", "loss=tversky"]
    began = time.perf_counter()
    spawn(octopi("train", folder, *words), folder / f"ddp{count}.txt")
    return [(f"epoch on {count} GPUs, by command", "s", time.perf_counter() - began)]


def measure(folder: Path, sizes: dict[str, Any], accelerator: str) -> dict[str, list[Row]]:
    """Measure everything; return rows by what was measured."""
    import torch

    write_project(folder, sizes["shape"], num_runs=sizes["runs"], per_object=sizes["particles"])
    subprocess.run(octopi("create_targets", folder, *picks_words()), check=True)
    write_checkpoint(folder / "model.pth", radii=RADII, seed=0)
    told = {"training, volumes on the device": train(folder, sizes, accelerator)}
    with patch("octopi.data.gpu_volumes.MAX_GPU_MEMORY_FRACTION", 0):
        told["training, crops from worker processes"] = train(
            folder, sizes, accelerator, "data.num_workers=2"
        )
    told["commands"] = commands(folder, accelerator)
    count = torch.cuda.device_count()
    for number in sorted({1, min(2, count)}) if count > 1 else []:
        told[f"{number} GPUs"] = several_gpus(folder, sizes, number)
    return told


def main() -> None:
    """Measure and print; refuse a machine without a GPU unless told otherwise."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", help="Python of a virtual environment that has octopi 1.7.0")
    parser.add_argument("--small", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--cpu", action="store_true", help="on the CPU, to see that it works")
    args = parser.parse_args()
    if not (torch.cuda.is_available() or args.cpu):
        raise SystemExit("torch sees no GPU here: octopi doctor says why. --cpu tries the script.")
    sizes, accelerator = SMALL if args.small else SIZES, "cpu" if args.cpu else "gpu"
    with tempfile.TemporaryDirectory(prefix="octopi-gpu-") as name:
        told = measure(Path(name), sizes, accelerator)
    print("| work | figure | unit | octopi |\n|---|---|---|---|")
    for work, rows in told.items():
        for figure, unit, value in rows:
            print(f"| {work} | {figure} | {unit} | {value:.3g} |")
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU"
    print(json.dumps({"name": "gpu", "device": device, "sizes": sizes, "figures": told,
                      "machine": machine(), **versions()}))  # fmt: skip
    own = ["--small", "--repeats", "1"] if args.small else []
    own += ["--peer", args.peer] if args.peer else []
    for script in ("arithmetic.py", "train_step.py", "segment.py"):
        subprocess.run([sys.executable, str(Path(__file__).with_name(script)), *own], check=True)


if __name__ == "__main__":
    main()
