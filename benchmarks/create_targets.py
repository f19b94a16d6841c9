"""`create_targets` on both sides: spheres around 5 x 150 picks in each of 4 runs.

python benchmarks/create_targets.py [--peer PEER/bin/python]
"""

import shutil
from pathlib import Path

from parts.jobs import octopi, peer_octopi, picks_words
from parts.side_by_side import Benchmark, Figure, Sizes, Spent, Turn, main, spawn
from parts.synthetic import SESSION, TOMO_TYPE, USER, VOXEL_SPACING, write_project


def prepare(folder: Path, sizes: Sizes) -> None:
    """Write the project."""
    write_project(
        folder, sizes["shape"], num_runs=sizes["runs"], per_object=sizes["particles_per_object"]
    )


def ours(folder: Path, sizes: Sizes) -> dict[str, float]:
    """Write a new target of every run."""
    shutil.rmtree(folder / "overlay-ours")
    words = [*picks_words(), f"targets.radius_scale={sizes['radius_scale']}"]
    return _told(spawn(octopi("create_targets", folder, *words), folder / "ours.txt"))


def peer(folder: Path, sizes: Sizes) -> dict[str, float]:
    """Do the same with the peer."""
    shutil.rmtree(folder / "overlay-peer")
    words = ["-puid", USER, "-psid", SESSION, "-rs", str(sizes["radius_scale"])]
    words += ["-uri", f"{TOMO_TYPE}@{VOXEL_SPACING}"]
    return _told(spawn(peer_octopi("create-targets", folder, *words), folder / "peer.txt"))


def _told(spent: Spent) -> dict[str, float]:
    return {"seconds": spent.seconds, "cpu": spent.cpu, "gb": spent.gigabytes}


BENCHMARK = Benchmark(
    script=__file__,
    title="create_targets of 4 runs of 184×630×630 voxels, 5 objects × 150 particles, by command",
    sizes={
        "shape": [184, 630, 630],
        "runs": 4,
        "particles_per_object": 150,
        "radius_scale": 0.7,
    },
    small={"shape": [64, 160, 160], "particles_per_object": 10},
    turns=[
        Turn(
            "create_targets",
            figures=[
                Figure("cpu", "create_targets, CPU", "CPU s", must="≤ 2.5", aim="≤ 1.5"),
                Figure("seconds", "create_targets", "s"),
                Figure("gb", "create_targets, peak memory", "GB"),
            ],
            ours=ours,
            peer=peer,
            repeats=5,
            warm_up=1,
        )
    ],
    prepare=prepare,
)

if __name__ == "__main__":
    main(BENCHMARK)
