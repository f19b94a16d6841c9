"""Settings of the commands that bring a project, look at it and plan."""

from dataclasses import dataclass

from octopi.config.settings.pipeline import TargetsSettings
from octopi.config.settings.types import (
    ConfigNode,
    LooseNode,
    Names,
    ProjectSettings,
    RunsSettings,
    Sets,
)
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
class ImportTomogramsSettings(ProjectSettings):
    """Settings of `import_tomograms`."""

    folder: str
    files: str
    tomo_type: str
    voxel_spacing: Spacing | None
    ignore_header: bool
    resample_to: Spacing | None
    overwrite: bool


@dataclass
class CheckSettings(RunsSettings):
    """Settings of `check`."""

    data: LooseNode
    checkpoint: str | None
    target: str
    picks: Sets
    rejected: Sets
    voxel_spacing: Spacing | None
    tomo_types: Names | None
    min_distance: FactorOrZero
    voxels: bool
    num_workers: Workers


@dataclass
class StatusSettings(RunsSettings):
    """Settings of `status`."""

    folder: str | None


@dataclass
class DoctorSettings(ProjectSettings):
    """Settings of `doctor`."""

    outputs: str
    cache_dir: str | None
    tracking_uri: str | None
    memory_gb: NotNegative
    disk_gb: NotNegative


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
class PlanSettings(RunsSettings):
    """Settings of `plan`."""

    data: ConfigNode
    targets: TargetsSettings
    model: ConfigNode
    loss: ConfigNode
    trainer: ConfigNode
    predictor: ConfigNode
    folder: str
    name: str | None
    overwrite: bool
    voxel_spacing: Spacing | None
    tomo_types: Names | None
    seed: Seed
    num_folds: Count | None
    minutes: Positive | None
    rules: Rules
