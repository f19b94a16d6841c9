"""What turns scores into picks: which objects, how large, and from which score on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from octopi.errors import DataError, SettingError, did_you_mean, shorten_list

DEFAULT_THRESHOLD = 0.5  # of an object whose threshold was never calibrated
Thresholds = Mapping[str, Mapping[str, float]]  # key of a β -> object name -> threshold


def beta_key(beta: float) -> str:
    """Return the key under which the thresholds of a β are stored."""
    return f"{beta:g}"


@dataclass(frozen=True)
class PickingInfo:
    """What picking needs to know of scores, whoever made them.

    Args:
        objects: names in the order of the channels.
        radii: radius in Å of the objects that are particles, None where only the project has it.
        thresholds: key of a β -> object name -> the score from which a candidate is a pick; empty
            where none were calibrated, as for label volumes.
        beta: the β whose thresholds are taken unless another is requested.
        localizer: `_target_` and arguments of the localizer that the thresholds were calibrated
            with; empty where there is none.
    """

    objects: list[str]
    radii: Mapping[str, float | None]
    thresholds: Thresholds = field(default_factory=dict)
    beta: float | None = None
    localizer: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_checkpoint(cls, info: Mapping[str, Any]) -> Self:
        """Take it from the info of a checkpoint, as `model_config.yaml` holds it too."""
        stored = {key: info[key] for key in ("radii", "thresholds", "beta", "localizer")}
        return cls(objects=sort_by_label(info["labels"]), **stored)

    @classmethod
    def from_score_map(cls, attributes: Mapping[str, Any]) -> Self:
        """Take it from the attributes of a score map; without radii, all objects are particles.

        Raises:
            DataError: the attributes name no objects.
        """
        if "objects" not in attributes:
            raise DataError(
                "A score map does not say which objects it is of. Write it again with octopi "
                "segment."
            )
        objects = attributes["objects"]
        optional = ("thresholds", "beta", "localizer")
        return cls(
            objects=objects,
            radii=attributes.get("radii", dict.fromkeys(objects)),
            **{key: attributes[key] for key in optional if key in attributes},
        )

    @classmethod
    def from_label_volume(cls, attributes: Mapping[str, Any], labels: Iterable[str]) -> Self:
        """Take it from the attributes of a label volume, a channel for each label.

        Args:
            attributes: stored with the volume; {} for one of another program.
            labels: names of the labelled objects.
        """
        return cls.from_score_map({**attributes, "objects": list(labels)})

    def thresholds_at(
        self, beta: float | None = None, overrides: float | Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Return the threshold of each particle: the override, the calibrated one or the default.

        Args:
            beta: whose thresholds; None = the stored one.
            overrides: a threshold for all particles, or object name -> threshold.

        Raises:
            SettingError: no thresholds were calibrated for this β, an override is of an unknown
                object, or a threshold is not in 0 … 1.
        """
        names = list(self.radii)
        if not isinstance(overrides, Mapping):
            overrides = {} if overrides is None else dict.fromkeys(names, float(overrides))
        for name in overrides:
            if name not in names:
                raise SettingError(
                    f"thresholds names {name}.{did_you_mean(name, names)} "
                    f"Objects: {shorten_list(names)}."
                )
        calibrated = self._calibrated_at(beta)
        thresholds = {
            name: overrides.get(name, calibrated.get(name, DEFAULT_THRESHOLD)) for name in names
        }
        for name, value in thresholds.items():
            if not 0 <= float(value) <= 1:
                raise SettingError(f"The threshold of {name} must lie in 0 … 1, not {value}.")
        return thresholds

    def _calibrated_at(self, beta: float | None) -> Mapping[str, float]:
        """Return the thresholds that were calibrated for a β, see `thresholds_at`."""
        if beta is None:
            if not self.thresholds or self.beta is None:
                return {}
            beta = self.beta
        key = beta_key(beta)
        if key not in self.thresholds:
            raise SettingError(
                f"There are no thresholds for beta={key}. There are for: "
                f"{shorten_list(self.thresholds) or 'none'}."
            )
        return self.thresholds[key]


def sort_by_label(labels: Mapping[str, int]) -> list[str]:
    """Return the names of objects in the order of their labels, which is that of the channels."""
    return sorted(labels, key=labels.__getitem__)
