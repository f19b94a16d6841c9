"""Settings that several commands have, and types of settings."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from octopi.ranges import NotNegative, Number, Seed, Spacing

LOOSE, OPTIONAL = "need not name a class", "may be empty"
ConfigNode = dict[str, Any]
LooseNode = Annotated[ConfigNode, LOOSE]  # its class is in a checkpoint, or not needed
OptionalNode = Annotated[ConfigNode, OPTIONAL]  # null is nothing: {}


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
class ProjectSettings:
    """Settings of every command on a project."""

    project: ConfigNode
    dry_run: bool


@dataclass
class RunsSettings(ProjectSettings):
    """Settings of every command on some runs of a project."""

    runs: list[str] | None
