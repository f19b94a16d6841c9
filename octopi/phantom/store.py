"""Synthetic copick projects on disk: simulated tomograms, true picks and membranes."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from pydantic import validate_call

from octopi.errors import ResourceError, SettingError
from octopi.geometry import Grid
from octopi.phantom.microscope import normalize, simulate_tomograms
from octopi.phantom.specimen import (
    KINDS,
    Particle,
    Specimen,
    make_specimen,
    membrane_mask,
    render_density,
)
from octopi.project.copick_api import open_root
from octopi.ranges import NumParticles, NumRuns, PhantomEdges, Positive, Seed, Spacing
from octopi.system.files import differing_values, sweep_leftovers, temporary_folder, write_text

logger = logging.getLogger(__name__)

CONFIG_NAME = "phantom.json"
TOMO_TYPES = ("wbp", "denoised")
USER, SESSION = "curation", "0"
MEMBRANE = "membrane"
VERSION = 1  # of the simulation; a project made by another one is another project
DEFOCUS = (25_000.0, 35_000.0)  # Å, differs from run to run
NOISE_SPREAD = 0.15  # by which the signal-to-noise ratio differs from run to run
PADDING = 160.0  # Å of ice around the volume, for the rest of particles that its border cuts


@validate_call
def make_phantom(
    directory: str | Path,
    *,
    num_runs: NumRuns,
    shape: PhantomEdges,
    voxel_spacing: Spacing,
    num_particles: NumParticles,
    snr: Positive,
    seed: Seed,
) -> Path:
    """Make a synthetic copick project, or use the one that was made with the same numbers.

    Each run has the tomograms `wbp` and `denoised`, the true picks of five objects as user
    `curation`, session `0`, and a segmentation of the membranes. The same numbers give the same
    project, and a run is the same whatever `num_runs`. The folder may be moved.

    Args:
        directory: of the project; made if it does not exist.
        num_runs: called TS_01, TS_02, …
        shape: of every tomogram, voxels z y x.
        voxel_spacing: Å.
        num_particles: of each object in each run.
        snr: variance of the signal over that of the noise in `wbp`, on average over runs.
        seed: of everything that is random.

    Returns:
        The project's config file.

    Raises:
        ValueError: a number is out of its range.
        SettingError: the directory has other content.
        ResourceError: the project cannot be written.
    """
    directory = Path(directory).expanduser().resolve()
    parameters = {
        "version": VERSION,
        "num_runs": int(num_runs),
        "shape": [int(n) for n in shape],
        "voxel_spacing": float(voxel_spacing),
        "num_particles": int(num_particles),
        "snr": float(snr),
        "seed": int(seed),
    }
    sweep_leftovers(directory.parent)
    if not _is_empty_folder(directory):
        return _use_existing(directory, parameters)
    logger.info("Making the synthetic project %s (%d runs).", directory, num_runs)
    try:
        _write_project(directory, parameters)
    except OSError as error:
        if not _is_empty_folder(directory):  # another process made it first
            return _use_existing(directory, parameters)
        raise ResourceError(
            f"The synthetic project could not be written to {directory}: {error}. "
            "Give a folder on a disk with room that you may write to."
        ) from error
    return directory / CONFIG_NAME


def _is_empty_folder(directory: Path) -> bool:
    return not directory.exists() or (directory.is_dir() and not any(directory.iterdir()))


def _use_existing(directory: Path, parameters: dict[str, Any]) -> Path:
    """Return the config of the existing project; correct its roots if the folder was moved."""
    path = directory / CONFIG_NAME
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        made_with = config["phantom"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingError(
            f"A synthetic project was to be made in {directory}, but that holds something else. "
            "Name another folder, or empty this one."
        ) from error
    if differences := differing_values(made_with, parameters):
        listed = ", ".join(f"{k}={old} (requested: {new})" for k, (old, new) in differences.items())
        raise SettingError(
            f"{directory} holds a synthetic project made with {listed}. "
            "Name another folder, or delete this one."
        )
    moved = config | _roots(directory)
    if moved != config:
        write_text(path, json.dumps(moved, indent=2))
    return path


def _roots(directory: Path) -> dict[str, str]:
    return {
        "overlay_root": f"local://{directory / 'overlay'}",
        "static_root": f"local://{directory / 'static'}",
    }


def _write_project(directory: Path, parameters: dict[str, Any]) -> None:
    """Write the project to a temporary folder, and move it into place when it is complete."""
    with temporary_folder(directory.parent) as folder:
        stage = folder / "project"
        for part in ("static", "overlay"):
            (stage / part).mkdir(parents=True)
        config = _config(parameters)
        # copick writes to the overlay only: to fill the static root, it stands in for the overlay.
        draft = folder / CONFIG_NAME
        draft_config = config | {"overlay_root": f"local://{stage / 'static'}"}
        draft.write_text(json.dumps(draft_config), encoding="utf-8")
        root = open_root(draft)
        for index in range(parameters["num_runs"]):
            _write_run(root.new_run(f"TS_{index + 1:02d}"), index, parameters)
        text = json.dumps(config | _roots(directory), indent=2)
        (stage / CONFIG_NAME).write_text(text, encoding="utf-8")
        stage.rename(directory)


def _config(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the copick config without its roots."""
    objects: list[dict[str, Any]] = [
        {
            "name": kind.name,
            "is_particle": True,
            "label": kind.label,
            "color": kind.color,
            "radius": kind.radius,
            "metadata": {"score_weight": kind.weight},
        }
        for kind in KINDS
    ]
    objects.append(
        {
            "name": MEMBRANE,
            "is_particle": False,
            "label": len(KINDS) + 1,
            "color": (100, 100, 100, 255),
        }
    )
    return {
        "config_type": "filesystem",
        "name": "phantom",
        "description": "Synthetic tomograms with their truth.",
        "version": "1.0.0",
        "pickable_objects": objects,
        "overlay_fs_args": {"auto_mkdir": True},
        "phantom": parameters,
    }


def _write_run(run: Any, index: int, parameters: dict[str, Any]) -> None:
    spacing = parameters["voxel_spacing"]
    grid = Grid.cubic(parameters["shape"], spacing)
    rng = np.random.default_rng([parameters["seed"], index])
    specimen = make_specimen(grid, num_particles=parameters["num_particles"], rng=rng)
    volumes = _tomograms(specimen, grid, snr=parameters["snr"], rng=rng)
    voxel_spacing = run.new_voxel_spacing(spacing)
    for tomo_type, volume in zip(TOMO_TYPES, volumes, strict=True):
        voxel_spacing.new_tomogram(tomo_type).from_numpy(volume)
    for kind in KINDS:
        _write_picks(run, kind.name, [p for p in specimen.particles if p.kind is kind])
    run.new_segmentation(spacing, MEMBRANE, SESSION, user_id=USER).from_numpy(
        membrane_mask(specimen, grid)
    )


def _tomograms(
    specimen: Specimen, grid: Grid, *, snr: float, rng: np.random.Generator
) -> list[NDArray[np.float32]]:
    """Simulate `wbp` and `denoised`.

    They are cut out of a larger block, since the Fourier transform joins opposite sides.
    """
    spacing = grid.spacing[0]
    pad = round(PADDING / spacing)
    block = Grid.cubic([_fast_length(n + 2 * pad) for n in grid.shape], spacing)
    volumes = simulate_tomograms(
        render_density(specimen, block, origin=(pad, pad, pad)),
        spacing=spacing,
        defocus=rng.uniform(*DEFOCUS),
        snr=snr * rng.uniform(1 - NOISE_SPREAD, 1 + NOISE_SPREAD),
        rng=rng,
    )
    inside = tuple(slice(pad, pad + n) for n in grid.shape)
    return [normalize(volume[inside]) for volume in volumes]


def _fast_length(size: int) -> int:
    return int(scipy.fft.next_fast_len(size, real=True))  # pyright: ignore[reportArgumentType]


def _write_picks(run: Any, object_name: str, particles: list[Particle]) -> None:
    transforms = np.tile(np.eye(4), (len(particles), 1, 1))
    transforms[:, :3, :3] = [p.rotation.as_matrix() for p in particles]
    run.new_picks(object_name, SESSION, USER).from_numpy(
        np.array([p.center for p in particles]), transforms=transforms
    )
