"""The settings of each command: its groups and the scalars beside them."""

from dataclasses import dataclass
from typing import Any

from octopi.survey.planning import Rules

Node = dict[str, Any]
RunNames = list[str] | None


@dataclass
class TargetsSettings:
    """Which annotations become which labels (`conf/targets`)."""

    objects: list[str] | None
    picks: Any
    segmentations: list[str]
    radius_scale: float
    radius_scales: dict[str, float]
    working_spacing: float | None
    name: str
    user_id: str
    session_id: str


@dataclass
class CreateTargetsSettings:
    """Settings of `create_targets`."""

    project: Node
    data: Node
    targets: TargetsSettings
    voxel_spacing: float | None
    tomo_types: list[str] | None
    runs: RunNames
    overwrite: bool
    dry_run: bool


@dataclass
class TrainSettings:
    """Settings of `train`."""

    project: Node
    data: Node
    augment: Node
    model: Node
    loss: Node
    optim: Node
    trainer: Node
    callbacks: Node
    logger: Node
    predictor: Node
    localizer: Node
    scorer: Node
    target: str
    voxel_spacing: Any
    tomo_types: list[str] | None
    runs: RunNames
    best_metric: str
    objectives: list[str]
    pruner: Node
    calibrate_beta: float
    seed: int
    fold: int | None
    num_folds: int | None
    resume: str | None
    init_from: str | None
    trust: list[str]
    dry_run: bool


@dataclass
class SegmentSettings:
    """Settings of `segment`."""

    project: Node
    predictor: Node
    checkpoint: Any
    ensemble: str
    tomo_type: str | None
    voxel_spacing: float | None
    runs: RunNames
    name: str
    user_id: str
    session_id: str
    scores: bool
    segmentation: bool
    accelerator: str
    devices: int
    overwrite: bool
    trust: list[str]
    dry_run: bool


@dataclass
class LocalizeSettings:
    """Settings of `localize`."""

    project: Node
    localizer: Node
    checkpoint: Any
    source: str
    beta: float | None
    thresholds: Any
    tomo_type: str | None
    voxel_spacing: float | None
    runs: RunNames
    input: str
    user_id: str
    session_id: str
    accelerator: str
    num_workers: int
    overwrite: bool
    dry_run: bool


@dataclass
class EvaluateSettings:
    """Settings of `evaluate`."""

    project: Node
    scorer: Node
    truth: str | None
    objects: list[str] | None
    runs: RunNames
    user_id: str
    session_id: str
    dry_run: bool


@dataclass
class SummarizeSettings:
    """Settings of `summarize`."""

    folder: str
    dry_run: bool


@dataclass
class ExtractSettings:
    """Settings of `extract`."""

    project: Node
    picks: str
    objects: list[str] | None
    runs: RunNames
    membrane: str | None
    label: Any
    fill: bool
    near: list[float]
    orient: bool
    smoothing: float
    pairs: list[float] | None
    user_id: str
    session_id: str | None
    overwrite: bool
    dry_run: bool


@dataclass
class ExportSettings:
    """Settings of `export`."""

    project: Node
    format: Node
    objects: list[str] | None
    runs: RunNames
    user_id: str
    session_id: str
    min_score: Any
    orientations: bool
    tomo_type: str | None
    voxel_spacing: float | None
    out: str | None
    overwrite: bool
    dry_run: bool


@dataclass
class ImportTomogramsSettings:
    """Settings of `import_tomograms`."""

    project: Node
    folder: str
    files: str
    tomo_type: str
    voxel_spacing: float | None
    ignore_header: bool
    resample_to: float | None
    overwrite: bool
    dry_run: bool


@dataclass
class ReportSettings:
    """Settings of `report`."""

    project: Node
    scorer: Node
    folder: str | None
    truth: str | None
    runs: RunNames
    num_runs: int
    input: str
    tomo_type: str | None
    beta: float | None
    user_id: str
    session_id: str
    megabytes: float
    output: str | None
    dry_run: bool


@dataclass
class CheckSettings:
    """Settings of `check`."""

    project: Node
    data: Node
    target: str
    picks: str | None
    voxel_spacing: float | None
    tomo_types: list[str] | None
    runs: RunNames
    min_distance: float
    voxels: bool
    dry_run: bool
    num_workers: int


@dataclass
class DoctorSettings:
    """Settings of `doctor`."""

    outputs: str
    cache_dir: str | None
    tracking_uri: str | None
    memory_gb: float
    disk_gb: float
    dry_run: bool


@dataclass
class PlanSettings:
    """Settings of `plan`."""

    project: Node
    data: Node
    targets: TargetsSettings
    model: Node
    loss: Node
    trainer: Node
    predictor: Node
    folder: str
    name: str | None
    overwrite: bool
    dry_run: bool
    voxel_spacing: float | None
    tomo_types: list[str] | None
    runs: RunNames
    seed: int
    fold: int | None
    num_folds: int | None
    rules: Rules


ROOTS: dict[str, type] = {
    "create_targets": CreateTargetsSettings,
    "train": TrainSettings,
    "segment": SegmentSettings,
    "localize": LocalizeSettings,
    "evaluate": EvaluateSettings,
    "summarize": SummarizeSettings,
    "check": CheckSettings,
    "doctor": DoctorSettings,
    "plan": PlanSettings,
    "report": ReportSettings,
    "extract": ExtractSettings,
    "export": ExportSettings,
    "import_tomograms": ImportTomogramsSettings,
}
