"""Thresholds and expectations from the candidates of all runs, where there is no truth."""

import base64
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from octopi.errors import DataError
from octopi.evaluation.expected import Expected, expect, threshold_for
from octopi.geometry import Points
from octopi.picking import PickingInfo

logger = logging.getLogger(__name__)

MIN_CHANCE = 0.01  # of a candidate; lower ones are not looked for, which saves time
TypedThresholds = float | Mapping[str, float] | None  # one for all objects, or by their names


@dataclass(frozen=True)
class RunCandidates:
    """The candidates of a run.

    Args:
        info: what the scores mean.
        raw: object name -> (n,) the network's scores of all candidates from MIN_CHANCE on.
        by_object: object name -> those that may become picks, scored by their chances.
    """

    info: PickingInfo
    raw: dict[str, NDArray[np.float32]]
    by_object: dict[str, Points]

    def encode_raw(self) -> dict[str, str]:
        """Return the network's scores as text, exactly; `decode_raw` reads them."""
        return {
            name: base64.b64encode(scores.astype("<f4").tobytes()).decode()
            for name, scores in self.raw.items()
        }

    @classmethod
    def decode_raw(cls, info: PickingInfo, encoded: Mapping[str, Any]) -> Self:
        """Read scores that `encode_raw` wrote; without the candidates themselves.

        Raises:
            DataError: it did not write this.
        """
        try:
            raw = {
                name: np.frombuffer(base64.b64decode(encoded[name]), "<f4").astype(np.float32)
                for name in info.radii
                if name in encoded
            }
        except (ValueError, TypeError) as error:
            raise DataError(
                "What another process says of the scores that it has found is damaged. Start the "
                "same command again when no process is at work on these picks."
            ) from error
        return cls(info, raw, {})


def thresholds_by_data(
    candidates_by_run: Sequence[RunCandidates], beta: float | None, typed: TypedThresholds
) -> dict[str, float]:
    """Choose thresholds by the candidates of all runs: object name -> chance.

    An object that the user typed a threshold for, whose scores have no known meaning, or of which
    too few are expected, has no entry.

    Args:
        candidates_by_run: of every run.
        beta: recall weighs β² times precision; None = as in the training.
        typed: the thresholds that the user typed.
    """
    thresholds = {}
    for name, (scores, info) in pool_scores(candidates_by_run).items():
        if has_typed_threshold(name, typed) or name not in info.chances:
            continue
        object_beta = beta or info.beta or 1.0
        if info.weights.get(name) == 0:  # no total counts it, see calibrate
            object_beta = min(object_beta, 1.0)
        threshold = threshold_for(scores, info.chances[name], object_beta)
        if threshold is None:
            logger.info(
                "Too few %s are expected here to choose a threshold by: that of the training.", name
            )
        else:
            thresholds[name] = max(threshold, MIN_CHANCE)
    return thresholds


def has_typed_threshold(name: str, typed: TypedThresholds) -> bool:
    """Return whether the user typed a threshold of the object."""
    return isinstance(typed, float | int) or name in (typed or {})


def pool_scores(
    candidates_by_run: Sequence[RunCandidates],
) -> dict[str, tuple[NDArray[np.float32], PickingInfo]]:
    """Return each object's scores (n,) of the candidates in all runs, and what they mean."""
    infos = {name: run.info for run in candidates_by_run[::-1] for name in run.raw}
    return {
        name: (np.concatenate([r.raw[name] for r in candidates_by_run if name in r.raw]), info)
        for name, info in infos.items()
    }


def expect_all(
    candidates_by_run: Sequence[RunCandidates],
    by_data: Mapping[str, float],
    beta: float | None,
    typed: TypedThresholds,
) -> dict[str, Expected]:
    """Compute what to expect of the picks of each object, all runs together.

    Args:
        candidates_by_run: of every run.
        by_data: object name -> threshold, see `thresholds_by_data`.
        beta: whose thresholds of the training the other objects have; None = the training's own.
        typed: the thresholds that the user typed.
    """
    expected = {}
    for name, (scores, info) in pool_scores(candidates_by_run).items():
        thresholds = info.thresholds_at(beta, typed) | dict(by_data)
        expected[name] = expect(scores, info.chances.get(name), thresholds[name])
    return expected
