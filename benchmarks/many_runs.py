"""CPU seconds and peak memory of the commands on projects of many small runs.

python benchmarks/many_runs.py [--only check,status]

Each run has a tomogram of 16 × 32 × 32 voxels and two sets of picks of two objects. A command runs
on a small and on a large project, so that what a thousand runs more cost is told without start-up.
"""

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from parts.side_by_side import Benchmark, Figure, Sizes, Turn, main, spawn

HERE = Path(__file__).parent
RADII = {"apo": 30.0, "ribosome": 45.0}  # Å
SHAPE, VOXEL_SPACING, NUM_PICKS = (16, 32, 32), 10.0, 4
TINY = [
    "data.crop_size=[16,32,32]", "data.crops_per_step=1", "data.steps_per_epoch=1",
    "data.num_workers=0", "model.channels=[4,8]", "model.strides=[2]", "trainer.accelerator=cpu",
]  # fmt: skip
COMMANDS: dict[str, tuple[str, Sequence[str]]] = {
    "check": ("check", ["picks=curation/0"]),
    "create_targets dry run": ("create_targets", ["targets.picks=curation/0", "dry_run=true"]),
    "create_targets": ("create_targets", ["targets.picks=curation/0"]),
    "train dry run": ("train", [*TINY, "dry_run=true"]),
    "train to its first batch": (
        "train",
        [
            *TINY,
            "data.cache_dir=JOB/cache",
            "trainer.enable_progress_bar=false",
            "+callbacks.first_batch._target_=parts.stopwatch.FirstBatch",
            "+callbacks.first_batch.path=JOB/first_batch.json",
        ],
    ),
    "segment of 5": (
        "segment",
        ["checkpoint=CHECKPOINT", "accelerator=cpu", "runs=RUNS", "predictor.window_size=null"],
    ),
    "localize of 5": ("localize", ["localizer=peaks"]),
    "evaluate": ("evaluate", ["truth=curation/0", "user_id=guess", "session_id='0'"]),
    "report": (
        "report",
        ["truth=curation/0", "user_id=guess", "session_id='0'", "output=JOB/report.html"],
    ),
    "status": ("status", []),
}


def write_project(folder: Path, num_runs: int) -> None:
    """Write the files of a copick project straight to the disk."""
    objects = [
        {"name": name, "is_particle": True, "label": label, "radius": radius}
        for label, (name, radius) in enumerate(RADII.items(), start=1)
    ]
    config = {
        "config_type": "filesystem",
        "pickable_objects": objects,
        "overlay_root": f"local://{folder}/overlay",
        "static_root": f"local://{folder}/static",
    }
    (folder / "overlay").mkdir(parents=True)
    (folder / "project.json").write_text(json.dumps(config), encoding="utf-8")
    rng = np.random.default_rng(0)
    for run_name in run_names(num_runs):
        run = folder / "static" / "ExperimentRuns" / run_name
        (run / "Picks").mkdir(parents=True)
        for name in RADII:
            positions = rng.uniform(50, 110, (NUM_PICKS, 3))
            write_picks(run / f"Picks/curation_0_{name}.json", positions, run_name, name)
            positions = positions + rng.normal(0, 10, positions.shape)
            write_picks(run / f"Picks/guess_0_{name}.json", positions, run_name, name)
        volume = rng.standard_normal(SHAPE, dtype=np.float32)
        write_volume(run / f"VoxelSpacing{VOXEL_SPACING:.3f}/wbp.zarr", volume)


def run_names(num_runs: int) -> list[str]:
    """Return the names of the runs."""
    return [f"TS_{number:04d}" for number in range(num_runs)]


def write_picks(path: Path, positions: NDArray, run_name: str, object_name: str) -> None:
    """Write a file of picks at positions (n, 3) in Å, with the score 1."""
    points = [
        {"location": dict(zip("xyz", p, strict=True)), "score": 1} for p in positions.tolist()
    ]
    user, session, _ = path.stem.split("_")
    content = {
        "pickable_object_name": object_name, "user_id": user, "session_id": session,
        "run_name": run_name, "unit": "angstrom", "points": points,
    }  # fmt: skip
    path.write_text(json.dumps(content), encoding="utf-8")


def write_volume(path: Path, volume: NDArray[np.float32]) -> None:
    """Write an OME-Zarr of one chunk."""
    axes = [{"name": name, "type": "space", "unit": "angstrom"} for name in "zyx"]
    steps = [{"type": "scale", "scale": [VOXEL_SPACING] * 3}]
    datasets = [{"path": "0", "coordinateTransformations": steps}]
    array: dict[str, Any] = {
        "chunks": volume.shape, "compressor": None, "dtype": "<f4", "fill_value": 0.0,
        "filters": None, "order": "C", "shape": volume.shape, "zarr_format": 2,
        "dimension_separator": "/",
    }  # fmt: skip
    (path / "0/0/0").mkdir(parents=True)
    (path / "0/0/0/0").write_bytes(volume.tobytes())
    (path / "0/.zarray").write_text(json.dumps(array), encoding="utf-8")
    (path / ".zgroup").write_text('{"zarr_format": 2}', encoding="utf-8")
    content = {"multiscales": [{"version": "0.4", "axes": axes, "datasets": datasets}]}
    (path / ".zattrs").write_text(json.dumps(content), encoding="utf-8")


def prepare(folder: Path, sizes: Sizes) -> None:
    """Write a small and a large project, and a network for both."""
    for size in ("few", "many"):
        write_project(folder / size, sizes[size])
    path = f"pathlib.Path({str(folder)!r}, 'model.pth')"
    code = f"import pathlib; from parts import jobs; jobs.write_checkpoint({path}, radii={RADII}"
    spawn([sys.executable, "-c", f"{code}, seed=0)"], folder / "log", cwd=HERE)


def ours(name: str, folder: Path, sizes: Sizes) -> dict[str, float]:
    """Run a command on both projects."""
    verb, template = COMMANDS[name]
    spent = {}
    for size in ("few", "many"):
        values = {
            "CHECKPOINT": str(folder / "model.pth"),
            "RUNS": f"[{','.join(run_names(sizes[size])[:5])}]",
            "JOB": str(folder / size),
        }
        words = list(template)
        for key, value in values.items():
            words = [word.replace(key, value) for word in words]
        project = f"project.config={folder / size}/project.json"
        job = f"hydra.run.dir={folder / size}/jobs/{name.replace(' ', '_')}"
        command = [sys.executable, "-m", f"octopi.{verb}", project, job, *words]
        spent[size] = spawn(command, folder / "log", threads=1, cwd=HERE)
    few, many = spent["few"], spent["many"]
    return {
        "cpu": many.cpu,
        "more": (many.cpu - few.cpu) / (sizes["many"] - sizes["few"]) * 1000,
        "gb": max(few.gigabytes, many.gigabytes),
    }


def make_turn(name: str) -> Turn:
    """Return the turn of a command; `check` and `evaluate` have limits."""
    is_limited = name in ("check", "evaluate")
    return Turn(
        name,
        figures=[
            Figure("cpu", f"{name}, 2,000 runs", "CPU s", must="≤ 20" if is_limited else ""),
            Figure("more", f"{name}, 1,000 runs more", "CPU s"),
            Figure("gb", f"{name}, 2,000 runs, memory", "GB", must="≤ 0.5" if is_limited else ""),
        ],
        ours=partial(ours, name),
        why_no_peer="it was not measured on many runs",
        repeats=1,  # a command does its work once
    )


BENCHMARK = Benchmark(
    script=__file__,
    title="Commands on 2,000 runs of 16×32×32 voxels, on one thread, start-up included",
    sizes={"few": 100, "many": 2000},
    small={"few": 5, "many": 10},
    turns=[make_turn(name) for name in COMMANDS],
    prepare=prepare,
)

if __name__ == "__main__":
    main(BENCHMARK)
