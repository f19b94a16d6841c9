"""Settings of the commands that score and show what was picked."""

from dataclasses import dataclass
from typing import Literal

from octopi.config.settings.types import (
    ConfigNode,
    Names,
    ProjectSettings,
    RunsSettings,
    Seeds,
    UserSession,
)
from octopi.ranges import Beta, Count, NumFolds, Positive


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
