"""What missing picks cost: train on a part of the picks, score on complete ones.

    python benchmarks/incomplete.py --data phantom --how random --keep 0.3 --thin 0 --seed 1

Picks of the training runs are left out as hurried people leave them out (`--how`), the network is
trained on the rest (`--annotation partial` says so to octopi), and its picks in the other runs are
scored against complete picks. `--data demo` uses `experiment=demo`, `--data phantom` needs
../shared/data/phantom-dev. Prints one JSON line: mean F1 at β = 1 and mean F4 at β = 4, at the
thresholds of the training and at those that follow the data, the best that any thresholds could
reach, the share that seems annotated, CPU seconds of the training, and the expected calibration
error of each object: its particles, its picks or candidates, the error of chances and raw scores.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from octopi.evaluation.calibration import compare_all
from octopi.evaluation.reliability import reliability
from octopi.evaluation.scores import Matched
from octopi.geometry import Points
from octopi.models import checkpoint as checkpoint_file
from octopi.phantom import make_phantom
from octopi.project import Project, open_project
from octopi.project.queries import PicksQuery, SegmentationQuery

REPOSITORY = Path(__file__).resolve().parents[1]
PHANTOM = REPOSITORY.parent / "shared" / "data" / "phantom-dev"
ANNOTATOR = ("annotator", "1")
MASK = "annotated"
HOW = ("complete", "random", "region", "run")


def main() -> None:
    """Thin the picks, run the commands as a user would, and print what they gave."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["demo", "phantom"], default="demo")
    parser.add_argument("--how", choices=HOW, default="random")
    parser.add_argument("--keep", type=float, default=0.3)
    parser.add_argument("--annotation", choices=["complete", "partial"], default="partial")
    parser.add_argument("--thin", type=int, default=0, help="seed of the thinning")
    parser.add_argument("--seed", type=int, default=1, help="seed of the training")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmark/incomplete"))
    parser.add_argument("overrides", nargs="*", help="further overrides of the training")
    arguments = parser.parse_args()
    name = f"{arguments.data}_{arguments.how}_{arguments.keep:g}_{arguments.annotation}"
    out = (arguments.out / f"{name}_{arguments.thin}_{arguments.seed}").resolve()
    out.mkdir(parents=True, exist_ok=True)
    config, truth, train, test = make_project(arguments.data, out)
    project = open_project(config)
    num_kept = thin(
        project, train, truth, how=arguments.how, keep=arguments.keep, seed=arguments.thin
    )
    overrides = [f"seed={arguments.seed}", *arguments.overrides]
    run = Commands(out, config, "demo" if arguments.data == "demo" else "czii")
    run("create_targets", f"runs=[{','.join(train)}]", *targets(arguments), "overwrite=true")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    job = out / "train"
    split = [f"runs=[{','.join(train)}]", "data.test_runs=null"]
    run("train", *split, f"hydra.run.dir={job}", *overrides)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    checkpoint = f"checkpoint={job / 'best_model.pth'}"
    run("segment", f"runs=[{','.join(test)}]", checkpoint, "overwrite=true")
    result = {
        **vars(arguments),
        "out": str(out),
        "picks": num_kept,
        "train_cpu_seconds": round(seconds),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        **scores(run, project, test, truth, checkpoint),
        "annotated_share": json.loads((job / "results.json").read_text()).get("annotated_share"),
    }
    print(json.dumps(result))


def make_project(data: str, out: Path) -> tuple[Path, PicksQuery, list[str], list[str]]:
    """Return the config, the complete picks (of any object), and the runs to train and score on."""
    if data == "demo":
        config = make_phantom(
            out / "project", num_runs=4, shape=[48, 192, 192], voxel_spacing=10.0,
            num_particles=15, snr=0.04, seed=1,
        )  # fmt: skip
        return config, PicksQuery("", "curation", "0"), ["TS_01", "TS_02", "TS_03"], ["TS_04"]
    if not (PHANTOM / "make_config.py").exists():
        sys.exit(f"{PHANTOM} is not there: --data phantom needs it.")
    config = out / "phantom.json"
    maker = [sys.executable, str(PHANTOM / "make_config.py"), str(out / "overlay"), str(config)]
    subprocess.run(maker, check=True, stdout=subprocess.DEVNULL)
    train = ["TS_01", "TS_02", "TS_03", "TS_04"]
    return config, PicksQuery("", "data-portal", "1"), train, ["TS_05", "TS_06"]


def thin(
    project: Project,
    run_names: Sequence[str],
    truth: PicksQuery,
    *,
    how: str,
    keep: float,
    seed: int,
) -> dict[str, int]:
    """Write a part of the picks of some runs as another user's; return how many of each object.

    Args:
        project: of the runs.
        run_names: to leave picks out of.
        truth: user and session of the complete picks.
        how: "random": each pick is kept with the same chance; "region": those of the lower part in
            y, in which everything is annotated; "run": all of an object in some runs, no file in
            the others.
        keep: part of the picks.
        seed: of the choice.
    """
    rng = np.random.default_rng(seed)
    runs = project.select(list(run_names))
    names = sorted(
        {q.object_name for run in runs for q in run.picks() if q.user_session == truth.user_session}
    )
    kept_runs = {
        name: set(rng.permutation(len(runs))[: max(1, round(keep * len(runs)))]) for name in names
    }
    counts = dict.fromkeys(names, 0)
    for index, run in enumerate(runs):
        tomogram = run.tomograms()[0]
        grid = run.tomogram_grid(tomogram)
        cut = keep * grid.shape[1] * grid.spacing[1]
        if how == "region":
            mask = np.zeros(grid.shape, dtype=np.uint8)
            mask[:, : round(keep * grid.shape[1])] = 1
            query = SegmentationQuery(MASK, *ANNOTATOR, tomogram.voxel_spacing)
            run.write_segmentation(query, mask, grid=grid, attributes={})
        for name in names:
            picks = run.read_picks(PicksQuery(name, truth.user_id, truth.session_id))
            chosen = np.ones(len(picks), dtype=bool)
            if how == "random":
                chosen = rng.random(len(picks)) < keep
                chosen[:1] |= not chosen.any()
            elif how == "region":
                chosen = picks.positions[:, 1] < cut
            elif how == "run" and index not in kept_runs[name]:
                continue
            run.write_picks(PicksQuery(name, *ANNOTATOR), picks[chosen])
            counts[name] += int(chosen.sum())
    return counts


def targets(arguments: argparse.Namespace) -> list[str]:
    """Return what octopi is told of the picks."""
    overrides = [f"targets.picks={'/'.join(ANNOTATOR)}"]
    if arguments.annotation == "partial" and arguments.how == "random":
        overrides.append("targets.annotation=partial")
    if arguments.annotation == "partial" and arguments.how == "region":
        overrides.append(f"targets.annotated={MASK}:{'/'.join(ANNOTATOR)}")
    return overrides


class Commands:
    """Runs octopi's commands in a folder, as a user would."""

    def __init__(self, folder: Path, config: Path, experiment: str) -> None:
        self.folder = folder
        self.experiment = experiment
        self.environment = os.environ | {"OCTOPI_PROJECT": str(config)}

    def __call__(self, verb: str, *overrides: str) -> None:
        """Run one command; its log is in the folder."""
        own = ["project=local", f"experiment={self.experiment}", *overrides]
        with (self.folder / f"{verb}.log").open("w") as log:
            subprocess.run(
                [sys.executable, "-m", f"octopi.{verb}", *own],
                check=True, cwd=self.folder, env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip


def scores(
    run: Commands, project: Project, test: Sequence[str], truth: PicksQuery, checkpoint: str
) -> dict[str, object]:
    """Localize the scored runs at several thresholds and score the picks."""
    names = [name for name, obj in project.objects.items() if obj.is_particle]
    radii = {name: project.objects[name].require_radius() for name in names}
    complete = {
        r.name: r.read_existing_picks(
            {n: PicksQuery(n, truth.user_id, truth.session_id) for n in names}
        )
        for r in project.select(list(test))
    }
    out: dict[str, Any] = {}
    for beta in (1, 4):
        scorer = Matched(tolerance_scale=0.5, beta=beta, num_resamples=0, seed=0)
        weights = dict.fromkeys(names, 1.0)
        for source in ("training", "data"):
            session = f"{source}-{beta}"
            options = [f"beta={beta}", f"thresholds_from={source}", f"session_id={session}"]
            run("localize", f"runs=[{','.join(test)}]", checkpoint, *options)
            picks = read(project, test, names, session)
            report = scorer(picks, complete, radii=radii, weights=weights)
            out[f"f{beta}_{source}"] = round(report.total or 0, 4)
            if beta == 1:
                out[f"objects_{source}"] = {
                    n: round(s.f1 or 0, 3) for n, s in report.scores.items()
                }
        run("localize", f"runs=[{','.join(test)}]", checkpoint, "thresholds=0", "session_id=all")
        candidates = read(project, test, names, "all")
        report = scorer(candidates, complete, radii=radii, weights=weights)
        best = [max(curve["fbeta"], default=0) for curve in report.curves.values()]
        out[f"f{beta}_best"] = round(float(np.mean(best)), 4)
    picks = {"candidates": candidates, "picks": read(project, test, names, "training-1")}
    info = checkpoint_file.read(Path(checkpoint.removeprefix("checkpoint=")))[1].picking
    for what, points in picks.items():
        compared = compare_all(points, complete, radii=radii, tolerance_scale=0.5)
        for name, one in compared.items():
            raw = [info.chance(name).to_score(float(score)) for score in one.scores]
            errors = [reliability(np.array(s), one.hits).error for s in (one.scores, raw)]
            out[f"calibration_error_of_{what}"] = {
                **out.get(f"calibration_error_of_{what}", {}),
                name: [
                    one.num_particles,
                    len(raw),
                    *(e if e is None else round(e, 3) for e in errors),
                ],
            }
    return out


def read(
    project: Project, runs: Sequence[str], names: Sequence[str], session: str
) -> Mapping[str, Mapping[str, Points]]:
    """Read octopi's picks of a session."""
    return {
        run.name: run.read_existing_picks({n: PicksQuery(n, "octopi", session) for n in names})
        for run in project.select(list(runs))
    }


if __name__ == "__main__":
    main()
