"""Picks between copick's JSON and our points."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.errors import DataError
from octopi.geometry import Points
from octopi.project.door import CopickLocation, CopickPoint


def read_points(picks: Any, where: str) -> Points:
    """The particle centres in Å, with their scores where the file gives any."""
    try:
        file = picks.load()
    except (ValueError, TypeError) as error:  # broken JSON; pydantic's errors are ValueErrors too
        raise DataError(
            f"{where} cannot be understood: {picks.path} is truncated or damaged "
            f"({str(error).splitlines()[0]}). Restore it or write the picks again."
        ) from error
    if file.unit != "angstrom":
        raise DataError(f"{where} are in {file.unit}; only angstrom is understood ({picks.path}).")
    if not file.points:
        return Points.empty()
    # copick: the centre is the location plus the translation of the orientation.
    positions = picks.full_positions()
    _refuse_non_finite(positions, "coordinates", f"{where} ({picks.path})")
    if not any("score" in point.model_fields_set for point in file.points):
        return Points(positions)
    scores = picks.scores()
    _refuse_non_finite(scores, "scores", f"{where} ({picks.path})")
    return Points(positions, scores)


def read_orientations(picks: Any, where: str) -> NDArray[np.float64] | None:
    """The rotations (n, 3, 3) from the objects' frame to the tomogram's, both x y z.

    None where the file says that its orientations are not to be trusted.
    """
    read_points(picks, where)  # a file that cannot be understood is named
    if not picks.load().trust_orientation:
        return None
    turns = np.asarray(picks.numpy()[1], dtype=np.float64).reshape(-1, 4, 4)[:, :3, :3]
    _refuse_non_finite(turns, "orientations", f"{where} ({picks.path})")
    return turns


def to_json(
    points: Points, orientations: NDArray[np.float64] | None, picks: Any, where: str
) -> bytes:
    """The file of these picks with the points in it, as copick would write it.

    Without orientations these are the identity and marked as unknown.
    """
    _refuse_non_finite(points.positions, "coordinates", where)
    transformations = np.tile(np.eye(4), (len(points), 1, 1))
    if orientations is not None:
        _refuse_non_finite(orientations, "orientations", where)
        transformations[:, :3, :3] = orientations
    scores = np.ones(len(points)) if points.scores is None else points.scores
    _refuse_non_finite(scores, "scores", where)
    config = picks.run.root.config
    # Points of a filament share its id, which we do not know; 0 says so.
    filament = any(
        o.name == picks.pickable_object_name and o.is_filament for o in config.pickable_objects
    )
    entries = [
        CopickPoint(
            location=CopickLocation(x=x, y=y, z=z),
            transformation_=transformation.tolist(),
            instance_id=0 if filament else number,
            score=float(score),
        )
        for number, ((x, y, z), score, transformation) in enumerate(
            zip(points.positions.tolist(), scores, transformations, strict=True), start=1
        )
    ]
    known = orientations is not None
    file = picks.meta.model_copy(update={"points": entries, "trust_orientation": known})
    return json.dumps(file.model_dump(), indent=4).encode()


def _refuse_non_finite(values: np.ndarray, what: str, where: str) -> None:
    rows = np.unique(np.nonzero(~np.isfinite(values))[0])
    if len(rows):
        first = ", ".join(map(str, rows[:5])) + (", …" if len(rows) > 5 else "")
        raise DataError(
            f"{where}: {len(rows)} of {len(values)} picks have {what} that are not numbers "
            f"(counting from 0: {first}). Correct or remove them."
        )
