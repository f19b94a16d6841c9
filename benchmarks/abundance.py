"""Thresholds where particles are rarer or more frequent than in training.

    python benchmarks/abundance.py --checkpoint outputs/demo/train/best_model.pth

Makes synthetic projects like that of `project=demo`, with another number of particles in each run,
and picks in them with a network that was trained on the demo. Prints one JSON line: mean F1 at the
thresholds of the training, at those that follow the data, and at the best thresholds there are;
and the particles that were expected beside those that are there.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from incomplete import Commands, read

from octopi.evaluation.scores import Matched
from octopi.phantom import make_phantom
from octopi.project import PicksQuery, open_project

SHAPES = {3: (48, 192, 192), 15: (48, 192, 192), 75: (64, 320, 320)}
PARTICLES_IN_DEMO = 15 / (48 * 192 * 192)


def main() -> None:
    """Score the three thresholds in every project."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmark/abundance"))
    arguments = parser.parse_args()
    checkpoint = f"checkpoint={arguments.checkpoint.resolve()}"
    rows = []
    for num_particles, shape in SHAPES.items():
        out = (arguments.out / str(num_particles)).resolve()
        out.mkdir(parents=True, exist_ok=True)
        config = make_phantom(
            out / "project", num_runs=arguments.runs, shape=list(shape), voxel_spacing=10.0,
            num_particles=num_particles, snr=0.04, seed=7,
        )  # fmt: skip
        project = open_project(config)
        run = Commands(out, config, "demo")
        run("segment", checkpoint, "overwrite=true")
        names = [name for name, obj in project.objects.items() if obj.is_particle]
        radii = {name: project.objects[name].require_radius() for name in names}
        runs = [r.name for r in project.runs]
        truth = {
            r.name: r.read_existing_picks({n: PicksQuery(n, "curation", "0") for n in names})
            for r in project.runs
        }
        scorer = Matched(tolerance_scale=0.5, beta=1.0, num_resamples=0, seed=0)
        row = {
            "times": round(num_particles / np.prod(shape) / PARTICLES_IN_DEMO, 2),
            "particles": sum(len(points) for r in truth.values() for points in r.values()),
        }
        for source in ("training", "data", "all"):
            options = [f"session_id={source}"]
            options.append("thresholds=0" if source == "all" else f"thresholds_from={source}")
            folder = out / f"localize_{source}"
            run("localize", checkpoint, "beta=1", f"hydra.run.dir={folder}", *options)
            picks = read(project, runs, names, source)
            report = scorer(picks, truth, radii=radii, weights=dict.fromkeys(names, 1.0))
            if source == "all":
                best = [max(curve["fbeta"], default=0) for curve in report.curves.values()]
                row["best"] = round(float(np.mean(best)), 4)
            else:
                row[source] = round(report.total or 0, 4)
        expected = json.loads((out / "localize_data" / "expected.json").read_text())
        row["expected"] = round(sum(one["particles"] for one in expected.values()))
        rows.append(row)
    print(json.dumps({"checkpoint": str(arguments.checkpoint), "rows": rows}))


if __name__ == "__main__":
    main()
