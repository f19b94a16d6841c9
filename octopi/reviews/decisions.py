"""Read the file of decisions that a page saved, and check that it belongs to a project."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from octopi.errors import DataError, SettingError, shorten, shorten_list
from octopi.geometry import Points
from octopi.project import Project
from octopi.project.digests import digest_points
from octopi.project.provenance import has_changed
from octopi.project.queries import PicksQuery
from octopi.project.run import Run
from octopi.ranges import Share
from octopi.reviews.page import FORMAT, VERSION
from octopi.system.files import read_bytes

logger = logging.getLogger(__name__)

SAVE_AGAIN = "Open the page again and save its decisions anew."
_STRICT = ConfigDict(strict=True, extra="forbid")
UserSession = Annotated[str, Field(pattern=r"^[^/\s]+/[^/\s]+$")]
Position = Annotated[list[FiniteFloat], Field(min_length=3, max_length=3)]


@dataclass(frozen=True, config=_STRICT)
class Decision:
    """What a person decided about a place; see `selection.Card`."""

    run: str
    object: str
    position: Position
    chance: Share
    decision: Literal["accept", "reject", "relabel"]
    relabelled: str | None

    @property
    def accepted_object(self) -> str | None:
        """Name of the object that is there; None where the place was rejected."""
        if self.decision == "reject":
            return None
        return self.relabelled if self.decision == "relabel" else self.object

    @property
    def where(self) -> str:
        """The place in words."""
        x, y, z = self.position
        return f"{self.object} at x {x:g}, y {y:g}, z {z:g} Å of run {self.run}"


@dataclass(frozen=True, config=_STRICT)
class ReviewedRun:
    """A run as it was when the page was made.

    Args:
        tomogram: see `identify_tomogram`.
        picks: object name -> digest of the picks that were reviewed.
    """

    tomogram: dict[str, str]
    picks: dict[str, str]


@dataclass(frozen=True, config=_STRICT)
class DecisionsFile:
    """The content of a file of decisions.

    Args:
        page: id of the page.
        picks: user/session of the picks that were reviewed.
        annotations: user/session of the picks trained on that the user named; None = none.
        objects: names of the page's objects.
        runs: run name -> its state, for the runs with decisions.
        num_decisions: number of the decisions, so that a missing one is noticed.
        decisions: in the order of the page.
    """

    format: Literal["octopi review"]
    version: Literal[1]
    page: Annotated[str, Field(pattern="^[0-9a-f]{10}$")]
    picks: UserSession
    annotations: list[UserSession] | None
    objects: list[str]
    runs: dict[str, ReviewedRun]
    num_decisions: int
    decisions: list[Decision]

    @property
    def source(self) -> str:
        """What picks made of these decisions are stored with."""
        decided = sorted(
            [d.run, d.object, list(d.position), d.decision, d.relabelled or ""]
            for d in self.decisions
        )
        digest = hashlib.sha256(json.dumps(decided).encode()).hexdigest()
        return f"review {self.page}, decisions {digest[:16]}"

    def accepted(self) -> dict[tuple[str, str], Points]:
        """Return the accepted places, by run and the object that is there."""
        return _by_run_and_object((d, d.accepted_object) for d in self.decisions)

    def rejected(self) -> dict[tuple[str, str], Points]:
        """Return the rejected and relabelled places, by run and the object that is not there."""
        rejected = (d for d in self.decisions if d.decision != "accept")
        return _by_run_and_object((d, d.object) for d in rejected)


def _by_run_and_object(
    decisions: Iterator[tuple[Decision, str | None]],
) -> dict[tuple[str, str], Points]:
    positions: dict[tuple[str, str], list[Sequence[float]]] = {}
    for decision, name in decisions:
        if name is not None:
            positions.setdefault((decision.run, name), []).append(decision.position)
    return {key: Points(np.array(values)) for key, values in sorted(positions.items())}


def read_decisions(path: Path) -> DecisionsFile:
    """Read a file of decisions.

    Raises:
        SettingError: there is no such file.
        DataError: it is cut off, damaged or of another program, or contradicts itself.
    """
    adapter: TypeAdapter[DecisionsFile] = TypeAdapter(DecisionsFile)
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise SettingError(
            f"There is no file of decisions {shorten(path, 200)}. Save it from the page that "
            "octopi review wrote, and name it with decisions=…"
        ) from error
    except UnicodeDecodeError as error:
        raise _unusable(path, "it is no text") from error
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unusable(path, f"it is cut off or no JSON ({shorten(error, 150)})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _unusable(path, "it is no file that a page of octopi review saved")
    if content.get("version") != VERSION:
        version = shorten(repr(content.get("version")), 40)
        raise _unusable(path, f"it has version {version}, and this octopi reads {VERSION}")
    try:
        file = adapter.validate_json(text)
    except ValidationError as error:
        raise _unusable(path, _describe(error, content)) from error
    for fault in _contradictions(file):
        raise _unusable(path, fault)
    return file


def _unusable(path: Path, fault: str) -> DataError:
    return DataError(f"The decisions {shorten(path, 120)} cannot be used: {fault}. {SAVE_AGAIN}")


def _describe(error: ValidationError, content: Mapping[str, Any]) -> str:
    """Say what is wrong first, and where."""
    first, *others = error.errors(include_url=False, include_input=False)
    place = ""
    if first["loc"][:1] == ("decisions",) and len(first["loc"]) > 1:
        place = f", of {len(content['decisions'])} decisions counting from 0"
    more = f", and {len(others)} more" if others else ""
    where = shorten(".".join(map(str, first["loc"])) or "the file", 120)
    return f"{where}{place}: {shorten(first['msg'], 120)}{more}"


def _contradictions(file: DecisionsFile) -> Iterator[str]:
    """Yield what in the file does not fit together."""
    if file.num_decisions != len(file.decisions):
        yield f"it says {file.num_decisions} decisions and holds {len(file.decisions)}"
    for decision in file.decisions:
        if decision.run not in file.runs:
            yield f"nothing is said of run {shorten(decision.run)}, of which it has decisions"
        for name in (decision.object, decision.relabelled):
            if name is not None and name not in file.objects:
                yield f"{shorten(name)} is none of its objects ({shorten_list(file.objects)})"
        if (decision.relabelled is None) == (decision.decision == "relabel"):
            yield f"{decision.decision} and relabelled contradict each other, {decision.where}"
    places = Counter((d.run, d.object, *d.position) for d in file.decisions)
    for run, name, *_ in [place for place, times in places.items() if times > 1]:
        yield f"a place of {shorten(name)} in run {shorten(run)} is decided twice"


def check_belongs(file: DecisionsFile, project: Project, path: Path) -> None:
    """Check that the decisions are of this project; warn of picks that have changed.

    The places are those of the page: picks that were corrected meanwhile do not move them.

    Raises:
        DataError: they are of another project, or of other tomograms.
    """
    if not file.decisions:
        raise _unusable(path, "nothing is accepted, rejected or relabelled in it")
    by_name = {run.name: run for run in project.runs}
    where = f"The decisions {shorten(path, 120)} are of another project: "
    if absent := [name for name in file.runs if name not in by_name]:
        raise DataError(
            f"{where}{project} has no run {shorten_list(absent)}. "
            "Name the right one with project.config=…"
        )
    if unknown := [name for name in file.objects if name not in project.objects]:
        raise DataError(
            f"{where}{project} has no object {shorten_list(unknown)}. It has: "
            f"{shorten_list(project.objects)}."
        )
    runs = [by_name[name] for name in file.runs]
    for run in runs:
        _check_tomogram(file, run, where)
    if changed := [text for run in runs for text in _changed_picks(file, run)]:
        logger.warning(
            "Picks have changed since the page %s was made, which its decisions do not depend on: "
            "%s.",
            file.page,
            shorten_list(changed),
        )


def _check_tomogram(file: DecisionsFile, run: Run, where: str) -> None:
    """Raise DataError unless the run has the tomogram of the page, and the decisions lie in it."""
    stored = file.runs[run.name].tomogram
    query = next((q for q in run.tomograms() if str(q) == stored.get("tomogram")), None)
    if query is None or has_changed(run, query, stored):
        name = shorten(stored.get("tomogram", "that was shown"))
        raise DataError(
            f"{where}the tomogram {name} of its run {run.name} is not there, or has other voxels. "
            "Name the right project with project.config=…, or make a new page."
        )
    grid = run.tomogram_grid(query)
    decisions = [decision for decision in file.decisions if decision.run == run.name]
    inside = grid.contains([decision.position for decision in decisions])
    outside = [d.where for d, ok in zip(decisions, inside, strict=True) if not ok]
    if outside:
        raise DataError(
            f"{shorten_list(outside)}: outside of tomogram {query}. The file was changed by hand. "
            f"{SAVE_AGAIN}"
        )


def _changed_picks(file: DecisionsFile, run: Run) -> list[str]:
    """Name the picks of a run that are not what the page showed."""
    user_id, session_id = file.picks.split("/")
    queries = {name: PicksQuery(name, user_id, session_id) for name in file.objects}
    picks = run.read_existing_picks(queries)
    current = {name: digest_points(points) for name, points in picks.items()}
    stored = file.runs[run.name].picks
    return [
        f"{queries[name]} in run {run.name}"
        for name in file.objects
        if current.get(name) != stored.get(name)
    ]
