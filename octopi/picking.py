"""What turns scores into picks: objects and radii, what a score means, thresholds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict

from octopi.errors import DataError, SettingError, did_you_mean, shorten_list
from octopi.geometry import Points
from octopi.ranges import Covariance, Positive, PositiveShare

DEFAULT_THRESHOLD = 0.5  # chance, of an object whose threshold was never calibrated
SCORE_CLIP = 1e-4  # scores nearer than this to 0 or 1 are clipped
Thresholds = Mapping[str, Mapping[str, float]]  # key of a β -> object name -> threshold


def beta_key(beta: float) -> str:
    """Return the key under which the thresholds of a β are stored."""
    return f"{beta:g}"


def log_odds(scores: ArrayLike) -> NDArray[np.float64]:
    """Return the log-odds of scores 0..1, those near 0 and 1 clipped."""
    clipped = np.clip(np.asarray(scores, dtype=np.float64), SCORE_CLIP, 1 - SCORE_CLIP)
    return np.log(clipped / (1 - clipped))


@dataclass(frozen=True)
class Chance:
    """How likely the candidates of an object are particles: σ(offset + slope · logit score).

    Without a calibration the score is the chance.

    Args:
        offset: of the log-odds of the chance.
        slope: of the log-odds of the chance over those of the score, positive.
        covariance: of offset and slope: variance, covariance, variance.
        found: part of the particles that are candidates at all, however low their scores.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # a stored one has these fields and no other

    offset: float = 0.0
    slope: Positive = 1.0
    covariance: Covariance = field(default_factory=lambda: [0.0, 0.0, 0.0])
    found: PositiveShare = 1.0

    def of(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Return the chances (n,) of scores (n,), both 0..1."""
        if (self.offset, self.slope) == (0, 1):
            return np.asarray(scores, dtype=np.float64)
        return 1 / (1 + np.exp(-self.offset - self.slope * log_odds(scores)))

    def to_score(self, chance: float) -> float:
        """Return the score from which on candidates have a chance, both 0..1."""
        if not 0 < chance < 1:
            return float(chance)
        odds = (np.log(chance / (1 - chance)) - self.offset) / self.slope
        return float(1 / (1 + np.exp(-odds)))


def apply_chance(candidates: Points, chance: Chance) -> Points:
    """Return the candidates, their scores replaced by the chances that they are particles."""
    if candidates.scores is None:
        return candidates
    return Points(candidates.positions, chance.of(candidates.scores).astype(np.float32))


@dataclass(frozen=True)
class PickingInfo:
    """What picking needs to know of scores, whoever made them.

    Args:
        objects: names in the order of the channels.
        radii: radius in Å of the objects that are particles, None where only the project has it.
        thresholds: key of a β -> object name -> the chance from which a candidate is a pick; empty
            where none were calibrated, as for label volumes.
        beta: the β whose thresholds are taken unless another is requested.
        localizer: `_target_` and arguments of the localizer that the thresholds were calibrated
            with; empty where there is none.
        chances: object name -> what a score means; of an object without one it is the chance.
        weights: object name -> weight in the total score, where that is stored.
    """

    objects: list[str]
    radii: Mapping[str, float | None]
    thresholds: Thresholds = field(default_factory=dict)
    beta: float | None = None
    localizer: Mapping[str, Any] = field(default_factory=dict)
    chances: Mapping[str, Chance] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)

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
        optional = ("thresholds", "beta", "localizer", "weights")
        chances = {name: Chance(**one) for name, one in attributes.get("chances", {}).items()}
        return cls(
            objects=objects,
            radii=attributes.get("radii", dict.fromkeys(objects)),
            chances=chances,
            **{key: attributes[key] for key in optional if key in attributes},
        )

    @classmethod
    def from_label_volume(cls, attributes: Mapping[str, Any], labels: Iterable[str]) -> Self:
        """Take it from the attributes of a label volume, a channel for each label.

        Args:
            attributes: stored with the volume; {} for one of another program.
            labels: names of the labelled objects.
        """
        kept = {key: value for key, value in attributes.items() if key != "chances"}
        return cls.from_score_map({**kept, "objects": list(labels)})

    def chance(self, name: str) -> Chance:
        """Return what the scores of an object mean."""
        return self.chances.get(name, Chance())

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


def mean_thresholds(
    all_thresholds: Sequence[Thresholds], all_chances: Sequence[Mapping[str, Chance]]
) -> dict[str, dict[str, float]]:
    """Average thresholds of the same objects, over the networks that have chances of an object.

    Args:
        all_thresholds: of each network.
        all_chances: of each network; where none has chances of an object, all networks count.

    Returns:
        Key of a β -> object name -> threshold, of the β and objects that all of them have.
    """
    first, *others = all_thresholds
    pairs = list(zip(all_thresholds, all_chances, strict=True))

    def mean(beta: str, name: str) -> float:
        values = [thresholds[beta][name] for thresholds, chances in pairs if name in chances]
        values = values or [thresholds[beta][name] for thresholds in all_thresholds]
        return sum(values) / len(values)

    return {
        beta: {
            name: mean(beta, name)
            for name in by_object
            if all(name in other[beta] for other in others)
        }
        for beta, by_object in first.items()
        if all(beta in other for other in others)
    }


def mean_chances(all_chances: Sequence[Mapping[str, Chance]]) -> dict[str, Chance]:
    """Average the chances of each object over the networks that have any."""
    means = {}
    for name in dict.fromkeys(name for chances in all_chances for name in chances):
        rows = [
            [c.offset, c.slope, *c.covariance, c.found]
            for c in (chances[name] for chances in all_chances if name in chances)
        ]
        offset, slope, *covariance, found = np.mean(rows, axis=0).tolist()
        means[name] = Chance(offset, slope, covariance, found)
    return means
