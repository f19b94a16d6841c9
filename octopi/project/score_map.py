"""Scores as they are stored: maps with what was stored beside them, and candidates in files."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from octopi.errors import DataError, NotInProjectError
from octopi.geometry import Grid
from octopi.project import PickableObject


@dataclass(frozen=True)
class ScoreMap:
    """A score map and what was stored with it: objects, radii, thresholds."""

    values: NDArray
    grid: Grid
    attributes: Mapping[str, Any]


def particle_channels(scores: ScoreMap, radii: Mapping[str, float]) -> NDArray:
    """The channels of the objects that are picked; membranes and the like are left out."""
    objects = list(scores.attributes["objects"])
    if objects == list(radii):
        return scores.values
    return scores.values[[objects.index(name) for name in radii]]


def particle_radii(
    facts: Mapping[str, Any], known_objects: Mapping[str, PickableObject]
) -> dict[str, float]:
    """Return the radius in Å of every particle, in the order of the channels.

    Args:
        facts: stored with a score map: its `objects`, and the `radii` of the particles among them.
        known_objects: the project's, whose radii come first.
    """
    if "objects" not in facts:
        raise DataError(
            "A score map does not say which objects it is of. Write it again with octopi segment."
        )
    radii = {}
    for name in facts["objects"]:
        if name not in facts.get("radii", facts["objects"]):
            continue
        if name not in known_objects:
            raise NotInProjectError("The project", "object", name, known_objects)
        object_info = known_objects[name]
        stored_radius = facts.get("radii", {}).get(name)
        radii[name] = float(object_info.radius or stored_radius or object_info.require_radius())
    return radii
