"""Conversion between copick's JSON files of picks and `Points`."""

import codecs
import contextlib
import functools
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydantic_core
from numpy.typing import NDArray

from octopi.arguments import fit
from octopi.errors import DataError, SettingError, shorten, shorten_list
from octopi.geometry import Points
from octopi.picking import Chance
from octopi.project.attributes import FINGERPRINT, OURS
from octopi.project.digests import digest_picks
from octopi.project.storage import read_file, storage_errors_as_data_error, with_retries

PROVENANCE = {
    "checkpoints": dict[str, str],
    "train_runs": list[str],
    "source": str,
    "tomogram": str,
    "tomogram_stamp": str,
    "tomogram_voxels": str,
    "chance": Chance,  # by which scores of the network became those of the picks
    "expected_particles": float,  # of the object in the run
}
LARGEST = 1e9  # coordinate in Å, or score, of a file that is not damaged
GZIP = b"\x1f\x8b"  # with which a file that gzip wrote begins
_IDENTITY = np.eye(4).tolist()


@dataclass(frozen=True)
class StoredPicks:
    """The content of a file of picks.

    Args:
        points: the centres in Å, with their scores where the file gives any.
        orientations: rotations (n, 3, 3) from the frame of the object to that of the tomogram,
            x y z; None where the file says not to trust them.
        provenance: what octopi says it made them of; {} in others' files.
    """

    points: Points
    orientations: NDArray[np.float64] | None
    provenance: Mapping[str, Any]


def read_picks(picks: Any, where: str, warn: Callable[[str], None]) -> StoredPicks:
    """Read a file of picks.

    Args:
        picks: copick's item.
        where: the picks in words, for messages.
        warn: called with what is odd but can be read.

    Raises:
        DataError: the file is damaged or another run's, or holds numbers that are not finite.
    """
    try:
        with storage_errors_as_data_error(where):
            content = _content(picks)
        unit, entries = content.get("unit", "angstrom"), content.get("points")
        if not isinstance(entries, list):
            raise TypeError("its points are no list, which is [] where there are none")
        trusted = content.get("trust_orientation", True)
        locations = [_location(number, entry) for number, entry in enumerate(entries)]
        transforms = [entry.get("transformation_") or _IDENTITY for entry in entries]
        transforms = np.array(transforms, float).reshape(len(entries), 4, 4)
        if not np.allclose(transforms[:, 3], _IDENTITY[3]):
            raise ValueError("the last row of a transformation is not 0, 0, 0, 1")
        scores_or_none = [entry.get("score") for entry in entries]
        scores = np.array([1.0 if score is None else score for score in scores_or_none], float)
        # In copick the centre is the location plus the translation of the orientation.
        positions = np.array(locations, float).reshape(len(entries), 3)
        positions = positions + transforms[:, :3, 3]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise DataError(
            f"{where} cannot be understood: {picks.path} is truncated or damaged "
            f"({type(error).__name__}: {str(error).splitlines()[0]}). "
            "Restore it or write the picks again."
        ) from error
    _check_place(content, picks, where, warn)
    if unit != "angstrom":
        raise DataError(
            f"{where} are in {unit}; only angstrom is understood ({picks.path}). Convert the "
            "coordinates to Å, and correct the unit."
        )
    check_finite(positions, "coordinates", f"{where} ({picks.path})")
    check_finite(scores, "scores", f"{where} ({picks.path})")
    has_scores = not entries or any("score" in entry for entry in entries)
    rotations = transforms[:, :3, :3] if trusted else None
    points = Points(positions, scores if has_scores else None)
    return StoredPicks(points, rotations, _provenance(content.get(OURS)))


def _location(number: int, entry: Any) -> list[Any]:
    """Return x, y and z of a point in a file of picks."""
    try:
        return [entry["location"][axis] for axis in "xyz"]
    except (TypeError, KeyError) as error:
        raise ValueError(
            f"point {number}, counting from 0, has no location with x, y and z"
        ) from error


def _check_place(
    content: Mapping[str, Any], picks: Any, where: str, warn: Callable[[str], None]
) -> None:
    """Warn where a file names another run or object; raise DataError if that run exists."""
    run_name, named_run = picks.run.name, str(content.get("run_name") or picks.run.name)
    object_name = picks.pickable_object_name
    named_object = str(content.get("pickable_object_name") or object_name)
    advice = "Move it to its place, or correct what it says."
    if named_run != run_name:
        message = f"{where}: the file says that it is of run {shorten(named_run)}"
        if picks.run.root.get_run(named_run) is not None:
            raise DataError(f"{message}, which the project has too ({picks.path}). {advice}")
        warn(f"{message}, which the project does not have. Was run {run_name} renamed?")
    if named_object != object_name:
        warn(f"{where}: the file says that it is of {shorten(named_object)}. {advice}")


def _provenance(stored: Any) -> dict[str, Any]:
    """Return what octopi stored with picks, and nothing of another type: others can write there."""
    provenance = {}
    for key, kind in PROVENANCE.items():
        with contextlib.suppress(SettingError, KeyError, TypeError):
            provenance[key] = fit(stored[key], kind, key)
    return provenance


def _content(picks: Any) -> dict[str, Any]:
    """Read a file of picks, or the data portal's annotations in the same form."""
    if getattr(picks.meta, "portal_metadata", None) is not None and picks.read_only:
        return picks.load().model_dump()
    # copick's loader checks the matrix of each point by itself: ten times as long
    fetch = functools.partial(read_file, picks.fs, picks.path)
    content = with_retries(fetch, picks.fs).removeprefix(codecs.BOM_UTF8)  # of Windows editors
    if content.startswith(GZIP):
        raise ValueError("it is compressed, for it begins as gzip does: unpack it")
    return pydantic_core.from_json(content)


def to_json(
    points: Points,
    orientations: NDArray[np.float64] | None,
    picks: Any,
    where: str,
    provenance: Mapping[str, Any],
    *,
    fingerprint: bool,
) -> bytes:
    """Encode points as copick writes a file of picks.

    Args:
        points: centres in Å, and scores; 1 where there are none.
        orientations: (n, 3, 3); None writes the identity and marks it as not to be trusted.
        picks: copick's item.
        where: the picks in words, for messages.
        provenance: what made the picks, with keys of PROVENANCE; copick's reader leaves it out.
        fingerprint: whether to store the digest by which `describe_edit` knows octopi's work.

    Raises:
        DataError: a coordinate, orientation or score is not finite.
    """
    check_finite(points.positions, "coordinates", where)
    transformations: list[list[list[float]]] = [np.eye(4).tolist()] * len(points)
    if orientations is not None:
        check_finite(orientations, "orientations", where)
        matrices = np.tile(np.eye(4), (len(points), 1, 1))
        matrices[:, :3, :3] = orientations
        transformations = matrices.tolist()
    positions = points.positions.astype(np.float64).tolist()
    scores = points.scores_or_ones.astype(np.float64)
    check_finite(scores, "scores", where)
    config = picks.run.root.config
    # Points of a filament share its id, which we do not know; 0 says so.
    filament = any(
        o.name == picks.pickable_object_name and o.is_filament for o in config.pickable_objects
    )
    # A model of each point would take most of the time and memory: a network that has learned
    # nothing yet has hundreds of thousands of picks.
    content = picks.meta.model_copy(update={"points": []}).model_dump()
    content["trust_orientation"] = orientations is not None
    content["points"] = [
        {
            "location": dict(zip("xyz", position, strict=True)),
            "transformation_": transformation,
            "instance_id": 0 if filament else number,
            "score": score,
        }
        for number, (position, transformation, score) in enumerate(
            zip(positions, transformations, scores.tolist(), strict=True), start=1
        )
    ]
    digest = {FINGERPRINT: digest_picks(content)} if fingerprint else {}
    content[OURS] = {**provenance, **digest}
    encoded = io.BytesIO()  # smaller than the list of its pieces that `json.dumps` makes
    json.dump(content, codecs.getwriter("utf-8")(encoded), indent=4)
    return encoded.getvalue()


def describe_edit(picks: Any, where: str) -> str | None:
    """Say how a file of picks differs from what octopi wrote; return None if it does not.

    Args:
        picks: copick's item.
        where: the picks in words, for messages.
    """
    with storage_errors_as_data_error(where):
        try:
            content = _content(picks)
            if content[OURS][FINGERPRINT] == digest_picks(content):
                return None
        except (ValueError, TypeError, KeyError, AttributeError):
            pass
    try:
        written = json.loads(read_file(picks.fs, record_path(picks)))
        before = Counter(map(tuple, written))
        now = Counter(
            map(tuple, _rounded(read_picks(picks, where, warn=lambda _remark: None).points))
        )
    except (DataError, OSError, ValueError, TypeError):
        return "octopi did not write them as they are"
    added, removed = (now - before).total(), (before - now).total()
    return (
        f"somebody has changed them since octopi wrote them: {added} picks added, {removed} removed"
        + ("" if added or removed else ", other orientations or scores")
    )


def record_path(picks: Any) -> str:
    """Return where the positions that octopi wrote are noted: viewers keep no key of ours."""
    return f"{picks.path}.octopi"


def to_record(points: Points) -> bytes:
    """Encode the positions to be noted beside a file of picks."""
    return json.dumps(_rounded(points), separators=(",", ":")).encode()


def _rounded(points: Points) -> list[list[float]]:
    positions: list[list[float]] = np.round(points.positions, 2).tolist()
    return positions


def check_finite(values: np.ndarray, what: str, where: str) -> None:
    """Raise DataError if a value of some picks is not finite, or so large that it is damaged.

    Args:
        values: a row for each pick.
        what: the values are, for the message.
        where: the picks in words, for the message.
    """
    rows = np.unique(np.nonzero(~(np.abs(values) <= LARGEST))[0])
    if len(rows):
        raise DataError(
            f"{where}: {len(rows)} of {len(values)} picks have {what} that are not numbers "
            f"up to {LARGEST:g} (counting from 0: {shorten_list(rows)}). Correct or remove them."
        )
