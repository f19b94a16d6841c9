"""Parts of the settings that several commands have, and types of settings."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from octopi.ranges import Count, CropsPerStep, Factor, NotNegative, Number, Seed, Share, Spacing

LOOSE, OPTIONAL = "need not name a class", "may be empty"
ConfigNode = dict[str, Any]
LooseNode = Annotated[ConfigNode, LOOSE]  # its class is in a checkpoint, or not needed
OptionalNode = Annotated[ConfigNode, OPTIONAL]  # null is nothing: {}


def _check_distinct(items: list) -> list:
    if len(set(items)) < len(items):
        raise ValueError("One of them is there twice.")
    return items


_NOT_EMPTY = Field(min_length=1, description="(not empty, each once)")
Names = Annotated[list[str], _NOT_EMPTY, AfterValidator(_check_distinct)]
Seeds = Annotated[list[Seed], _NOT_EMPTY, AfterValidator(_check_distinct)]
Spacings = Annotated[list[Spacing], Field(min_length=1)]
Sets = str | list[str] | None  # of picks
Annotation = Literal["complete", "partial"]
Overwrite = bool | Literal["edited"]  # edited: what a person has changed, too
UserSession = Annotated[str, Field(pattern=r"^[^/]+/[^/]+$", description="as USER/SESSION")]


def _check_ordered(interval: list[float]) -> list[float]:
    if interval != sorted(interval):
        raise ValueError("The smaller number comes first.")
    return interval


_PAIR = Field(min_length=2, max_length=2, description="in Å, [from, to], the smaller first")
Interval = Annotated[list[Number], _PAIR, AfterValidator(_check_ordered)]
NotNegativeInterval = Annotated[list[NotNegative], _PAIR, AfterValidator(_check_ordered)]


@dataclass
class ProjectSettings:
    """Settings of every command on a project."""

    project: ConfigNode
    dry_run: bool


@dataclass
class RunsSettings(ProjectSettings):
    """Settings of every command on some runs of a project."""

    runs: list[str] | None


@dataclass
class TargetsSettings:
    """Which annotations become which labels (`conf/targets`)."""

    objects: list[str] | None
    picks: Sets
    rejected: Sets
    segmentations: list[str]
    radius_scale: Factor
    radius_scales: dict[str, Factor] | None
    annotated: str | None
    annotation: Annotation | dict[str, Annotation]
    name: str
    user_id: str
    session_id: str


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
