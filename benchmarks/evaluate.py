"""Evaluation of 500 runs x 6 objects x 150 picks with 1,000 bootstrap resamples.

python benchmarks/evaluate.py [--peer PEER/bin/python]

`scorer` is the scoring of picks in memory: matching, counts, curves and intervals. `command` is
`octopi evaluate` on a project that holds the same picks, which both sides read file by file; the
peer counts and averages, it resamples nothing.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from parts.jobs import octopi, peer_octopi
from parts.side_by_side import Benchmark, Clock, Figure, Sizes, Turn, main, spawn
from parts.synthetic import SESSION, USER, VOXEL_SPACING, write_configs

RADII = {f"object-{i}": 60.0 + 15.0 * i for i in range(6)}  # Å
BOX = (1840.0, 6300.0, 6300.0)  # Å, z y x


def picked_runs(sizes: Sizes) -> Iterator[tuple[str, dict[str, Any], dict[str, Any], Any]]:
    """Run name, true points and picks by object in Å, and the picks' scores.

    Two thirds of the picks are near a particle, the rest anywhere.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    num = sizes["picks_per_object"]
    for i in range(sizes["runs"]):
        truth = {name: rng.uniform(0, BOX[::-1], (num, 3)) for name in RADII}
        picks = {}
        for name, points in truth.items():
            near = points[: 2 * num // 3]
            near = near + rng.normal(0, RADII[name] / 8, near.shape)
            picks[name] = np.vstack([near, rng.uniform(0, BOX[::-1], (num - len(near), 3))])
        yield f"r{i:03}", truth, picks, rng.uniform(0, 1, num).round(4)


def prepare(folder: Path, sizes: Sizes) -> None:
    """Write the truth into the project of both sides, and picks beside it."""
    write_configs(folder, RADII)
    for run, truth, picks, scores in picked_runs(sizes):
        for name in RADII:
            _write(folder, "static", f"{run}/Picks/{USER}_{SESSION}_{name}", truth[name], None)
            for side in ("ours", "peer"):
                path = f"{run}/Picks/octopi_1_{name}"
                _write(folder, f"overlay-{side}", path, picks[name], scores)


def _write(folder: Path, part: str, path: str, positions: Any, scores: Any) -> None:
    """Return a picks file as copick writes it."""
    run, _, stem = path.partition("/Picks/")
    user, session, name = stem.split("_", 2)
    points = [
        {
            "location": dict(zip("xyz", point, strict=True)),
            "transformation_": [[float(i == j) for j in range(4)] for i in range(4)],
            "instance_id": 0,
            "score": 1.0 if scores is None else float(scores[k]),
        }
        for k, point in enumerate(positions.round(3).tolist())
    ]
    content = {
        "pickable_object_name": name,
        "user_id": user,
        "session_id": session,
        "run_name": run,
        "voxel_spacing": VOXEL_SPACING,
        "unit": "angstrom",
        "points": points,
    }
    target = folder / part / "ExperimentRuns" / f"{path}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(content, indent=4), encoding="utf-8")


def scorer(rule: str, _folder: Path, sizes: Sizes) -> dict[str, float]:
    """Score picks in memory."""
    from octopi.cli.python_api import compose
    from octopi.config.build import build
    from octopi.geometry import Points

    truth, picks = {}, {}
    for run, there, found, scores in picked_runs(sizes):
        truth[run] = {name: Points(points) for name, points in there.items()}
        picks[run] = {name: Points(points, scores) for name, points in found.items()}
    words = ["project.config=none", f"scorer={rule}", f"scorer.num_resamples={sizes['resamples']}"]
    settings: Any = compose("evaluate", words)[0]
    judge = build(settings.scorer, "scorer")
    clock = Clock()
    report = judge(picks, truth, radii=RADII, weights=dict.fromkeys(RADII, 1.0))
    seconds, cpu = clock.read()
    assert report.num_runs == sizes["runs"]
    return {"seconds": seconds, "cpu": cpu}


def command(folder: Path, sizes: Sizes) -> dict[str, float]:
    """`octopi evaluate` has written its report."""
    words = [f"truth={USER}/{SESSION}", f"scorer.num_resamples={sizes['resamples']}"]
    spent = spawn(octopi("evaluate", folder, *words), folder / "ours.txt")
    return {"seconds": spent.seconds, "cpu": spent.cpu, "gb": spent.gigabytes}


def command_by_peer(folder: Path, _sizes: Sizes) -> dict[str, float]:
    """Run the peer's command, which writes its report."""
    words = ["-gtuid", USER, "-gtsid", SESSION, "-puid", "octopi", "-psid", "1"]
    words += ["-dts", "0.5", "-o", str(folder / "peer-scores")]
    spent = spawn(peer_octopi("evaluate", folder, *words), folder / "peer.txt")
    return {"seconds": spent.seconds, "cpu": spent.cpu, "gb": spent.gigabytes}


BENCHMARK = Benchmark(
    script=__file__,
    title="Evaluation of 500 runs × 6 objects × 150 picks with 1,000 bootstrap resamples",
    sizes={"runs": 500, "picks_per_object": 150, "resamples": 1000},
    small={"runs": 20},
    turns=[
        Turn(
            "scorer",
            figures=[
                Figure("seconds", "score picks in memory", "s", must="≤ 5", aim="≤ 2"),
                Figure("cpu", "score picks in memory, CPU", "CPU s"),
            ],
            ours=partial(scorer, "matched"),
            why_no_peer="it cannot score picks that are not in a project",
        ),
        Turn(
            "czii",
            figures=[Figure("seconds", "score by the CZII rule", "s", must="≤ 5", aim="≤ 2")],
            ours=partial(scorer, "czii"),
            why_no_peer="it does not have the rule",
        ),
        Turn(
            "command",
            figures=[
                Figure("seconds", "octopi evaluate, 6,000 files read", "s"),
                Figure("cpu", "octopi evaluate, 6,000 files read, CPU", "CPU s"),
                Figure("gb", "octopi evaluate, peak memory", "GB"),
            ],
            ours=command,
            peer=command_by_peer,
        ),
    ],
    prepare=prepare,
)

if __name__ == "__main__":
    main(BENCHMARK)
