"""Two programs on the same work, turn by turn: how a figure is measured, compared and told.

Each turn is a process of its own, with its threads fixed, so that its CPU seconds and its peak of
resident memory are those of the work. Turns of octopi and of the peer alternate, so that whatever
else the machine does meanwhile falls on both. This module is imported on both sides and by the
measuring process, which stays small: a child's peak memory begins with its parent's.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Sizes = dict[str, Any]
Work = Callable[[Path, Sizes], Mapping[str, float]]
PACKAGES = ("octopi", "torch", "monai", "numpy", "scipy", "copick", "zarr")
POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
SLACK = 1e-9  # a share of 1 that was summed in floating point is still 1


@dataclass(frozen=True)
class Figure:
    """One number that a turn measures.

    Args:
        key: its name in what the turn returns; `process.cpu`, `process.seconds` and `process.gb`
            are measured from outside, start-up included.
        label: what it is, in words.
        unit: of the number.
        must: the limit of issue 4, such as "≤ 0.15", or "≤ 0.33×" for a ratio to the peer's.
        aim: the better one.
    """

    key: str
    label: str
    unit: str
    must: str = ""
    aim: str = ""


@dataclass(frozen=True)
class Turn:
    """Work that both sides do, or one of them.

    Args:
        name: for the command line.
        figures: what is told of it.
        ours: the work in octopi, called in a process of its own with a folder and the sizes.
        peer: the same work in octopi 1.7.0, called in the peer's Python; None where it cannot.
        why_no_peer: the reason.
        repeats: how often it is measured.
        warm_up: turns before, that are not counted.
    """

    name: str
    figures: Sequence[Figure]
    ours: Work
    peer: Work | None = None
    why_no_peer: str = ""
    repeats: int = 3
    warm_up: int = 0


@dataclass(frozen=True)
class Benchmark:
    """One script.

    Args:
        script: its path.
        title: the work in words.
        sizes: of the work, as issue 4 has them.
        small: those that differ when the script is only tried out.
        turns: what is measured.
        prepare: makes the data, in octopi's Python.
        prepare_peer: makes what only the peer needs, in the peer's Python.
    """

    script: str
    title: str
    sizes: Sizes
    small: Sizes
    turns: Sequence[Turn]
    prepare: Callable[[Path, Sizes], None] | None = None
    prepare_peer: Callable[[Path, Sizes], None] | None = None

    @property
    def name(self) -> str:
        """The script's own."""
        return Path(self.script).stem


@dataclass
class Spent:
    """What a finished process has used."""

    seconds: float
    cpu: float
    gigabytes: float


@dataclass
class Clock:
    """Wall and CPU seconds of this process between two calls."""

    began: float = field(default_factory=time.perf_counter)
    cpu_began: float = field(default_factory=time.process_time)

    def read(self) -> tuple[float, float]:
        """Wall and CPU seconds since the clock was made."""
        return time.perf_counter() - self.began, time.process_time() - self.cpu_began


def spawn(
    words: Sequence[str], log: Path, *, cwd: Path | None = None, threads: int | None = None
) -> Spent:
    """Run a command that must succeed; return what it and its children used, log its output."""
    dropped = [*_NOT_FOR_CHILDREN, *([] if words[0] == sys.executable else ["PYTHONPATH"])]
    own = {k: v for k, v in os.environ.items() if k not in dropped}
    if threads is not None:
        own |= dict.fromkeys(POOLS, str(threads))
    began = time.perf_counter()
    with log.open("ab") as file:
        child = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, cwd=cwd, env=own)
        _, status, used = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        tail = log.read_text(encoding="utf-8", errors="replace")[-3000:]
        raise SystemExit(f"{' '.join(words)[:300]} ended with {child.returncode}:\n{tail}")
    return Spent(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024**2)


# Bytecode is cached, as it is for everybody who has installed either program.
_NOT_FOR_CHILDREN = ("PYTHONDONTWRITEBYTECODE",)


def arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options of every script."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--peer", help="Python of a virtual environment that has octopi 1.7.0")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, help="of every turn; default: each turn's own")
    parser.add_argument("--small", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--only", help="names of turns, with commas between")
    return parser


def main(benchmark: Benchmark) -> None:
    """Measure and print one JSON line; or, as a child, do the work of one turn."""
    parser = arguments(benchmark.title)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--sizes", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        answer = _work(benchmark, args.child, args.folder, args.sizes)
        (args.folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")
        return
    print(json.dumps(measure(benchmark, args), ensure_ascii=False), flush=True)


def _work(benchmark: Benchmark, child: str, folder: Path, sizes: Sizes) -> dict[str, Any]:
    """Return the numbers of one turn and the versions they were measured with."""
    name, _, side = child.partition(":")
    numbers: Mapping[str, float] = {}
    if name == "prepare":
        make = benchmark.prepare if side == "ours" else benchmark.prepare_peer
        if make is not None:
            make(folder, sizes)
    else:
        turn = next(turn for turn in benchmark.turns if turn.name == name)
        work = turn.ours if side == "ours" else turn.peer
        assert work is not None, "The measuring process starts no work that is not there."
        numbers = work(folder, sizes)
    return {"numbers": dict(numbers), "versions": versions()}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the main packages."""
    out = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return out


def measure(benchmark: Benchmark, args: argparse.Namespace) -> dict[str, Any]:
    """Return the report of one script, as its JSON line holds it."""
    sizes = benchmark.sizes | (benchmark.small if args.small else {}) | {"threads": args.threads}
    load, began = os.getloadavg()[0], time.perf_counter()
    with tempfile.TemporaryDirectory(prefix=f"octopi-{benchmark.name}-") as folder:
        sides = Sides(benchmark, Path(folder), sizes, args.peer)
        sides.prepare()
        asked = args.only.split(",") if args.only else [turn.name for turn in benchmark.turns]
        rows = [
            row
            for turn in benchmark.turns
            if turn.name in asked
            for row in _told(turn, *sides.take(turn, args.repeats or turn.repeats))
        ]
    if args.small:  # the limits are for the work of the table
        rows = [row | {"must_reached": None, "aim_reached": None} for row in rows]
    return {
        "benchmark": benchmark.name,
        "work": benchmark.title,
        "sizes": sizes,
        "small": args.small,
        "figures": rows,
        "peer": "octopi 1.7.0" if args.peer else None,
        "versions": sides.versions,
        "machine": machine(),
        "load": [round(load, 2), round(os.getloadavg()[0], 2)],
        "seconds": round(time.perf_counter() - began, 1),
    }


@dataclass
class Sides:
    """Both programs and the folder they work in."""

    benchmark: Benchmark
    folder: Path
    sizes: Sizes
    peer: str | None
    versions: dict[str, dict[str, str]] = field(default_factory=dict)

    def prepare(self) -> None:
        """Write the data."""
        if self.benchmark.prepare is not None:
            self._child("prepare", "ours")
        if self.peer and self.benchmark.prepare_peer is not None:
            self._child("prepare", "peer")

    def take(self, turn: Turn, repeats: int) -> tuple[list[dict], list[dict], str]:
        """Measure the sides in turns; return the figures, and why the peer has none, if so."""
        why = turn.why_no_peer or ("" if self.peer else "no --peer was given")
        ours, peer = [], []
        for i in range(turn.warm_up + repeats):
            ours.append(self._child(turn.name, "ours"))
            if turn.peer is not None and self.peer:
                peer.append(self._child(turn.name, "peer"))
            note = f"{self.benchmark.name} {turn.name} {i + 1}/{turn.warm_up + repeats}"
            print(note, file=sys.stderr, flush=True)
        return ours[turn.warm_up :], peer[turn.warm_up :], why

    def _child(self, name: str, side: str) -> dict[str, float]:
        """Return the numbers of one turn of one side, those of the operating system included."""
        python = sys.executable if side == "ours" or self.peer is None else self.peer
        answer = self.folder / "answer.json"
        answer.unlink(missing_ok=True)
        spent = spawn(
            [
                *(python, self.benchmark.script, "--child", f"{name}:{side}"),
                *("--folder", str(self.folder), "--sizes", json.dumps(self.sizes)),
            ],
            self.folder / "output.txt",
            cwd=self.folder,
            threads=self.sizes["threads"],
        )
        told = json.loads(answer.read_text(encoding="utf-8"))
        self.versions[side] = told["versions"]
        outside = {"seconds": spent.seconds, "cpu": spent.cpu, "gb": spent.gigabytes}
        return {**told["numbers"], **{f"process.{k}": v for k, v in outside.items()}}


def _told(turn: Turn, ours: list[dict], peer: list[dict], why: str) -> list[dict[str, Any]]:
    """Format the rows of one turn."""
    rows = []
    for figure in turn.figures:
        mine = [t[figure.key] for t in ours if figure.key in t]
        theirs = [t[figure.key] for t in peer if figure.key in t]
        if not mine and not theirs:
            continue
        ratio = None
        if mine and theirs and statistics.median(theirs):
            ratio = statistics.median(mine) / statistics.median(theirs)
        value = statistics.median(mine) if mine else None
        rows.append(
            {
                "turn": turn.name,
                "figure": figure.label,
                "unit": figure.unit,
                "ours": _spread(mine),
                "peer": _spread(theirs),
                "peer_skipped": why if not theirs else "",
                "ratio": None if ratio is None else round(ratio, 4),
                "must": figure.must,
                "must_reached": reached(figure.must, value, ratio),
                "aim": figure.aim,
                "aim_reached": reached(figure.aim, value, ratio),
            }
        )
    return rows


def _spread(values: Sequence[float]) -> dict[str, Any] | None:
    """Median, smallest, largest and every value, to four digits."""
    if not values:
        return None
    summary = statistics.median(values), min(values), max(values)
    median, low, high = (float(f"{v:.4g}") for v in summary)
    return {
        "median": median,
        "low": low,
        "high": high,
        "values": [float(f"{v:.4g}") for v in values],
    }


def reached(limit: str, value: float | None, ratio: float | None) -> bool | None:
    """Whether the value, or for a limit in × its ratio to the peer's, keeps the limit.

    None where there is no limit, or nothing to hold against it.
    """
    if not limit:
        return None
    parts = re.fullmatch(r"([≤≥]) ([\d.]+)(×?)", limit)
    assert parts is not None, f"A limit is written as ≤ 0.33× or ≥ 1, not {limit}."
    measured = ratio if parts[3] else value
    if measured is None:
        return None
    if parts[1] == "≤":
        return measured <= float(parts[2]) * (1 + SLACK)
    return measured >= float(parts[2]) * (1 - SLACK)


def machine() -> dict[str, Any]:
    """Describe the machine of the figures."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    flags = next((line for line in info.splitlines() if line.startswith("flags")), "").split()
    model = next((line for line in info.splitlines() if line.startswith("model name")), ":")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return {
        "processor": f"{platform.machine()}, {model.partition(':')[2].strip()}",
        "cores": os.cpu_count(),
        "bf16": [flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags],
        "memory_gb": round(memory, 1),
        "system": f"{platform.system()} {platform.release()}",
    }
