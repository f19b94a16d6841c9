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
    RunNames,
    Sets,
    UserSession,
)
from octopi.ranges import Number, Smoothing, Spacing, Workers


@dataclass
class ExtractSettings:
    """Settings of `extract`."""

    project: ConfigNode
    picks: UserSession
    objects: Names | None
    runs: RunNames
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
