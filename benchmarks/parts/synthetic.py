"""Synthetic copick projects: noise with round particles in it, as large as real tomograms.

Both programs read the same tomograms and true picks, from the static part of a project, and write
into an overlay of their own. Nothing here is real microscopy: it is for clocks, not for scores.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VOXEL_SPACING = 10.0  # Å
TOMO_TYPE = "wbp"
USER, SESSION = "curation", "0"
RADII = {"one": 110.0, "two": 90.0, "three": 80.0, "four": 70.0, "five": 60.0}  # Å


def config_of(folder: Path, side: str) -> Path:
    """Return the copick config of a side."""
    return folder / f"{side}.json"


def write_configs(folder: Path, radii: Mapping[str, float]) -> None:
    """Both sides' configs are there: one static part, an overlay each; a third to write data by."""
    objects = [
        {"name": name, "is_particle": True, "label": label, "radius": radius}
        for label, (name, radius) in enumerate(radii.items(), start=1)
    ]
    for side in ("ours", "peer", "maker"):
        overlay = folder / ("static" if side == "maker" else f"overlay-{side}")
        overlay.mkdir(parents=True, exist_ok=True)
        config: dict[str, Any] = {
            "config_type": "filesystem",
            "name": "benchmark",
            "description": "",
            "version": "1",
            "user_id": "octopi",
            "pickable_objects": objects,
            "overlay_root": f"local://{overlay}",
            "overlay_fs_args": {"auto_mkdir": True},
        }
        if side != "maker":
            config["static_root"] = f"local://{folder / 'static'}"
        config_of(folder, side).write_text(json.dumps(config), encoding="utf-8")


def write_project(
    folder: Path,
    shape: Sequence[int],
    *,
    num_runs: int,
    per_object: int,
    radii: Mapping[str, float] | None = None,
) -> None:
    """Runs with a tomogram and true picks each, and the configs of both sides.

    Args:
        folder: where all of it goes.
        shape: of the tomograms, voxels z y x.
        num_runs: called r00, r01, …
        per_object: particles of each object in each run.
        radii: object name -> Å; default: five objects.
    """
    import copick

    radii = radii or RADII
    write_configs(folder, radii)
    root = copick.from_file(str(config_of(folder, "maker")))
    for number in range(num_runs):
        rng = np.random.default_rng([number, *shape])
        centres = place(shape, radii, per_object, rng)
        run = root.new_run(f"r{number:02}")
        tomogram = run.new_voxel_spacing(VOXEL_SPACING).new_tomogram(TOMO_TYPE)
        tomogram.from_numpy(noise_with_particles(shape, centres, radii, rng))
        for name, points in centres.items():
            positions = points[:, ::-1] * VOXEL_SPACING
            turns = np.tile(np.eye(4), (len(points), 1, 1))
            run.new_picks(name, SESSION, USER).from_numpy(positions, turns)


def place(
    shape: Sequence[int], radii: Mapping[str, float], per_object: int, rng: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """Object name -> centres (n, 3) in voxels z y x; no two particles touch."""
    placed, reach = np.zeros((0, 3)), np.zeros(0)
    out: dict[str, NDArray[np.float64]] = {}
    for name in sorted(radii, key=lambda name: -radii[name]):
        radius = radii[name] / VOXEL_SPACING
        own = np.zeros((0, 3))
        for _ in range(1000 * per_object):
            if len(own) == per_object:
                break
            centre = rng.uniform(radius + 1, np.asarray(shape) - radius - 2)
            if np.all(np.linalg.norm(placed - centre, axis=1) > reach + radius + 1):
                own = np.vstack([own, centre])
                placed, reach = np.vstack([placed, centre]), np.append(reach, radius)
        if len(own) < per_object:
            raise ValueError(f"There is no room for {per_object} of each object in {shape}.")
        out[name] = own
    return {name: out[name] for name in radii}


def noise_with_particles(
    shape: Sequence[int],
    centres: Mapping[str, NDArray],
    radii: Mapping[str, float],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """White noise with darker balls."""
    volume = rng.standard_normal(tuple(shape), dtype=np.float32)
    for name, points in centres.items():
        for centre in points:
            box, ball = ball_at(shape, centre, radii[name] / VOXEL_SPACING)
            volume[box][ball] -= 1
    return volume


def ball_at(
    shape: Sequence[int], centre: NDArray, radius: float
) -> tuple[tuple[slice, ...], NDArray[np.bool_]]:
    """Return the box around a ball and which of its voxels lie in the ball; all in voxels."""
    low = np.maximum(np.ceil(centre - radius), 0).astype(int)
    high = np.minimum(np.floor(centre + radius).astype(int) + 1, shape)
    axes = np.ogrid[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    squares = sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True))
    return tuple(map(slice, low, high)), np.asarray(squares) <= radius**2


def label_volume(
    shape: Sequence[int],
    centres: Mapping[str, NDArray],
    radii: Mapping[str, float],
    *,
    scale: float,
) -> NDArray[np.uint8]:
    """Return the labels of a perfect network: balls of `scale` radii, labels from 1."""
    labels = np.zeros(tuple(shape), dtype=np.uint8)
    for label, (name, points) in enumerate(centres.items(), start=1):
        for centre in points:
            box, ball = ball_at(shape, centre, scale * radii[name] / VOXEL_SPACING)
            labels[box][ball] = label
    return labels
