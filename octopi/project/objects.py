"""The kinds of things that can be picked, as the copick configs of a project describe them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from octopi.errors import DataError


@dataclass(frozen=True)
class PickableObject:
    """A kind of thing that can be picked.

    Args:
        label: integer of the object in copick's own label volumes.
        radius: Å; None where the config gives none.
        weight: share in a weighted score: `score_weight` of the object's metadata, else `weight`.
    """

    name: str
    label: int | None
    radius: float | None
    is_particle: bool
    color: tuple[int, ...]
    weight: float | None


def from_copick(meta: Any) -> PickableObject:
    """The object that an entry of a copick config describes."""
    return PickableObject(
        name=meta.name,
        label=meta.label,
        radius=None if meta.radius is None else float(meta.radius),
        is_particle=meta.is_particle,
        color=tuple(meta.color or (100, 100, 100, 255)),
        weight=_weight(meta.name, meta.metadata or {}),
    )


def _weight(name: str, metadata: Mapping[str, Any]) -> float | None:
    weight = metadata.get("score_weight", metadata.get("weight"))
    if weight is None:
        return None
    if not isinstance(weight, int | float) or not math.isfinite(weight) or weight < 0:
        raise DataError(
            f"Object {name} has the weight {weight!r} in its metadata. "
            "Make score_weight (or weight) a number of zero or more."
        )
    return float(weight)


def merge_objects(configs: Mapping[str, Iterable[Any]]) -> dict[str, PickableObject]:
    """The objects of all configs by name; one that two configs describe differently is an error.

    Args:
        configs: the object entries of each copick config, by the config's path.
    """
    merged: dict[str, PickableObject] = {}
    origin: dict[str, str] = {}
    for path, entries in configs.items():
        for entry in entries:
            found = from_copick(entry)
            held = merged.setdefault(found.name, found)
            origin.setdefault(found.name, path)
            for field in ("radius", "label"):
                here, there = getattr(found, field), getattr(held, field)
                if here != there:
                    raise DataError(
                        f"Object {found.name} has the {field} {there} in {origin[found.name]} but "
                        f"{here} in {path}. Give it the same {field} in both."
                    )
    return merged
