"""Objects that can be picked, as the copick configs of a project describe them."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from octopi.errors import DataError, did_you_mean, shorten_list
from octopi.geometry import Grid
from octopi.targets import MAX_LABEL, MAX_REJECTED_LABEL, UNKNOWN, rejected_value

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

    @property
    def has_radius(self) -> bool:
        """Whether the config gives a finite radius above 0."""
        return self.radius is not None and 0 < self.radius < math.inf

    def require_radius(self) -> float:
        """Return the radius in Å; raise DataError where the config gives none above 0."""
        if self.radius is None:
            raise DataError(
                f"Object {self.name} has no radius in the copick config. Add one, in Å."
            )
        if not self.has_radius:
            raise DataError(
                f"Object {self.name} has the radius {self.radius:g} in the copick config. "
                "Give it one above 0, in Å."
            )
        return self.radius

    def odd_radius(self, grid: Grid) -> str | None:
        """Say that the radius is under a voxel or over a quarter of the volume, as in other units.

        Args:
            grid: of a tomogram, as worked on.

        Returns:
            The warning; None for a likely radius, or none.
        """
        if self.radius is None:
            return None
        voxel, box = max(grid.spacing), max(np.multiply(grid.shape, grid.spacing))
        if voxel <= self.radius <= box / 4:
            return None
        limit = f"less than a voxel ({voxel:.4g} Å)"
        if self.radius >= voxel:
            limit = f"more than a quarter of the volume ({box:.4g} Å)"
        return (
            f"Object {self.name} has a radius of {self.radius:g} Å in the copick config, {limit}. "
            "Radii are in Å: is this one in other units?"
        )


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
    paths: dict[str, str] = {}
    for path, entries in configs.items():
        for entry in map(from_copick, entries):
            first = merged.setdefault(entry.name, entry)
            paths.setdefault(entry.name, path)
            for field in ("radius", "label"):
                first_value, value = getattr(first, field), getattr(entry, field)
                if first is not entry and value != first_value:
                    raise DataError(
                        f"Object {entry.name} has the {field} {first_value} in "
                        f"{paths[entry.name]} but {value} in {path}. "
                        f"Give it the same {field} in both."
                    )
    return merged


def object_labels(objects: Mapping[str, PickableObject]) -> dict[str, int]:
    """Return the labels that the copick config gives its objects, by object name.

    Raises:
        DataError: several objects share a label, or a label is not above 0.
    """
    names: dict[int, list[str]] = defaultdict(list)
    for name, obj in objects.items():
        if obj.label is not None:
            names[obj.label].append(name)
    for label, sharing in names.items():
        if label <= 0 or len(sharing) > 1:
            raise DataError(
                f"The copick config gives the label {label} to {shorten_list(sharing)}; a label "
                "volume needs another one above 0 for each object. Set label in pickable_objects."
            )
    return {sharing[0]: label for label, sharing in names.items()}


def volume_labels(
    attributes: Mapping[str, Any], objects: Mapping[str, PickableObject]
) -> dict[str, int]:
    """Return the labels stored with a label volume or else those of the copick config."""
    return attributes.get("labels") or object_labels(objects)


def require_labels(attributes: Mapping[str, Any], where: str) -> dict[str, int]:
    """Return the labels stored with a target, by object name; raise DataError if there are none.

    Args:
        attributes: stored with the target.
        where: the target in words, for the message.
    """
    if not {"labels", "picks"} <= attributes.keys():
        raise DataError(
            f"{where} is no target: it does not say which label is which object, or which picks "
            f"it was painted from. {WRITE_TARGET_AGAIN}"
        )
    labels = dict(attributes["labels"])
    highest = MAX_REJECTED_LABEL if "rejected" in attributes else MAX_LABEL
    if too_large := [name for name, label in labels.items() if label > highest]:
        raise DataError(
            f"{where} gives {shorten_list(too_large)} a label above {highest}; higher values are "
            f"for what is unknown or rejected. {WRITE_TARGET_AGAIN}"
        )
    described = {
        n for key in ("not_annotated", "annotation", "rejected") for n in attributes.get(key, ())
    }
    if unknown := sorted(described - labels.keys()):
        raise DataError(
            f"{where} says how {shorten_list(unknown)} is annotated, of which it has no label. "
            f"{WRITE_TARGET_AGAIN}"
        )
    return labels


def check_painted_objects(painted: Iterable[str], objects: Mapping[str, PickableObject]) -> None:
    """Raise DataError if the copick config lacks an object whose picks a target was painted from.

    Args:
        painted: names of the objects.
        objects: of the copick config.
    """
    for name in painted:
        if name not in objects:
            raise DataError(
                f"The targets hold {name}, which the copick config does not have."
                f"{did_you_mean(name, objects)} Rename it there, or make the targets again."
            )


def has_unknown_voxels(attributes: Mapping[str, Any]) -> bool:
    """Return whether a label volume is a target that was painted inside a region only.

    Args:
        attributes: stored with the volume.
    """
    return "annotated" in attributes


def mark_values(attributes: Mapping[str, Any]) -> set[int]:
    """Return the values of a target that are no labels: what is unknown, and rejected places.

    Args:
        attributes: stored with the volume.
    """
    labels = attributes.get("labels", {})
    rejected = [labels[name] for name in attributes.get("rejected", ()) if name in labels]
    marks = {rejected_value(label) for label in rejected}
    if has_unknown_voxels(attributes):
        marks |= {UNKNOWN, *(rejected_value(label, else_unknown=True) for label in rejected)}
    return marks


def find_unexpected_labels(
    values: Iterable[float], labels: Mapping[str, int], attributes: Mapping[str, Any]
) -> list[int]:
    """Return the values of a label volume that are neither background nor an object's label.

    Nor a mark, see `mark_values`.

    Args:
        values: each value that occurs in the volume.
        labels: object name -> label.
        attributes: stored with the volume.
    """
    expected = {0, *labels.values()} | mark_values(attributes)
    return sorted(set(map(int, values)) - expected)


def check_labels(
    values: Iterable[float],
    labels: Mapping[str, int],
    attributes: Mapping[str, Any],
    *,
    where: str,
    advice: str,
) -> None:
    """Raise DataError if a label volume has voxels that belong to no object.

    Args:
        values: each value that occurs in the volume.
        labels: object name -> label.
        attributes: stored with the volume.
        where: the volume in words, for the message.
        advice: what to do about it.
    """
    if unknown := find_unexpected_labels(values, labels, attributes):
        if len(unknown) > MAX_LABEL:
            advice = "They look like labels of instances: give all of one object one label."
        raise DataError(
            f"{where} holds the labels {shorten_list(unknown)}, which belong to no object "
            f"({shorten_list(f'{name} {label}' for name, label in labels.items())}). "
            f"{advice}"
        )
