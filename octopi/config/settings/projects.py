"""Settings of the commands that bring a project, look at it and plan."""

from dataclasses import dataclass

from octopi.config.settings.pipeline import TargetsSettings
from octopi.config.settings.types import ConfigNode, LooseNode, Names, RunNames, Sets
from octopi.ranges import (
    Count,
    CropsPerStep,
    Factor,
    FactorOrZero,
    NotNegative,
    Positive,
    Seed,
    Share,
    Spacing,
    Workers,
)


@dataclass
class ImportTomogramsSettings:
    """Settings of `import_tomograms`."""

    project: ConfigNode
    folder: str
    files: str
    tomo_type: str
    voxel_spacing: Spacing | None
    ignore_header: bool
    resample_to: Spacing | None
    overwrite: bool
    dry_run: bool


@dataclass
class CheckSettings:
    """Settings of `check`."""

    project: ConfigNode
    data: LooseNode
    checkpoint: str | None
    target: str
    picks: Sets
    rejected: Sets
    voxel_spacing: Spacing | None
    tomo_types: Names | None
    runs: RunNames
    min_distance: FactorOrZero
    voxels: bool
    dry_run: bool
    num_workers: Workers


@dataclass
class StatusSettings:
    """Settings of `status`."""

    project: ConfigNode
    folder: str | None
    runs: RunNames
    dry_run: bool


@dataclass
class DoctorSettings:
    """Settings of `doctor`."""

    project: ConfigNode
    outputs: str
    cache_dir: str | None
    tracking_uri: str | None
    memory_gb: NotNegative
    disk_gb: NotNegative
    dry_run: bool


@dataclass(frozen=True)
class Rules:
    """The numbers that the plan follows.

    Args:
        voxels_per_radius: working voxels that the radius of the smallest object keeps.
        max_coarsening: largest working spacing, in voxel spacings of the tomogram.
        min_coarsening: a tomogram that would be coarser by less than this factor is left as it is.
        crop_radii: least edge of a crop, in radii of the largest object.
        voxels_per_target: least radius of a target's sphere, in working voxels.
        max_crops_per_step: largest batch.
        memory_share: part of the free memory that a step or a window may take.
        steps_per_fold: within `minutes`, at least; there are fewer folds where there are less.
    """

    voxels_per_radius: Factor
    max_coarsening: Factor
    min_coarsening: Factor
    crop_radii: Factor
    voxels_per_target: Factor
    max_crops_per_step: CropsPerStep
    memory_share: Share
    steps_per_fold: Count


@dataclass
class PlanSettings:
    """Settings of `plan`."""

    project: ConfigNode
    data: ConfigNode
    targets: TargetsSettings
    model: ConfigNode
    loss: ConfigNode
    trainer: ConfigNode
    predictor: ConfigNode
    folder: str
    name: str | None
    overwrite: bool
    dry_run: bool
    voxel_spacing: Spacing | None
    tomo_types: Names | None
    runs: RunNames
    seed: Seed
    num_folds: Count | None
    minutes: Positive | None
    rules: Rules
