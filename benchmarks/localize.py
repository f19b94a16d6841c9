"""Localization on both sides by command: 5 x 150 particles, and very small ones.

python benchmarks/localize.py [--peer PEER/bin/python]

Both sides are given what a perfect network says: a ball of 0.7 radii for each particle, the peer as
a label volume, octopi as a score map. `clutter` is the same score map with faint false scores all
over the volume, as a real network has them; the peer's label volumes do not hold any. `flat` is the
score map of a network that has learned nothing: nearly the same everywhere, and above the
threshold. Picks are matched with the centres one to one, within half a radius.
"""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from parts.jobs import octopi, peer_octopi
from parts.side_by_side import Benchmark, Figure, Sizes, Turn, main, spawn
from parts.synthetic import RADII, TOMO_TYPE, VOXEL_SPACING, config_of, write_configs

SMALL_RADII = {"two": 20.0, "three": 30.0, "four": 40.0}  # Å: 2, 3 and 4 voxels
TURNS = ("project", "clutter", "flat", "small")
PAINTED = 0.7  # radii of the balls, parts of the particles'
CLUTTER = 12  # greatest false score, of 255
FLAT = (38, 46)  # scores of a network that has learned nothing, of 255: first, one above last


def radii_of(turn: str) -> Mapping[str, float]:
    """Object name -> Å in a turn's project."""
    return SMALL_RADII if turn == "small" else RADII


def prepare(folder: Path, sizes: Sizes) -> None:
    """Write a project for each turn, with the score map of a perfect network, and the truth."""
    import numpy as np
    from parts.synthetic import label_volume, place

    for turn in TURNS:
        radii, shape = radii_of(turn), sizes["small_shape" if turn == "small" else "shape"]
        own = folder / turn
        write_configs(own, radii)
        rng = np.random.default_rng(1)
        centres = place(shape, radii, sizes["particles_per_object"], rng)
        np.savez(own / "truth.npz", **centres)  # pyright: ignore[reportArgumentType]
        labels = label_volume(shape, centres, radii, scale=PAINTED)
        np.save(own / "labels.npy", labels)
        _write_scores(own, labels, radii, turn)


def _write_scores(folder: Path, labels: Any, radii: Mapping[str, float], turn: str) -> None:
    """Our side's score map is there, as `segment` would have written it."""
    import copick
    import numpy as np

    from octopi.cli.python_api import compose
    from octopi.geometry import Grid
    from octopi.project import open_project
    from octopi.project.queries import SegmentationQuery, TomogramQuery, score_map_name

    root = copick.from_file(str(config_of(folder, "maker")))
    tomogram = root.new_run("r00").new_voxel_spacing(VOXEL_SPACING).new_tomogram(TOMO_TYPE)
    tomogram.from_numpy(np.zeros(labels.shape, dtype=np.float32), levels=1)
    settings: Any = compose("train", ["project.config=none"])[0]
    scores = np.stack([(labels == k) * np.uint8(255) for k in range(1, len(radii) + 1)])
    rng = np.random.default_rng(2)
    if turn == "flat":
        scores = rng.integers(*FLAT, scores.shape, dtype=np.uint8)
    if turn == "clutter":
        for channel in scores:
            faint = rng.integers(0, CLUTTER, labels.shape, dtype=np.uint8, endpoint=True)
            np.maximum(channel, faint, out=channel)
    beta = f"{settings.threshold_beta:g}"
    attributes = {
        "objects": list(radii),
        "radii": dict(radii),
        "thresholds": {beta: dict.fromkeys(radii, 0.1 if turn == "flat" else 0.3)},
        "beta": settings.threshold_beta,
        "localizer": settings.localizer,
    }
    run = open_project(str(config_of(folder, "ours"))).select(["r00"])[0]
    name = score_map_name(SegmentationQuery("predict", "octopi", "1"))
    run.write_score_map(
        TomogramQuery(TOMO_TYPE, VOXEL_SPACING),
        name,
        scores,
        grid=Grid.cubic(labels.shape, VOXEL_SPACING),
        attributes=attributes,
    )


def prepare_peer(folder: Path, _sizes: Sizes) -> None:
    """Write the peer's label volumes and the files it needs beside them."""
    import copick
    import numpy as np
    import yaml

    for turn in ("project", "small"):
        own = folder / turn
        root = copick.from_file(str(config_of(own, "peer")))
        run: Any = root.get_run("r00")
        made = run.new_segmentation(
            VOXEL_SPACING, "predict", "1", is_multilabel=True, user_id="octopi"
        )
        made.from_numpy(np.load(own / "labels.npy"))
        notes = own / "overlay-peer" / "logs"
        notes.mkdir()
        labels = {name: label for label, name in enumerate(radii_of(turn), start=1)}
        note = notes / "segment-octopi_1_predict.yaml"
        note.write_text(yaml.safe_dump({"labels": labels}), encoding="utf-8")


def found_in(folder: Path, side: str, radii: Mapping[str, float]) -> dict[str, float]:
    """Recall and precision of the picks a side has written, and their mean distance in voxels."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    truth = np.load(folder / "truth.npz")
    hits, picked, there, away = 0, 0, 0, 0.0
    out = {}
    for name, radius in radii.items():
        picks = np.array(list(_picks(folder / f"overlay-{side}", name))).reshape(-1, 3)
        distances = cdist(picks / VOXEL_SPACING, truth[name][:, ::-1])
        within = distances < 0.5 * radius / VOXEL_SPACING
        rows, columns = linear_sum_assignment(np.where(within, distances, 1e6))
        pairs = within[rows, columns]
        hits, picked, there = hits + int(pairs.sum()), picked + len(picks), there + len(truth[name])
        away += float(distances[rows, columns][pairs].sum())
        out[f"recall.{name}"] = int(pairs.sum()) / len(truth[name])
    return {
        **out,
        "recall": hits / there,
        "precision": hits / picked if picked else 0.0,
        "error": away / hits if hits else 0.0,
    }


def _picks(overlay: Path, name: str) -> Iterator[list[float]]:
    for path in overlay.glob(f"**/Picks/octopi_1_{name}.json"):
        for point in json.loads(path.read_text(encoding="utf-8"))["points"]:
            yield [point["location"][axis] for axis in "xyz"]


def ours(turn: str, folder: Path, _sizes: Sizes) -> dict[str, float]:
    """Write the run's picks into the project."""
    own = folder / turn
    spent = spawn(octopi("localize", own), folder / "ours.txt")
    told = {"seconds": spent.seconds, "cpu": spent.cpu, "gb": spent.gigabytes}
    return {**told, **found_in(own, "ours", radii_of(turn))}


def peer(turn: str, folder: Path, _sizes: Sizes) -> dict[str, float]:
    """Do the same with the peer, in one worker as there is one run."""
    own = folder / turn
    words = ["-suri", "predict:octopi/1", "-vs", str(VOXEL_SPACING), "-np", "1"]
    spent = spawn(peer_octopi("localize", own, *words), folder / "peer.txt")
    told = {"seconds": spent.seconds, "cpu": spent.cpu, "gb": spent.gigabytes}
    return {**told, **found_in(own, "peer", radii_of(turn))}


def perfect(which: str, *, target: bool) -> list[Figure]:
    """Recall and precision of a turn; a limit on both where the issue sets one."""
    limit = "≥ 1" if target else ""
    return [
        Figure("recall", f"localize {which}, recall", "", must=limit, aim=limit),
        Figure("precision", f"localize {which}, precision", "", must=limit, aim=limit),
    ]


BENCHMARK = Benchmark(
    script=__file__,
    title="Localization of 5 × 150 particles in 200×630×630 voxels, by command",
    sizes={"shape": [200, 630, 630], "small_shape": [64, 256, 256], "particles_per_object": 150},
    small={"shape": [64, 200, 200], "particles_per_object": 10},
    turns=[
        Turn(
            "project",
            figures=[
                Figure("cpu", "localize, CPU", "CPU s", must="≤ 5", aim="≤ 2"),
                Figure("seconds", "localize", "s"),
                Figure("gb", "localize, peak memory", "GB", must="≤ 1", aim="≤ 1"),
                *perfect("usual particles", target=True),
                Figure("error", "localize, mean distance from the truth", "voxels"),
            ],
            ours=partial(ours, "project"),
            peer=partial(peer, "project"),
        ),
        Turn(
            "clutter",
            figures=[
                Figure("cpu", "localize among faint false scores, CPU", "CPU s", must="≤ 5"),
                Figure("gb", "localize among faint false scores, memory", "GB", must="≤ 1"),
                *perfect("among faint false scores", target=False),
            ],
            ours=partial(ours, "clutter"),
            why_no_peer="its label volumes hold no scores",
        ),
        Turn(
            "flat",
            figures=[
                Figure("cpu", "localize a flat score map, CPU", "CPU s"),
                Figure("gb", "localize a flat score map, memory", "GB", must="≤ 1"),
            ],
            ours=partial(ours, "flat"),
            why_no_peer="its label volumes hold no scores",
            repeats=1,
        ),
        Turn(
            "small",
            figures=[
                *perfect("particles of 2 to 4 voxels' radius", target=True),
                Figure("recall.two", "localize particles of 2 voxels' radius, recall", ""),
                Figure("recall.three", "localize particles of 3 voxels' radius, recall", ""),
            ],
            ours=partial(ours, "small"),
            peer=partial(peer, "small"),
            repeats=1,
        ),
    ],
    prepare=prepare,
    prepare_peer=prepare_peer,
)

if __name__ == "__main__":
    main(BENCHMARK)
