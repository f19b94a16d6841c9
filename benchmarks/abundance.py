"""Thresholds where particles are rarer or more frequent than in training.

    python benchmarks/abundance.py --seed 1

Trains `experiment=demo` on a synthetic project with 15 particles of each object in a tomogram,
the last of its four runs held out, and picks in others of the same size and the same noise with 3,
15 and 75. Prints one JSON line: mean F1 at the thresholds of the training, at those that follow the
data, and at the best thresholds there are; and the particles that were expected beside those that
are there.
"""

import argparse
import functools
import json
from pathlib import Path

import numpy as np
from incomplete import Commands, read

from octopi.evaluation.scores import Matched
from octopi.geometry import Grid
from octopi.phantom import make_phantom
from octopi.phantom.microscope import simulate_tomograms
from octopi.phantom.specimen import make_specimen, render_density
from octopi.project import open_project
from octopi.project.queries import PicksQuery

SHAPE = [80, 320, 320]  # voxels z y x: room for the 75
DEFOCUS = 3e4  # Å
SNR = 0.04  # with as many particles as in training
NUM_PARTICLES = {1 / 5: 3, 1: 15, 5: 75}  # times as frequent as in training -> in a tomogram


def main() -> None:
    """Train once, and score the three thresholds in every project."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmark/abundance"))
    arguments = parser.parse_args()
    root = arguments.out.resolve() / str(arguments.seed)
    config = make_project(root / "training", num_runs=4, num_particles=15, seed=arguments.seed)
    run = Commands(config.parents[1], config, "demo")
    run("create_targets", "overwrite=true")
    job = root / "train"
    split = ["data.test_runs=null", "data.validation_runs=[TS_04]"]
    run("train", *split, f"seed={arguments.seed}", f"hydra.run.dir={job}")
    checkpoint = f"checkpoint={job / 'best_model.pth'}"
    rows = []
    for times, num_particles in NUM_PARTICLES.items():
        out = root / str(num_particles)
        config = make_project(
            out, num_runs=arguments.runs, num_particles=num_particles, seed=100 + arguments.seed
        )
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
            "times": times,
            "particles": sum(len(points) for r in truth.values() for points in r.values()),
        }
        for source in ("training", "data", "all"):
            options = [f"session_id={source}"]
            options += (
                ["thresholds=0"] if source == "all" else [f"thresholds_from={source}", "beta=1"]
            )
            folder = out / f"localize_{source}"
            run("localize", checkpoint, f"hydra.run.dir={folder}", f"session_id={source}", *options)
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
    print(json.dumps({"seed": arguments.seed, "rows": rows}))


def make_project(out: Path, *, num_runs: int, num_particles: int, seed: int) -> Path:
    """Make a synthetic project in a folder; return its config.

    The phantom's noise is a part of its signal, so the ratio grows with what the tomogram holds.
    """
    out.mkdir(parents=True, exist_ok=True)
    snr = SNR * signal_power(num_particles) / signal_power(NUM_PARTICLES[1])
    return make_phantom(
        out / "project", num_runs=num_runs, shape=SHAPE, voxel_spacing=10.0,
        num_particles=num_particles, snr=snr, seed=seed,
    )  # fmt: skip


@functools.cache
def signal_power(num_particles: int) -> float:
    """Return the variance of a tomogram without noise."""
    rng, grid = np.random.default_rng(0), Grid.cubic(SHAPE, 10.0)
    density = render_density(
        make_specimen(grid, num_particles=num_particles, rng=rng), grid, origin=(0, 0, 0)
    )
    wbp, _ = simulate_tomograms(density, spacing=10.0, defocus=DEFOCUS, snr=1e9, rng=rng)
    return float(wbp.var())


if __name__ == "__main__":
    main()
