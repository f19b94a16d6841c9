"""Settings of the commands that make other sets or files of picks."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from octopi.config.settings.types import (
    ConfigNode,
    Interval,
    Names,
    NotNegativeInterval,
    Overwrite,
    RunsSettings,
    Sets,
    UserSession,
)
from octopi.ranges import Number, Smoothing, Spacing, Workers


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

    picks: list[str]
    rejected: Sets
    objects: list[str] | None
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
