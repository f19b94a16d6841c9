"""Score maps in memory, and which of their channels are particles."""

from collections.abc import Mapping
from dataclasses import dataclass

from numpy.typing import NDArray

from octopi.errors import NotInProjectError
from octopi.geometry import Grid
from octopi.picking import PickingInfo
from octopi.project.objects import PickableObject


@dataclass(frozen=True)
class ScoreMap:
    """The scores of every voxel, a channel for each object.

    Args:
        values: (c, z, y, x), uint8, 255 = a score of 1.
        grid: of the values.
        info: what was stored with them.
    """

    values: NDArray
    grid: Grid
    info: PickingInfo


def particle_channels(scores: ScoreMap, radii: Mapping[str, float]) -> NDArray:
    """Return the channels of the objects that have a radius, in the order of the radii."""
    objects = scores.info.objects
    if objects == list(radii):
        return scores.values
    return scores.values[[objects.index(name) for name in radii]]


def particle_radii(
    info: PickingInfo, project_objects: Mapping[str, PickableObject]
) -> dict[str, float]:
    """Return the radius in Å of every particle, in the order of the channels.

    Args:
        info: which objects are particles, and the radii they had in training.
        project_objects: by name; their radii come first.

    Raises:
        NotInProjectError: a particle is no object of the project.
        DataError: nobody knows its radius.
    """
    radii = {}
    for name in info.objects:
        if name not in info.radii:
            continue
        if name not in project_objects:
            raise NotInProjectError("The project", "object", name, project_objects)
        particle = project_objects[name]
        stored = info.radii[name] if particle.radius is None else None
        radii[name] = float(stored or particle.require_radius())
    return radii
