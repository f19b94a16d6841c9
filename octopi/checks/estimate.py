"""Estimate what a planned training takes: time, memory and disk (pure)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from octopi.checks.measured_cost import NetworkCosts
from octopi.checks.planning_rules import Sizes
from octopi.checks.project_summary import ProjectSummary
from octopi.config.settings import PlanSettings
from octopi.data.cache import IMAGE_BYTES, TARGET_BYTES
from octopi.inference.windows import num_windows
from octopi.models.properties import checkpoint_bytes

FLOAT = 4  # bytes
READING_COPIES = 3.5  # of a tomogram, while it is read, resampled and normalised in float32


@dataclass(frozen=True)
class Estimate:
    """What a training, and inference with its networks, take.

    Args:
        num_steps: optimizer steps of all folds.
        training_seconds: of all folds.
        segment_seconds: of the largest tomogram, by the networks of all folds.
        ram: bytes for training, with as many folds at once as there are cores on a CPU.
        gpu: bytes for training; 0 on a CPU.
        cache: bytes on the disk.
        disk: bytes in all: the cache, score maps, segmentations and weights.
    """

    num_steps: int
    training_seconds: float
    segment_seconds: float
    ram: float
    gpu: int
    cache: int
    disk: int


def estimate(
    summary: ProjectSummary, sizes: Sizes, costs: NetworkCosts, settings: PlanSettings
) -> Estimate:
    """Estimate time, memory and disk from the measured costs of a crop and a window."""
    trainer, predictor = settings.trainer, settings.predictor
    folds = sizes.num_folds or 1
    epochs = sizes.max_epochs or trainer["max_epochs"]
    steps = folds * epochs * settings.data["steps_per_epoch"]
    predict_seconds = [
        num_computed_voxels(grid.shape, sizes.window_size, predictor["halo"], sizes.divisor)
        * predictor["num_sides"]
        * costs.window.seconds_per_voxel
        for grid in sizes.grids
    ]
    validations = max(1, epochs // trainer["check_val_every_n_epoch"])
    step_bytes = sizes.crops_per_step * costs.crop.num_bytes
    reading = FLOAT * READING_COPIES * max(math.prod(grid.shape) for grid in summary.grids)
    folds_at_once = 1 if costs.on_gpu else min(folds, costs.num_cores)
    voxels = sum(math.prod(grid.shape) for grid in sizes.grids)
    cache = voxels * (IMAGE_BYTES * len(summary.tomo_types) + TARGET_BYTES)
    stored = voxels * (1 + len(summary.radii))  # segmentations and score maps, a byte a voxel
    return Estimate(
        num_steps=steps,
        training_seconds=steps * sizes.crops_per_step * costs.crop.seconds
        + validations * sum(predict_seconds),
        segment_seconds=folds * max(predict_seconds),
        ram=folds_at_once * (costs.process_bytes + max(step_bytes, reading)),
        gpu=step_bytes if costs.on_gpu else 0,
        cache=cache,
        disk=cache + stored + folds * sum(checkpoint_bytes(costs.num_weights)),
    )


def num_computed_voxels(
    shape: Sequence[int], size: Sequence[int], halo: Sequence[int], divisor: int
) -> int:
    """Count the voxels of all windows that cover a volume; halos count every time."""
    count, window = num_windows(shape, size, divisor=divisor, halo=halo)
    return count * math.prod(window)
