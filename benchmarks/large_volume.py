"""Ever larger tomograms, segmented by command in the same little memory.

python benchmarks/large_volume.py [--gigabytes 1] [--shapes 128,512,512 256,512,512]

Each command puts itself into a control group of so much memory, its part of the page cache
included; making one takes root on Linux. Prints one JSON line: for each shape the memory that the
volume and its scores would take at once, and the peak of what the process cannot give back.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from beyond_memory import control_group
from parts.jobs import octopi, write_checkpoint
from parts.side_by_side import machine, versions
from parts.synthetic import RADII, write_project

SHAPES = ["128,512,512", "256,512,512", "512,512,512"]
NET = ["model.channels=[4,8]", "model.strides=[2]", "model.num_res_units=0"]  # a fast one


def segment(folder: Path, group: Path, window: str) -> dict[str, Any]:
    """Run the command in the group; return its seconds of CPU and peak of anonymous memory."""
    words = [
        f"checkpoint={folder / 'model.pth'}",
        "accelerator=cpu",
        f"predictor.window_size={window}",
    ]

    def enter_group() -> None:
        (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")

    command = octopi("segment", folder, *words)
    with subprocess.Popen(command, preexec_fn=enter_group, stderr=subprocess.PIPE) as process:  # noqa: PLW1509  no other thread yet
        peak, done = 0, threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.1):
                peak = max(peak, anonymous_bytes(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        _, error = process.communicate()
        done.set()
        watcher.join()
    if process.returncode:
        sys.exit(error.decode())
    return {"anonymous_gb": round(peak / 1e9, 3)}


def anonymous_bytes(pid: int) -> int:
    """Return the memory of a process that is in no file, and so cannot be given back."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def main() -> None:
    """Make each tomogram, segment it, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--shapes", nargs="+", default=SHAPES)
    parser.add_argument("--window", default="[64,96,96]")
    args = parser.parse_args()
    told = []
    for text in args.shapes:
        shape = [int(n) for n in text.split(",")]
        with (
            control_group(args.gigabytes) as group,
            tempfile.TemporaryDirectory(prefix="octopi-large-") as name,
        ):
            folder = Path(name)
            write_project(folder, shape, num_runs=1, per_object=5)
            write_checkpoint(folder / "model.pth", radii=RADII, seed=0, words=NET)
            whole = math.prod(shape) * (8 + len(RADII)) / 1e9
            told.append({"shape": shape, "at_once_gb": round(whole, 2)})
            told[-1] |= segment(folder, group, args.window)
    limit = {"limit_gb": args.gigabytes, "window": args.window}
    print(
        json.dumps(
            {"name": "large_volume", **limit, "volumes": told, **versions(), "machine": machine()}
        )
    )


if __name__ == "__main__":
    main()
