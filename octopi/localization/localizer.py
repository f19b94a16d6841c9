"""The base class of localizers, and one object's channel of a score map."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from octopi.geometry import Grid, Points


@dataclass(frozen=True)
class Channel:
    """The score of every voxel for one object.

    Args:
        values: (z, y, x), uint8 in 0..255 or float in 0..1.
        grid: of the values.
        radius: of the object, Å.
        min_score: the lowest score of interest, 0..1; candidates below may be left out.
    """

    values: NDArray
    grid: Grid
    radius: float
    min_score: float = 0.0

    @property
    def max_value(self) -> float:
        """The stored value that means a score of 1."""
        return 255.0 if self.values.dtype == np.uint8 else 1.0

    def in_voxels(self, scale: float) -> NDArray[np.float64]:
        """Convert a length in parts of the object's radius to voxels along z, y, x."""
        return scale * self.radius / np.asarray(self.grid.spacing)


def lowest_stored(values: NDArray, minimum: float) -> float:
    """Return the lowest value of the array's type that is at least `minimum`.

    Comparing with it needs no copy of the array in another type.
    """
    return int(np.ceil(round(minimum, 6))) if values.dtype == np.uint8 else minimum


class Localizer(ABC):
    """Find the candidates of every object in a score map."""

    def __call__(
        self,
        scores: NDArray,
        *,
        grid: Grid,
        radii: Mapping[str, float],
        floors: Mapping[str, float] | None = None,
    ) -> dict[str, Points]:
        """Return every object's candidates, best first, each with its score.

        Args:
            scores: (c, z, y, x), uint8 in 0..255 or float in 0..1; one channel for each object.
            grid: of the scores.
            radii: object name -> radius in Å, in the order of the channels.
            floors: object name -> the lowest score of interest. Candidates below it may be left
                out, which saves time; those above are the same without it.

        Returns:
            object name -> positions in Å, x y z, and scores, 0..1.

        Raises:
            ValueError: the scores are of another type, or do not fit the grid or the radii.
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
                raise ValueError(
                    f"The radius of {name} is {radius} Å; a localizer needs one above 0."
                )
        return {
            name: self._find(Channel(values, grid, radius, (floors or {}).get(name, 0.0)))
            for values, (name, radius) in zip(scores, radii.items(), strict=True)
        }

    @abstractmethod
    def _find(self, channel: Channel) -> Points:
        """Return one object's candidates, best first."""
