"""How time and peak memory grow with the size of the work; draws growth.png.

python benchmarks/growth.py [--small]

Each point is a process of its own. Measured are `segment` and `localize` by command, the cached
start and the steady step of a training, and a whole job of four commands, against the size of
tomograms, their number, the number of objects, test-time augmentation, networks in an ensemble
and workers. `exponent` is the slope of the straight line through the points in a log-log plot:
1 is proportional, 0 is constant.
"""

import json
import math
import os
import shutil
import sys
import tempfile
import time
from argparse import SUPPRESS
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parts.jobs import octopi, picks_words, write_checkpoint
from parts.side_by_side import Sizes, Spent, arguments, machine, spawn, versions
from parts.synthetic import RADII, write_project

SHAPES = [[64, 128, 128], [64, 256, 256], [128, 256, 256], [184, 448, 448], [184, 630, 630]]
SMALL_SHAPES = [[32, 64, 64], [32, 96, 96], [48, 96, 96]]
RADIUS = 60.0  # Å, of the objects where their number varies
PER_OBJECT = 4
Point = tuple[float, Spent]


@dataclass(frozen=True)
class Curve:
    """One line in the plot.

    Args:
        command: what is measured.
        against: what varies, in words.
        unit: of what varies.
        values: what it takes.
        sizes: the work of one value.
        measure: what does it, in a folder.
    """

    command: str
    against: str
    unit: str
    values: Sequence[float]
    sizes: Callable[[float], Sizes]
    measure: Callable[[Path, Sizes], Spent]


def curves(*, small: bool) -> list[Curve]:
    """Return every curve."""
    shapes = {math.prod(shape) / 1e6: shape for shape in (SMALL_SHAPES if small else SHAPES)}
    voxels = list(shapes)
    shape = SMALL_SHAPES[0] if small else SHAPES[0]
    classes = [2, 4] if small else [2, 5, 10, 20]
    tta = [1, 2] if small else [1, 2, 4, 8]
    nets = [1, 2] if small else [1, 2, 4, 7]
    tomograms = [2, 4] if small else [2, 4, 8, 16, 32, 64]
    workers = [0, 1] if small else [0, 1, 2, 4]

    def by_shape(value: float) -> Sizes:
        return {"shape": shapes[value]}

    def by(key: str) -> Callable[[float], Sizes]:
        return lambda value: {"shape": shape, key: int(value)}

    jobs = {"segment": segment, "localize": localize, "training of 10 steps": train, "job": job}
    lines = [
        Curve(name, "volume", "million voxels", voxels, by_shape, work)
        for name, work in jobs.items()
    ]
    for name, against, values, key, work in (
        ("segment", "objects", classes, "objects", segment),
        ("localize", "objects", classes, "objects", localize),
        ("segment", "sides averaged (TTA)", tta, "sides", segment),
        ("segment", "networks", nets, "nets", segment),
        ("segment", "tomograms", tomograms, "runs", segment),
        ("localize", "tomograms", tomograms, "runs", localize),
        ("training of 10 steps", "tomograms", tomograms, "runs", train),
        ("training of 10 steps", "workers", workers, "workers", train),
    ):
        lines.append(Curve(name, against, against, values, by(key), work))
    return lines


def radii_of(sizes: Sizes) -> dict[str, float]:
    """Object name -> Å."""
    num = sizes.get("objects", len(RADII))
    return {f"object-{i}": RADIUS for i in range(num)}


def project(folder: Path, sizes: Sizes) -> None:
    """Tomograms, picks, targets and networks; in a process whose memory does not count."""
    write_project(
        folder,
        sizes["shape"],
        num_runs=sizes.get("runs", 1),
        per_object=PER_OBJECT,
        radii=radii_of(sizes),
    )
    spawn(octopi("create_targets", folder, *picks_words()), folder / "targets.txt")
    for seed, path in enumerate(networks(folder, sizes)):
        write_checkpoint(path, radii=radii_of(sizes), seed=seed)


def networks(folder: Path, sizes: Sizes) -> list[Path]:
    """Checkpoints with random weights."""
    return [folder / f"net{i}.pth" for i in range(sizes.get("nets", 1))]


def segment(folder: Path, sizes: Sizes) -> Spent:
    """`segment` of every run."""
    checkpoints = ",".join(map(str, networks(folder, sizes)))
    words = [f"checkpoint=[{checkpoints}]", f"predictor.num_sides={sizes.get('sides', 1)}"]
    return _run("segment", folder, sizes, *words, "accelerator=cpu")


def localize(folder: Path, sizes: Sizes) -> Spent:
    """`localize` of every run's targets, which are what a perfect network says."""
    words = ["source=segmentation", "input=targets:octopi/1", "localizer=peaks"]
    return _run("localize", folder, sizes, *words)


def train(folder: Path, sizes: Sizes) -> Spent:
    """Train up to the tenth step: imports, cache, steps; no validation."""
    words = [
        f"data.num_workers={sizes.get('workers', 0)}",
        "data.steps_per_epoch=10",
        "data.crops_per_step=2",
        "data.crop_size=[32,32,32]",
        "data.ratios=[1,0,0]",
        f"data.cache_dir={folder / 'cache'}",
        "model=unet_demo",
        "callbacks=none",
        "+callbacks.end._target_=parts.stopwatch.AfterSteps",
        "+callbacks.end.steps=10",
        "trainer.accelerator=cpu",
        "trainer.enable_progress_bar=false",
    ]
    return _run("train", folder, sizes, *words)


def job(folder: Path, sizes: Sizes) -> Spent:
    """Targets, a training of ten steps, segmentation and localization, one after the other."""
    shutil.rmtree(folder / "overlay-ours")
    parts = [
        _run("create_targets", folder, sizes, *picks_words()),
        train(folder, sizes),
        segment(folder, sizes),
        localize(folder, sizes),
    ]
    return Spent(
        sum(part.seconds for part in parts),
        sum(part.cpu for part in parts),
        max(part.gigabytes for part in parts),
    )


def _run(verb: str, folder: Path, sizes: Sizes, *words: str) -> Spent:
    log = folder / f"{verb}.txt"
    here = Path(__file__).parent
    return spawn(octopi(verb, folder, *words), log, cwd=here, threads=sizes["threads"])


def measured(curve: Curve, threads: int) -> Iterator[Point]:
    """Measure each value of a curve in a new project."""
    for value in curve.values:
        with tempfile.TemporaryDirectory(prefix="octopi-growth-") as name:
            folder = Path(name)
            sizes = curve.sizes(value) | {"threads": threads}
            spawn(
                [sys.executable, __file__, "--project", name, "--sizes", json.dumps(sizes)],
                folder / "project.txt",
            )
            spent = curve.measure(folder, sizes)
        note = f"growth {curve.command} {curve.against}={value:g}: {spent.cpu:.1f} CPU s"
        print(note, file=sys.stderr, flush=True)
        yield value, spent


def exponent(values: Sequence[float], costs: Sequence[float]) -> float | None:
    """Return the slope of the line through the logarithms; None where a value is 0."""
    if min(*values, *costs) <= 0:
        return None
    xs, ys = ([math.log(v) for v in series] for series in (values, costs))
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    rise = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return round(rise / sum((x - mean_x) ** 2 for x in xs), 2)


def report(lines: Sequence[Curve], threads: int) -> list[dict[str, Any]]:
    """Format every curve as numbers."""
    out = []
    for curve in lines:
        points = list(measured(curve, threads))
        values = [value for value, _ in points]
        cpu = [spent.cpu for _, spent in points]
        out.append(
            {
                "command": curve.command,
                "against": curve.against,
                "unit": curve.unit,
                "values": [round(value, 3) for value in values],
                "cpu": [round(c, 2) for c in cpu],
                "seconds": [round(spent.seconds, 2) for _, spent in points],
                "gb": [round(spent.gigabytes, 3) for _, spent in points],
                "per_unit": slope(values, cpu),
                "exponent": exponent(values, cpu),
                "exponent_gb": exponent(values, [spent.gigabytes for _, spent in points]),
            }
        )
    return out


def slope(values: Sequence[float], costs: Sequence[float]) -> float:
    """Cost of one unit more, from the least squares line: what start-up takes is left out."""
    mean_x, mean_y = sum(values) / len(values), sum(costs) / len(costs)
    rise = sum((x - mean_x) * (y - mean_y) for x, y in zip(values, costs, strict=True))
    return round(rise / sum((x - mean_x) ** 2 for x in values), 4)


def draw(path: Path, told: Sequence[dict[str, Any]]) -> None:
    """Draw a column of panels for each thing that varies: CPU seconds above, peak memory below."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    against = list(dict.fromkeys(curve["against"] for curve in told))
    commands = list(dict.fromkeys(curve["command"] for curve in told))
    figure, axes = plt.subplots(2, len(against), figsize=(3.4 * len(against), 6), squeeze=False)
    for column, what in enumerate(against):
        for curve in (c for c in told if c["against"] == what):
            color = f"C{commands.index(curve['command'])}"
            for row, key in enumerate(("cpu", "gb")):
                axes[row][column].plot(
                    curve["values"], curve[key], "o-", color=color, label=curve["command"]
                )
        unit = next(c["unit"] for c in told if c["against"] == what)
        axes[1][column].set_xlabel(unit)
        axes[0][column].set_title(what, fontsize=10)
        for axis in axes[:, column]:
            axis.set_ylim(0, 1.1 * axis.dataLim.y1)
    axes[0][0].set_ylabel("CPU seconds")
    axes[1][0].set_ylabel("peak memory, GB")
    lines = [Line2D([], [], marker="o", color=f"C{i}") for i in range(len(commands))]
    figure.legend(lines, commands, loc="lower center", ncols=len(commands), fontsize=9)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure every curve, draw them and print one JSON line."""
    parser = arguments("How time and memory grow with the work.")
    parser.add_argument("--plot", type=Path, help="default: growth.png beside this script")
    parser.add_argument("--project", type=Path, help=SUPPRESS)
    parser.add_argument("--sizes", type=json.loads, help=SUPPRESS)
    args = parser.parse_args()
    if args.project:
        project(args.project, args.sizes)
        return
    lines = curves(small=args.small)
    if args.only:
        lines = [line for line in lines if line.command in args.only.split(",")]
    began = time.perf_counter()
    told = report(lines, args.threads)
    folder = Path(tempfile.gettempdir()) if args.small else Path(__file__).parent
    plot: Path = args.plot or folder / "growth.png"
    draw(plot, told)
    print(
        json.dumps(
            {
                "benchmark": "growth",
                "work": "How time and memory grow with the work",
                "sizes": {"threads": args.threads},
                "small": args.small,
                "figures": [],
                "curves": told,
                "plot": plot.name,
                "peer": None,
                "versions": {"ours": versions()},
                "machine": machine(),
                "load": [round(os.getloadavg()[0], 2)] * 2,
                "seconds": round(time.perf_counter() - began, 1),
            },
            ensure_ascii=False,
        )
    )


if __name__ == "__main__":
    main()
