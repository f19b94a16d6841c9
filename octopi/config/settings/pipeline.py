"""Settings of the commands that make targets, train and pick."""

from dataclasses import dataclass
from typing import Literal

from octopi.config.settings.types import (
    Annotation,
    ConfigNode,
    LooseNode,
    Names,
    OptionalNode,
    Overwrite,
    RunsSettings,
    Sets,
    Spacings,
)
from octopi.ranges import (
    Beta,
    CountOrZero,
    Factor,
    NumFolds,
    Positive,
    Seed,
    Share,
    Spacing,
    Workers,
)


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
class CreateTargetsSettings(RunsSettings):
    """Settings of `create_targets`."""

    data: LooseNode
    targets: TargetsSettings
    voxel_spacing: Spacing | None
    tomo_types: Names | None
    workers: Workers
    overwrite: Overwrite


@dataclass
class TrainSettings(RunsSettings):
    """Settings of `train`."""

    data: ConfigNode
    augment: OptionalNode
    mix: OptionalNode
    sampler: OptionalNode
    painter: ConfigNode
    model: ConfigNode
    loss: ConfigNode
    optim: ConfigNode
    trainer: ConfigNode
    callbacks: OptionalNode
    logger: OptionalNode
    predictor: ConfigNode
    localizer: ConfigNode
    scorer: ConfigNode
    outputs: Literal["exclusive", "independent"]
    target: str
    voxel_spacing: Spacing | Spacings | None
    tomo_types: Names | None
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


@dataclass
class SegmentSettings(RunsSettings):
    """Settings of `segment`."""

    predictor: LooseNode
    checkpoint: Names
    ensemble: Literal["scores", "soup"]  # average the scores, or the weights
    tomo_type: str | None
    voxel_spacing: Spacing | None
    name: str
    user_id: str
    session_id: str
    scores: bool
    segmentation: bool
    accelerator: str
    devices: Workers
    workers: Workers
    overwrite: Overwrite
    trust: list[str]


@dataclass
class LocalizeSettings(RunsSettings):
    """Settings of `localize`."""

    localizer: LooseNode
    checkpoint: Names | None
    source: Literal["scores", "segmentation"]
    beta: Beta | None
    thresholds: Share | dict[str, Share] | None
    thresholds_from: Literal["training", "data"]
    tomo_type: str | None
    voxel_spacing: Spacing | None
    input: str
    user_id: str
    session_id: str
    accelerator: Literal["cpu", "gpu"]
    num_workers: Workers
    workers: Workers
    overwrite: Overwrite
    trust: list[str]
