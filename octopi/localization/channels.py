"""What every localizer shares: the call, and one object's part of a score map."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from octopi.geometry import Grid, Points


@dataclass(frozen=True)
class Channel:
    """The score of every voxel for one object.

    Args:
        values: (z, y, x), uint8 in 0..255 or float in 0..1.
        radius: of the object, Å.
        floor: the lowest score of interest; candidates below may be left out.
    """

    values: NDArray
    grid: Grid
    radius: float
    floor: float = 0.0

    @property
    def one(self) -> float:
        """The stored value that means a score of 1."""
        return 255.0 if self.values.dtype == np.uint8 else 1.0

    def level(self, score: float) -> float:
        """The lowest stored value that is at least the score."""
        return lowest_stored(self.values, score * self.one)

    def in_voxels(self, scale: float) -> NDArray[np.float64]:
        """A length, in parts of the object's radius, as voxels along z, y, x."""
        return scale * self.radius / np.asarray(self.grid.spacing)


def lowest_stored(values: NDArray, least: float) -> float:
    """The lowest value they can hold from `least` on; comparing with it copies nothing."""
    return int(np.ceil(round(least, 6))) if values.dtype == np.uint8 else least


def channels(
    scores: NDArray,
    *,
    grid: Grid,
    radii: Mapping[str, float],
    floors: Mapping[str, float] | None = None,
) -> Iterator[tuple[str, Channel]]:
    """Each object's name and channel, in the order of `radii`; ValueError where they do not fit.

    Args:
        scores: (c, z, y, x), uint8 in 0..255 or float in 0..1, without a background channel.
        grid: where the scores' voxels lie.
        radii: object name to radius in Å, one for each channel, in their order.
        floors: object name to the lowest score of interest, where it is above 0.
    """
    if scores.dtype != np.uint8 and not np.issubdtype(scores.dtype, np.floating):
        raise ValueError(f"Scores must be uint8 or floating point, not {scores.dtype}.")
    if scores.shape != (len(radii), *grid.shape):
        raise ValueError(
            f"Scores of shape {scores.shape} do not fit {len(radii)} objects on a grid of "
            f"{grid.shape} voxels: expected {(len(radii), *grid.shape)}."
        )
    for name, radius in radii.items():
        if not 0 < radius < np.inf:
            raise ValueError(f"The radius of {name} is {radius} Å; a localizer needs one above 0.")
    for values, (name, radius) in zip(scores, radii.items(), strict=True):
        yield name, Channel(values, grid, radius, (floors or {}).get(name, 0.0))


class Localizer(ABC):
    """Finds the candidates of every object in a score map."""

    def __call__(
        self,
        scores: NDArray,
        *,
        grid: Grid,
        radii: Mapping[str, float],
        floors: Mapping[str, float] | None = None,
    ) -> dict[str, Points]:
        """Every object's candidates in Å, best first, each with its score.

        Args:
            scores: (c, z, y, x), uint8 in 0..255 or float in 0..1; one channel for each object.
            grid: where the scores' voxels lie.
            radii: object name to radius in Å, in the order of the channels.
            floors: object name to the lowest score of interest: candidates below it may be left
                out, which saves looking for them. Those above are the same without it.
        """
        known = channels(scores, grid=grid, radii=radii, floors=floors)
        return {name: self._find(channel) for name, channel in known}

    @abstractmethod
    def _find(self, channel: Channel) -> Points:
        """One object's candidates, best first."""
