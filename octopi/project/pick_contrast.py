"""Contrast of picks: whether the voxels inside an object are brighter than those around it."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from octopi.geometry import Grid

CORE = 0.5  # half the edge of the cube inside an object, in its radii
SURROUNDINGS = 1.5  # of the cube around it


class PickContrast:
    """Mean voxels inside and around each pick, whatever parts the volume comes in.

    Args:
        grid: of the volume.
        positions: object name -> its picks (n, 3) in Å, x y z.
        radii: object name -> its radius in Å.
    """

    def __init__(
        self, grid: Grid, positions: Mapping[str, NDArray], radii: Mapping[str, float]
    ) -> None:
        inside = {name: xyz[grid.contains(xyz)] for name, xyz in positions.items()}
        self._names = np.repeat(list(inside), [len(xyz) for xyz in inside.values()])
        centres = [np.rint(grid.to_voxels(xyz)) for xyz in inside.values()]
        self._centres = np.concatenate([*centres, np.empty((0, 3))]).astype(np.intp)
        edges = [np.full(len(xyz), radii[name] / min(grid.spacing)) for name, xyz in inside.items()]
        radii_in_voxels = np.concatenate([*edges, np.empty(0)])
        self._halves = [
            np.maximum(1, np.rint(share * radii_in_voxels)).astype(np.intp)
            for share in (CORE, SURROUNDINGS)
        ]
        self._sums = np.zeros((2, len(self._centres)))
        self._counts = np.zeros((2, len(self._centres)))

    def add(self, part: NDArray, region: Sequence[slice]) -> None:
        """Add the voxels of a part that covers a region of the volume."""
        start = np.array([s.start for s in region])
        for number, halves in enumerate(self._halves):
            low = np.maximum(self._centres - halves[:, None] - start, 0)
            high = np.minimum(self._centres + halves[:, None] + 1 - start, part.shape)
            for pick in np.flatnonzero(np.all(low < high, axis=1)):
                cube = part[tuple(map(slice, low[pick], high[pick]))]
                self._sums[number, pick] += cube.sum(dtype=np.float64)
                self._counts[number, pick] += cube.size

    def by_object(self) -> dict[str, NDArray[np.float64]]:
        """Return the contrast of each object's picks: mean inside minus mean around, (n,)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            inside = self._sums[0] / self._counts[0]
            around = (self._sums[1] - self._sums[0]) / (self._counts[1] - self._counts[0])
        contrast = inside - around
        names = dict.fromkeys(self._names.tolist())
        return {name: contrast[(self._names == name) & np.isfinite(contrast)] for name in names}


def clear_sign(contrasts: NDArray[np.float64]) -> int:
    """Return 1 where an object is clearly brighter than its surroundings, -1 darker, 0 unclear."""
    if len(contrasts) < 2:
        return 0
    error = contrasts.std(ddof=1) / np.sqrt(len(contrasts))
    least = 3 + 8 / (len(contrasts) - 1)  # standard errors; few picks say little about theirs
    return int(np.sign(contrasts.mean())) if abs(contrasts.mean()) > least * error else 0
