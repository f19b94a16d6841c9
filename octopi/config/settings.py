"""The settings of each command: its groups and the scalars beside them."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from octopi.config.files import COMMANDS
from octopi.config.setting_types import (
    ConfigNode,
    Interval,
    LooseNode,
    Names,
    NotNegativeInterval,
    OptionalNode,
    Overwrite,
    ProjectSettings,
    Rules,
    RunsSettings,
    Seeds,
    Sets,
    Spacings,
    TargetsSettings,
    UserSession,
)
from octopi.errors import SettingError
from octopi.ranges import (
    Beta,
    Count,
    CountOrZero,
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
    objectives: Names
    pruner: OptionalNode
    threshold_beta: Beta
    seed: Seed
    fold: CountOrZero | None
    num_folds: NumFolds | None
    max_cpu_seconds: Positive | None
    resume: str | None
    init_from: str | None
    trust: list[str]

    @property
    def trains_all_folds(self) -> bool:
        """Whether one command trains all folds."""
        return self.num_folds is not None and self.fold is None

    def __post_init__(self) -> None:
        for key in ("fold", "num_folds"):
            value = getattr(self, key)
            if self.data.get(key, value) != value:
                raise SettingError(
                    f"data.{key} is {self.data[key]}, but {key} is {value}, which it follows: "
                    f"leave out data.{key}, and set {key}=… instead."
                )


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


@dataclass
class EvaluateSettings(RunsSettings):
    """Settings of `evaluate`."""

    scorer: ConfigNode
    truth: str | None
    objects: Names | None
    truth_annotation: Literal["complete", "partial"]
    annotated: str | None
    user_id: str
    session_id: str


@dataclass
class CompareSettings(ProjectSettings):
    """Settings of `compare`."""

    base: str | None
    methods: Names
    seeds: Seeds
    num_folds: NumFolds | None
    cpu_seconds: Positive | None
    trust: list[str]


@dataclass
class SummarizeSettings:
    """Settings of `summarize`."""

    folder: str
    storage: str | None
    dry_run: bool


@dataclass
class ReportSettings(RunsSettings):
    """Settings of `report`."""

    scorer: ConfigNode
    folder: str | None
    truth: str | None
    num_runs: Count
    input: str
    tomo_type: str | None
    beta: Beta | None
    user_id: str
    session_id: str
    max_megabytes: Positive
    output: str | None
    trust: list[str]


@dataclass
class ReviewSettings(RunsSettings):
    """Settings of `review`."""

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


@dataclass
class ExtractSettings(RunsSettings):
    """Settings of `extract`."""

    picks: UserSession
    objects: Names | None
    membrane: str | None
    membrane_label: Annotated[int, Field(ge=1, le=2**32 - 1)] | str | None
    fill_enclosed: bool
    near_distance: Interval
    orient_to_membrane: bool
    smoothing: Smoothing
    pairs: NotNegativeInterval | None
    user_id: str
    session_id: str | None
    workers: Workers
    overwrite: Overwrite


@dataclass
class MergePicksSettings(RunsSettings):
    """Settings of `merge_picks`."""

    picks: Names
    rejected: Sets
    objects: Names | None
    user_id: str
    session_id: str


@dataclass
class ExportSettings(RunsSettings):
    """Settings of `export`."""

    format: ConfigNode
    objects: Names | None
    user_id: str
    session_id: str
    min_score: Number | dict[str, Number] | None
    orientations: bool
    tomo_type: str | None
    voxel_spacing: Spacing | None
    out: str | None
    overwrite: bool


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


SETTINGS_CLASSES: dict[str, type] = {  # create_targets -> CreateTargetsSettings
    verb: globals()[f"{verb.title().replace('_', '')}Settings"] for verb in COMMANDS
}
