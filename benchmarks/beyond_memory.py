"""Training on more tomograms than fit in memory, beside the same training with memory to spare.

python benchmarks/beyond_memory.py [--gigabytes 2] [--runs 24] [--steps 60]

The process that trains puts itself into a control group of so much memory, its part of the page
cache included; making one takes root on Linux. Prints one JSON line: seconds to the first batch
with nothing cached, then what a step waits for its data, and computes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parts.jobs import octopi, picks_words, watched
from parts.side_by_side import machine, versions
from parts.synthetic import write_project

SHAPE = [184, 630, 630]
PER_OBJECT = 150
SIZES = {"threads": 2, "crop": 64, "crops": 4}
WARM_UP = 5  # steps
CGROUPS = Path("/sys/fs/cgroup")


@contextmanager
def control_group(gigabytes: float) -> Iterator[Path]:
    """Make a control group of version 1 or 2 whose processes get so much memory."""
    old = (CGROUPS / "memory").is_dir()
    group = (CGROUPS / "memory" if old else CGROUPS) / f"octopi-{os.getpid()}"
    group.mkdir()
    try:
        limit = group / ("memory.limit_in_bytes" if old else "memory.max")
        limit.write_text(str(int(gigabytes * 1e9)), encoding="ascii")
        yield group
    finally:
        group.rmdir()


def train(folder: Path, cache: Path, steps: int) -> dict[str, Any]:
    """Train in this process and measure its steps."""
    import parts.stopwatch  # noqa: F401  torch and Lightning are not timed

    begun = time.perf_counter()
    words = [f"data.cache_dir={cache}"]
    watch = watched(folder, SIZES, steps=WARM_UP + steps, words=words)
    took = time.perf_counter() - begun
    data, compute = ([s for s, _ in timed] for timed in (watch.data, watch.compute))
    return {
        "start_seconds": round(took - sum(data[1:]) - sum(compute), 1),
        "data_seconds": round(statistics.median(data[WARM_UP:]), 4),
        "data_seconds_slowest": round(max(data[WARM_UP:]), 4),
        "compute_seconds": round(statistics.median(compute[WARM_UP:]), 3),
    }


def child(folder: Path, cache: Path, steps: int, group: Path | None) -> dict[str, Any]:
    """Train in a process, in the control group if there is one; return what it measured."""
    words = [sys.executable, __file__, "--child", str(folder), str(cache), "--steps", str(steps)]
    if group is not None:
        words += ["--group", str(group)]
    done = subprocess.run(words, check=True, capture_output=True, text=True, encoding="utf-8")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Makes the tomograms, trains on them twice, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--group", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        if args.group:
            (args.group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
        print(json.dumps(train(*args.child, args.steps)))
        return
    with (
        control_group(args.gigabytes) as group,
        tempfile.TemporaryDirectory(prefix="octopi-beyond-") as name,
    ):
        folder = Path(name)
        write_project(folder, SHAPE, num_runs=args.runs, per_object=PER_OBJECT)
        subprocess.run(octopi("create_targets", folder, *picks_words()), check=True)
        told = {}
        for key, limit in (("limited", group), ("free", None)):
            cache = folder / f"cache-{key}"
            told[key] = child(folder, cache, args.steps, limit)
            size = sum(f.stat().st_size for f in cache.rglob("*") if f.is_file())
        told |= {"runs": args.runs, "limit_gb": args.gigabytes, "cache_gb": round(size / 1e9, 2)}
    print(json.dumps({"name": "beyond_memory", **told, "machine": machine(), **versions()}))


if __name__ == "__main__":
    main()
