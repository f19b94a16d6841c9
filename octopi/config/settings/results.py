"""Settings of the commands that score and show what was picked."""

from dataclasses import dataclass
from typing import Literal

from octopi.config.settings.types import ConfigNode, Names, RunNames, Seeds, UserSession
from octopi.ranges import Beta, Count, NumFolds, Positive


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
