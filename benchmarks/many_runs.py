"""CPU seconds and peak memory of the commands on projects of many small runs.

python benchmarks/many_runs.py [--runs 100,2000] [--only check,status] [--folder DIR]

Each run has a tomogram of 16 × 32 × 32 voxels and two sets of picks of two objects. A table is
printed, with the growth in CPU seconds per 1,000 runs between the smallest and the largest project.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from parts.side_by_side import Spent, machine, spawn

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
    "segment of 5": (
        "segment",
        ["checkpoint=CHECKPOINT", "accelerator=cpu", "runs=RUNS", "predictor.window_size=null"],
    ),
    "localize, 5 with scores": ("localize", ["localizer=peaks"]),
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


def measure(folder: Path, num_runs: int, names: Sequence[str]) -> dict[str, Spent]:
    """Write a project and run the commands on it; return what each used."""
    write_project(folder, num_runs)
    if "segment of 5" in names:  # in a process of its own, since a child's peak begins with ours
        path = f"pathlib.Path({str(folder)!r}, 'model.pth')"
        code = (
            f"import pathlib; from parts import jobs; jobs.write_checkpoint({path}, radii={RADII}"
        )
        spawn([sys.executable, "-c", f"{code}, seed=0)"], folder / "log", cwd=HERE)
    values = {
        "CHECKPOINT": str(folder / "model.pth"),
        "RUNS": f"[{','.join(run_names(num_runs)[:5])}]",
        "JOB": str(folder),
    }
    spent = {}
    for name in names:
        verb, words = COMMANDS[name]
        for key, value in values.items():
            words = [word.replace(key, value) for word in words]
        command = [sys.executable, "-m", f"octopi.{verb}", f"project.config={folder}/project.json"]
        job = [f"hydra.run.dir={folder}/jobs/{name.replace(' ', '_').replace(',', '')}"]
        spent[name] = spawn([*command, *job, *words], folder / "log", threads=1)
        print(num_runs, name, spent[name], flush=True)
    return spent


def main() -> None:
    """Measure each size, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", default="100,2000", help="sizes, with commas between")
    parser.add_argument("--only", default=";".join(COMMANDS), help="commands, with ; between")
    parser.add_argument("--folder", help="for the projects; default: a temporary one")
    given = parser.parse_args()
    sizes, names = sorted(map(int, given.runs.split(","))), given.only.split(";")
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        results = {n: measure(Path(folder) / str(n), n, names) for n in sizes}
    print(machine())
    few, many = results[sizes[0]], results[sizes[-1]]
    heads = [f"CPU s, {size} runs" for size in sizes]
    print(f"| command | {' | '.join(heads)} | CPU s per 1,000 more | peak GB |")
    print(f"| --- | {' | '.join(['---:'] * len(heads))} | ---: | ---: |")
    for name in names:
        cpu = " | ".join(f"{results[size][name].cpu:.1f}" for size in sizes)
        more = (many[name].cpu - few[name].cpu) / max(sizes[-1] - sizes[0], 1) * 1000
        print(f"| {name} | {cpu} | {more:.1f} | {many[name].gigabytes:.2f} |")


if __name__ == "__main__":
    main()
