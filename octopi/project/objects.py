"""Objects that can be picked, as the copick configs of a project describe them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from octopi.errors import DataError, shorten_list

NO_OBJECTS = (
    "The copick config names no objects: its pickable_objects are empty. Add what is to be picked, "
    "each with name, label and radius."
)
WRITE_TARGET_AGAIN = "Write it again: octopi create_targets overwrite=true."


@dataclass(frozen=True)
class PickableObject:
    """An object that can be picked: an entry of `pickable_objects` in a copick config.

    Args:
        label: integer of the object in copick's own label volumes.
        radius: Å; None where the config gives none.
        weight: in the total score: `score_weight` of the object's metadata, else `weight`, else 1.
    """

    name: str
    label: int | None
    radius: float | None
    is_particle: bool
    color: tuple[int, ...]
    weight: float

    def require_radius(self) -> float:
        """Return the radius in Å; raise DataError where the config gives none."""
        if self.radius is None:
            raise DataError(
                f"Object {self.name} has no radius in the copick config. Add one, in Å."
            )
        return self.radius


def from_copick(meta: Any) -> PickableObject:
    """Convert an entry of a copick config."""
    return PickableObject(
        name=meta.name,
        label=meta.label,
        radius=None if meta.radius is None else float(meta.radius),
        is_particle=meta.is_particle,
        color=tuple(meta.color or (100, 100, 100, 255)),
        weight=_read_weight(meta.name, meta.metadata or {}),
    )


def _read_weight(name: str, metadata: Mapping[str, Any]) -> float:
    weight = metadata.get("score_weight", metadata.get("weight"))
    if weight is None:
        return 1.0
    if not isinstance(weight, int | float) or not math.isfinite(weight) or weight < 0:
        raise DataError(
            f"Object {name} has the weight {weight!r} in its metadata. "
            "Make score_weight (or weight) a number of zero or more."
        )
    return float(weight)


def merge_objects(configs: Mapping[str, Iterable[Any]]) -> dict[str, PickableObject]:
    """Merge the objects of several configs by name.

    Args:
        configs: the object entries of each copick config, by the config's path.

    Raises:
        DataError: two configs give an object different radii or labels.
    """
    merged: dict[str, PickableObject] = {}
    origin: dict[str, str] = {}
    for path, entries in configs.items():
        for entry in map(from_copick, entries):
            first = merged.setdefault(entry.name, entry)
            origin.setdefault(entry.name, path)
            for field in ("radius", "label"):
                first_value, value = getattr(first, field), getattr(entry, field)
                if value != first_value:
                    raise DataError(
                        f"Object {entry.name} has the {field} {first_value} in "
                        f"{origin[entry.name]} but {value} in {path}. "
                        f"Give it the same {field} in both."
                    )
    return merged


def object_labels(objects: Mapping[str, PickableObject]) -> dict[str, int]:
    """Return the labels that the copick config gives its objects, by object name."""
    return {name: obj.label for name, obj in objects.items() if obj.label is not None}


def require_labels(attributes: Mapping[str, Any], where: str) -> dict[str, int]:
    """Return the labels stored with a target, by object name; raise DataError if there are none.

    Args:
        attributes: stored with the target.
        where: the target in words, for the message.
    """
    if "labels" not in attributes:
        raise DataError(f"{where} does not say which label is which object. {WRITE_TARGET_AGAIN}")
    return dict(attributes["labels"])


def unknown_labels(values: Iterable[int], labels: Mapping[str, int]) -> list[int]:
    """Return the values of a label volume that are neither background nor an object's label.

    Args:
        values: each value that occurs in the volume.
        labels: object name -> label.
    """
    return sorted(set(map(int, values)) - {0, *labels.values()})


def check_labels(
    values: Iterable[int], labels: Mapping[str, int], *, where: str, advice: str
) -> None:
    """Raise DataError if a label volume has voxels that belong to no object.

    Args:
        values: each value that occurs in the volume.
        labels: object name -> label.
        where: the volume in words, for the message.
        advice: what to do about it.
    """
    if unknown := unknown_labels(values, labels):
        raise DataError(
            f"{where} holds the labels {shorten_list(unknown)}, which belong to no object "
            f"({shorten_list(f'{name} {label}' for name, label in labels.items())}). "
            f"{advice}"
        )
