"""The range of a volume's voxel values, and what in it makes a tomogram useless."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.errors import DataError

FLOAT32_MAX = float(np.finfo(np.float32).max)  # tomograms are worked with as float32
ADVICE = "Reconstruct it again or leave the run out."


@dataclass
class ValueRange:
    """The range of the voxels added so far.

    Args:
        low: smallest finite value; NaN before the first.
        high: largest finite value.
        num_bad: number of voxels that are NaN or infinite, at least as float32.
    """

    low: float = math.nan
    high: float = math.nan
    num_bad: int = 0

    def add(self, chunk: NDArray[Any]) -> bool:
        """Include a chunk; return whether all its voxels have the same finite value."""
        low, high = float(chunk.min()), float(chunk.max())
        all_finite = -FLOAT32_MAX <= low <= high <= FLOAT32_MAX
        if not all_finite:
            with np.errstate(over="ignore"):
                finite = chunk[np.isfinite(chunk.astype(np.float32))]
            self.num_bad += chunk.size - finite.size
            if not finite.size:
                return False
            low, high = float(finite.min()), float(finite.max())
        self.low = float(np.fmin(low, self.low))  # fmin and fmax ignore NaN
        self.high = float(np.fmax(high, self.high))
        return all_finite and low == high

    @property
    def is_constant(self) -> bool:
        """Whether all finite voxels have the same value."""
        return self.low == self.high

    def check(self, where: str) -> None:
        """Raise DataError unless a tomogram of this range can be worked with.

        Args:
            where: the tomogram in words, for the message.
        """
        faults = []
        if self.num_bad:
            faults.append(f"holds {self.num_bad} voxels that are NaN or infinite")
        if self.is_constant:
            faults.append(f"is constant: every voxel is {self.low:g}")
        if faults:
            raise DataError(f"{where} {' and '.join(faults)}. {ADVICE}")
