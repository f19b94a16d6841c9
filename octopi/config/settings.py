"""The settings of each command: its groups and the scalars beside them."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from octopi.config.files import COMMANDS
from octopi.ranges import (
    Beta,
    Count,
    CountOrZero,
    CropsPerStep,
    Factor,
    FactorOrZero,
    NotNegative,
    Number,
    NumFolds,
    Positive,
    Seed,
    Share,
    Smoothing,
    Spacing,
    Workers,
)

LOOSE, OPTIONAL = "need not name a class", "may be empty"
ConfigNode = dict[str, Any]
LooseNode = Annotated[ConfigNode, LOOSE]  # its class is in a checkpoint, or not needed
OptionalNode = Annotated[ConfigNode, OPTIONAL]  # null is nothing: {}
RunNames = list[str] | None


def _check_distinct(items: list) -> list:
    if len(set(items)) < len(items):
        raise ValueError("One of them is there twice.")
    return items


Names = Annotated[
    list[str],
    Field(min_length=1, description="(not empty, each once)"),
    AfterValidator(_check_distinct),
]
Seeds = Annotated[
    list[Seed],
    Field(min_length=1, description="(not empty, each once)"),
    AfterValidator(_check_distinct),
]
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


@dataclass
class CreateTargetsSettings:
    """Settings of `create_targets`."""

    project: ConfigNode
    data: LooseNode
    targets: TargetsSettings
    voxel_spacing: Spacing | None
    tomo_types: Names | None
    runs: RunNames
    overwrite: Overwrite
    dry_run: bool


@dataclass
class TrainSettings:
    """Settings of `train`."""

    project: ConfigNode
    data: ConfigNode
    augment: OptionalNode
    model: ConfigNode
    loss: ConfigNode
    optim: ConfigNode
    trainer: ConfigNode
    callbacks: OptionalNode
    logger: OptionalNode
    predictor: ConfigNode
    localizer: ConfigNode
    scorer: ConfigNode
    target: str
    voxel_spacing: Spacing | Spacings | None
    tomo_types: Names | None
    runs: RunNames
    best_metric: str
    objectives: list[str]
    pruner: OptionalNode
    threshold_beta: Beta
    seed: Seed
    fold: CountOrZero | None
    num_folds: NumFolds | None
    max_cpu_seconds: Positive | None
    resume: str | None
    init_from: str | None
    trust: list[str]
    dry_run: bool


@dataclass
class SegmentSettings:
    """Settings of `segment`."""

    project: ConfigNode
    predictor: LooseNode
    checkpoint: Names
    ensemble: Literal["scores", "soup"]  # average the scores, or the weights
    tomo_type: str | None
    voxel_spacing: Spacing | None
    runs: RunNames
    name: str
    user_id: str
    session_id: str
    scores: bool
    segmentation: bool
    accelerator: str
    devices: Workers
    overwrite: Overwrite
    trust: list[str]
    dry_run: bool


@dataclass
class LocalizeSettings:
    """Settings of `localize`."""

    project: ConfigNode
    localizer: LooseNode
    checkpoint: Names | None
    source: Literal["scores", "segmentation"]
    beta: Beta | None
    thresholds: Share | dict[str, Share] | None
    thresholds_from: Literal["training", "data"]
    tomo_type: str | None
    voxel_spacing: Spacing | None
    runs: RunNames
    input: str
    user_id: str
    session_id: str
    accelerator: Literal["cpu", "gpu"]
    num_workers: Workers
    overwrite: Overwrite
    trust: list[str]
    dry_run: bool


@dataclass
class EvaluateSettings:
    """Settings of `evaluate`."""

    project: ConfigNode
    scorer: ConfigNode
    truth: str | None
    objects: Names | None
    runs: RunNames
    truth_annotation: Literal["complete", "partial"]
    annotated: str | None
    user_id: str
    session_id: str
    dry_run: bool


@dataclass
class CompareSettings:
    """Settings of `compare`."""

    project: ConfigNode
    base: str | None
    methods: Names
    seeds: Seeds
    num_folds: NumFolds | None
    cpu_seconds: Positive | None
    trust: list[str]
    dry_run: bool


@dataclass
class SummarizeSettings:
    """Settings of `summarize`."""

    folder: str
    storage: str | None
    dry_run: bool


@dataclass
class ExtractSettings:
    """Settings of `extract`."""

    project: ConfigNode
    picks: UserSession
    objects: Names | None
    runs: RunNames
    membrane: str | None
    membrane_label: Annotated[int, Field(ge=0, le=2**32 - 1)] | str | None
    fill_enclosed: bool
    near_distance: Interval
    orient_to_membrane: bool
    smoothing: Smoothing
    pairs: NotNegativeInterval | None
    user_id: str
    session_id: str | None
    overwrite: Overwrite
    dry_run: bool


@dataclass
class MergePicksSettings:
    """Settings of `merge_picks`."""

    project: ConfigNode
    picks: list[str]
    rejected: Sets
    objects: list[str] | None
    runs: RunNames
    user_id: str
    session_id: str
    dry_run: bool


@dataclass
class ExportSettings:
    """Settings of `export`."""

    project: ConfigNode
    format: ConfigNode
    objects: Names | None
    runs: RunNames
    user_id: str
    session_id: str
    min_score: Number | dict[str, Number] | None
    orientations: bool
    tomo_type: str | None
    voxel_spacing: Spacing | None
    out: str | None
    overwrite: bool
    dry_run: bool


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
class ReportSettings:
    """Settings of `report`."""

    project: ConfigNode
    scorer: ConfigNode
    folder: str | None
    truth: str | None
    runs: RunNames
    num_runs: Count
    input: str
    tomo_type: str | None
    beta: Beta | None
    user_id: str
    session_id: str
    max_megabytes: Positive
    output: str | None
    trust: list[str]
    dry_run: bool


@dataclass
class ReviewSettings:
    """Settings of `review`."""

    project: ConfigNode
    runs: RunNames
    decisions: str | None
    num: Count
    input: str
    picks: UserSession
    annotations: Names | None
    checkpoint: Names | None
    beta: Beta | None
    tomo_type: str | None
    max_megabytes: Positive
    output: str | None
    user_id: str
    session_id: str | None
    trust: list[str]
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
class DoctorSettings:
    """Settings of `doctor`."""

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
    """

    voxels_per_radius: Factor
    max_coarsening: Factor
    min_coarsening: Factor
    crop_radii: Factor
    voxels_per_target: Factor
    max_crops_per_step: CropsPerStep
    memory_share: Share


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
    rules: Rules


# TrainSettings is of train, ImportTomogramsSettings of import_tomograms.
SETTINGS_CLASSES: dict[str, type] = {
    verb: globals()[f"{verb.title().replace('_', '')}Settings"] for verb in COMMANDS
}
