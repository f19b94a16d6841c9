"""Outliers among the voxels of a tomogram: hot ones, rims, padding.

They are measured against the median and the median deviation from it, which they cannot move. The
voxels of a sound tomogram, gold included, lie far inside the range that counts as ordinary.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from octopi.system.large_arrays import allocate, slabs

FAR = 100  # deviations from the median, beyond which a voxel is an outlier
MAX_STRETCH = 4  # of the standard deviation, over that of the middle voxels
MIN_PADDING = 0.05  # of all voxels that have one value
MIN_REPETITION = 5  # times as often as any other value
MAX_FEW = 3  # different values of what is no tomogram
_SAMPLE_VOXELS = 1 << 20
_TO_STD = 1.4826  # from the median absolute deviation of a normal distribution


class VoxelSample:
    """Every n-th voxel on each axis of a volume, whatever parts the volume comes in.

    Args:
        shape: of the volume, voxels z y x.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        self._step = math.ceil((math.prod(shape) / _SAMPLE_VOXELS) ** (1 / 3))
        self._parts: list[NDArray[np.float32]] = []

    def add(self, part: NDArray, region: Sequence[slice]) -> None:
        """Add the voxels of a part that covers a region of the volume."""
        sampled = tuple(slice(-s.start % self._step, None, self._step) for s in region)
        with np.errstate(over="ignore"):
            self._parts.append(part[sampled].astype(np.float32).ravel())

    @property
    def values(self) -> NDArray[np.float32]:
        """The finite voxels of the sample (n,)."""
        values = np.concatenate([*self._parts, np.empty(0, np.float32)])
        return values[np.isfinite(values)]


def ordinary_range(values: NDArray[np.float32]) -> tuple[float, float, float]:
    """Return the range of values that are no outliers, unlimited where half of them are the same.

    Returns:
        Lowest and highest ordinary value, and the standard deviation by the middle half of them.
    """
    if not values.size:
        return -math.inf, math.inf, 0.0
    median = float(np.median(values))
    deviation = _TO_STD * float(np.median(np.abs(values - np.float32(median))))
    if not deviation > 0:
        return -math.inf, math.inf, deviation
    return median - FAR * deviation, median + FAR * deviation, deviation


def clip_outliers(volume: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """Clip outliers to the range of the other voxels.

    Returns:
        The volume, itself where it has no outliers, and the number of voxels that were clipped.
    """
    sample = VoxelSample(volume.shape)
    sample.add(volume, [slice(0, length) for length in volume.shape])
    low, high, _ = ordinary_range(sample.values)
    if not (volume.min() < low or volume.max() > high):
        return volume, 0
    lowest, highest, num_ordinary = math.inf, -math.inf, 0
    for slab in slabs(volume.shape):
        part = volume[slab]
        ordinary = part[(part >= low) & (part <= high)]
        num_ordinary += ordinary.size
        lowest = min(lowest, ordinary.min(initial=np.inf))
        highest = max(highest, ordinary.max(initial=-np.inf))
    clipped = allocate(volume.shape, volume.dtype, purpose="A tomogram with outliers")
    for slab in slabs(volume.shape):
        np.clip(volume[slab], lowest, highest, out=clipped[slab])
    return clipped, volume.size - num_ordinary


def describe_outliers(num_outliers: int, num_voxels: int) -> str:
    """Describe the voxels that are clipped, for a remark on a tomogram."""
    return (
        f"{num_outliers} voxels ({100 * num_outliers / num_voxels:.2g} %) lie more than {FAR} "
        "standard deviations from the median, as hot pixels, rims and padding do: training and "
        "prediction clip them to the range of the others"
    )


def describe_spread(values: NDArray[np.float32]) -> list[str]:
    """Describe what is odd about the spread of a tomogram's voxels, judged by a sample of them."""
    if not values.size:
        return []
    remarks = []
    distinct, counts = np.unique(values, return_counts=True)
    if 1 < len(distinct) <= MAX_FEW:
        remarks.append(
            f"it holds {len(distinct)} different values only, as a mask does. Is it a tomogram?"
        )
    if len(distinct) > MAX_FEW:
        first = int(counts.argmax())
        second = np.delete(counts, first).max()
        if counts[first] >= max(MIN_PADDING * values.size, MIN_REPETITION * second):
            remarks.append(
                f"{100 * counts[first] / values.size:.0f} % of its voxels are exactly "
                f"{distinct[first]:g}, as padding is: it counts in the mean and the standard "
                "deviation by which voxels are normalised. Crop it, or pad it with noise."
            )
    low, high, deviation = ordinary_range(values)
    std = float(values[(values >= low) & (values <= high)].std(dtype=np.float64))
    if std > MAX_STRETCH * deviation > 0:
        remarks.append(
            f"its standard deviation is {std / deviation:.0f} times that of its middle "
            "voxels: a rim, padding or gold leaves little contrast to everything else. Crop it."
        )
    return remarks
