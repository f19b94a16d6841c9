"""Folds of a cross-validation whose candidates are planted: no network is trained."""

from pathlib import Path

import numpy as np

from octopi.config.settings import TrainSettings
from octopi.evaluation.candidates_file import write_candidates
from octopi.geometry import Points
from octopi.models import checkpoint
from octopi.models.checkpoint_info import CheckpointInfo
from octopi.project.run import Run
from octopi.system.files import write_json
from octopi.training.best_model import write_model
from octopi.training.dataset_info import DatasetInfo
from octopi.training.validation import CALIBRATED_BETAS

NUM_PARTICLES = 2  # of each object in each run
GOOD, BAD = 0.95, 0.001


def plant_folds(folder: Path, settings: TrainSettings, info: DatasetInfo) -> list[Path]:
    """Plant three folds of one run each: every particle is a good candidate, as many are bad."""
    net = {**settings.model, "out_channels": len(info.labels) + 1}
    weights = checkpoint.build_net(net).state_dict()
    folders = [folder / f"fold_{i}" for i in range(len(info.runs))]
    for i, (run, fold_folder) in enumerate(zip(info.runs, folders, strict=True)):
        fold_folder.mkdir(parents=True)
        checkpoint_info = CheckpointInfo(
            net=net,
            labels=info.labels,
            radii=info.radii,
            weights=info.weights,
            voxel_spacing=info.tomograms[0].voxel_spacing,
            working_spacing=None,
            tomo_types=["denoised"],
            size_divisor=2,
            predictor=settings.predictor,
            localizer=settings.localizer,
            thresholds={
                f"{beta:g}": dict.fromkeys(info.radii, 0.3 * i) for beta in CALIBRATED_BETAS
            },
            beta=4.0,
            provenance={"fold": i},
        )
        write_model(fold_folder, {k: v + i for k, v in weights.items()}, checkpoint_info)
        write_json(fold_folder / "results.json", {"history": {"train_loss": i}})
        write_candidates(fold_folder / "candidates.npz", {run.name: plant_candidates(info, run)})
    return folders


def plant_candidates(
    info: DatasetInfo, run: Run, *, good: float = GOOD, bad: float = BAD, missed: str | None = None
) -> dict[str, Points]:
    """Return a candidate for each particle, but for the first of one object, and as many bad ones.

    Args:
        info: of the dataset.
        run: with the particles.
        good: score of a candidate at a particle.
        bad: score of the others.
        missed: the object of which the first particle has no candidate.
    """
    out = {}
    for name, truth in info.true_picks(run).items():
        right = truth.positions[int(name == missed) :]
        wrong = 1e5 + np.arange(3 * NUM_PARTICLES).reshape(-1, 3) * 1e4
        scores = [*[good] * len(right), *[bad] * len(wrong)]
        out[name] = Points(np.concatenate([right, wrong]), np.array(scores))
    return out
