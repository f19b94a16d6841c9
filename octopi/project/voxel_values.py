"""The values of a volume's voxels: what makes a tomogram useless, and what labels may be."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.errors import DataError, shorten_list

FLOAT32_MAX = float(np.finfo(np.float32).max)  # tomograms are worked with as float32
ADVICE = "Reconstruct it again or leave the run out."
MAX_VALUES = 1000  # different values that are counted; a volume with more is no label volume
MAX_SHARE = 0.5  # of a volume that one object may fill


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


def odd_share(num_inside: int | np.integer, num_voxels: int) -> str:
    """Say that an object fills most of a volume, as background does; "" if it does not."""
    share = num_inside / num_voxels
    if share <= MAX_SHARE:
        return ""
    return f"fills {100 * share:.0f} % of the volume, as background does: is it inverted?"


@dataclass
class LabelValues:
    """The values of the voxels added so far.

    Args:
        counts: value -> number of voxels; incomplete where there are more than MAX_VALUES.
        range: of the values.
        has_fractions: whether any is no whole number.
    """

    counts: dict[float, int] = field(default_factory=dict)
    range: ValueRange = field(default_factory=ValueRange)
    has_fractions: bool = False

    def add(self, chunk: NDArray[Any]) -> None:
        """Include a chunk."""
        if self.range.add(chunk):
            values, numbers = chunk.reshape(-1)[:1], np.asarray([chunk.size])
        elif chunk.dtype == np.uint8:
            every_number = np.bincount(chunk.reshape(-1), minlength=256)
            values = np.flatnonzero(every_number)
            numbers = every_number[values]
        elif len(self.counts) <= MAX_VALUES or chunk.dtype.kind == "f":
            values, numbers = np.unique(chunk[np.isfinite(chunk)], return_counts=True)
        else:
            return
        self.has_fractions |= bool((values != np.rint(values)).any())
        if len(self.counts) > MAX_VALUES:
            return
        for value, number in zip(values[: MAX_VALUES + 1].tolist(), numbers.tolist(), strict=False):
            self.counts[value] = self.counts.get(value, 0) + number

    def check_labels(self, where: str) -> None:
        """Raise DataError unless every value can be a label: a whole number of zero or more.

        Args:
            where: the volume in words, for the message.
        """
        self._check_finite(where)
        if self.has_fractions:
            raise DataError(
                f"{where} holds scores ({self._range()}), not labels. Threshold them first: a "
                "label volume holds whole numbers, 0 for background."
            )
        if self.range.low < 0:
            raise DataError(
                f"{where} holds {self._range()}, but a label is never negative. Were unsigned "
                "bytes saved as signed ones? Save it again, 0 for background."
            )

    def check_mask(self, where: str, *, may_be_full: bool = False) -> float:
        """Return the value inside a mask, 0 where all is outside.

        Args:
            where: the mask in words, for the message.
            may_be_full: whether all may be inside, so that no voxel is 0.

        Raises:
            DataError: the mask holds more than 0 and one other value.
        """
        self._check_finite(where)
        inside = sorted(value for value in self.counts if value != 0)
        if (0 in self.counts or may_be_full) and len(inside) <= 1:
            return inside[0] if inside else 0
        cure = "Save the one object alone, with 0 for everything else."
        if self.has_fractions:
            content, cure = f"scores ({self._range()})", "Threshold them first."
        elif len(self.counts) > MAX_VALUES:
            content = f"more than {MAX_VALUES} whole numbers ({self._range()}), labels of instances"
            cure = "Save all instances as 1, with 0 for everything else."
        elif 0 not in self.counts or inside[0] < 0:
            content, cure = self._range(), "Save it again with 0 for everything outside."
        else:
            content = f"the labels {shorten_list(inside)}"
        raise DataError(
            f"{where} holds {content}; a mask of one object holds 0 and one other value. {cure}"
        )

    def _check_finite(self, where: str) -> None:
        if self.range.num_bad:
            raise DataError(
                f"{where} holds {self.range.num_bad} voxels that are NaN or infinite, so it is no "
                "label volume. Write it again, with 0 for background."
            )

    def _range(self) -> str:
        if len(self.counts) <= 2:
            return " and ".join(f"{value:g}" for value in sorted(self.counts))
        return f"values from {self.range.low:g} to {self.range.high:g}"
