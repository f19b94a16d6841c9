"""The request and the report of the check of a run."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.config.settings import CheckSettings
from octopi.data.cache import working_grid
from octopi.errors import NoAnswerError, OctopiError
from octopi.geometry import Grid, Points, same_spacing
from octopi.pick_sets import PickCounts
from octopi.project.objects import PickableObject
from octopi.project.queries import PickSets, PicksQuery, SegmentationQuery, TomogramQuery


@dataclass(frozen=True)
class CheckRequest:
    """What to check in every run.

    Args:
        settings: of the command.
        target: the label volumes to train on.
        united: object name -> its sets of picks, if it has several, or rejected places.
        rejected: object name -> sets of places found to be none of it.
        sets_error: why sets of picks cannot be chosen; None where they can.
        objects: of the copick config, by name.
    """

    settings: CheckSettings
    target: SegmentationQuery
    united: Mapping[str, PickSets]
    rejected: Mapping[str, PickSets]
    sets_error: OctopiError | None
    objects: Mapping[str, PickableObject]

    def is_relevant(self, query: TomogramQuery) -> bool:
        """Return whether a tomogram may be trained on."""
        types, spacing = self.settings.tomo_types, self.settings.voxel_spacing
        return (spacing is None or same_spacing(query.voxel_spacing, spacing)) and (
            types is None or query.tomo_type in types
        )

    def working_grid(self, grid: Grid) -> Grid:
        """Return the grid to which a tomogram is Fourier-cropped."""
        return working_grid(grid, self.settings.data["working_spacing"])


@dataclass(frozen=True)
class Issue:
    """Something wrong or odd in a project.

    Args:
        run_name: of the run; empty = the project.
        text: what is wrong, and what to do about it.
        blocks_training: whether training on the run would fail because of it.
    """

    run_name: str
    text: str
    blocks_training: bool = False

    def __str__(self) -> str:
        return f"{self.run_name}: {self.text}" if self.run_name else self.text


@dataclass
class RunReport:
    """The content of a run, and its issues.

    Args:
        tomograms: the grid of each that can be opened.
        digests: tomogram -> digest of its bytes, where they were read.
        contrasts: tomogram -> object -> contrast of its picks, where voxels were read.
        existing_tomograms: also those that cannot be opened.
        is_listed: whether picks and label volumes could be listed.
        num_picks: object -> number of its picks.
        origins: object -> where its picks come from, if it has several sets or rejected places.
        annotations: picks of the config's objects that count as truth.
        num_inside: picks inside the first tomogram that can be opened.
        num_outside: picks outside it.
        attributes: stored with the target.
        labels: stored with the target; None = there are none, or no target.
        has_target: whether the run has the target.
        classes: objects that occur in the target's voxels; None = the voxels were not read.
    """

    name: str
    tomograms: dict[TomogramQuery, Grid] = field(default_factory=dict)
    digests: dict[TomogramQuery, str] = field(default_factory=dict)
    contrasts: dict[TomogramQuery, dict[str, NDArray[np.float64]]] = field(default_factory=dict)
    num_picks: dict[str, int] = field(default_factory=dict)
    origins: dict[str, PickCounts] = field(default_factory=dict)
    existing_tomograms: list[TomogramQuery] = field(default_factory=list)
    is_listed: bool = False
    annotations: set[PicksQuery] = field(default_factory=set)
    num_inside: int = 0
    num_outside: int = 0
    attributes: Mapping[str, Any] = field(default_factory=dict)
    labels: dict[str, int] | None = None
    has_target: bool = False
    classes: set[str] | None = None
    issues: list[Issue] = field(default_factory=list)

    def grid(self, request: CheckRequest) -> Grid | None:
        """Return the grid of the first tomogram to train on that can be opened."""
        grids = (grid for query, grid in self.tomograms.items() if request.is_relevant(query))
        return next(grids, None)

    def count_picks(self, name: str, points: Points, request: CheckRequest) -> None:
        """Count picks of an object, inside and outside the first tomogram to train on."""
        self.num_picks[name] = self.num_picks.get(name, 0) + len(points)
        grid = self.grid(request)
        if grid is not None:
            inside = request.working_grid(grid).contains(points.positions)
            self.num_inside += int(inside.sum())
            self.num_outside += int((~inside).sum())

    def add_issue(self, text: str, *, blocks_training: bool = False) -> None:
        """Add an issue of this run."""
        self.issues.append(self.issue(text, blocks_training=blocks_training))

    def issue(self, text: str, *, blocks_training: bool) -> Issue:
        """Make an issue of this run, which its text need not name."""
        text = text.removeprefix(f"Run {self.name}: ").removeprefix(f"Run {self.name} ")
        return Issue(self.name, text, blocks_training)

    @contextlib.contextmanager
    def errors_as_issues(self, *, blocks_training: bool) -> Iterator[None]:
        """Turn an error inside the block into an issue, but for a server that does not answer."""
        try:
            yield
        except NoAnswerError:
            raise
        except OctopiError as error:
            self.add_issue(str(error), blocks_training=blocks_training)
