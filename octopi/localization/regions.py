"""Connected regions of the voxels above a threshold, and what is measured on each."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label

from octopi.geometry import Points
from octopi.localization.channels import Channel
from octopi.localization.summits import Box

_SLAB = 16  # planes whose voxels are listed at once


def regions(
    channel: Channel, threshold: float, *, smallest: float, largest: float
) -> Iterator[tuple[Box, NDArray[np.bool_]]]:
    """Each face-connected region of voxels at or above the threshold: its box and its mask there.

    Args:
        channel: the scores of one object.
        threshold: a score, 0..1.
        smallest: radius in Å of the sphere as large as the smallest region wanted.
        largest: the same for the largest region wanted.
    """
    mask = channel.values >= channel.level(threshold)
    labels = np.empty(mask.shape, dtype=np.int32)
    count = int(label(mask, output=labels))  # pyright: ignore[reportArgumentType]  # an int here
    inside = [np.flatnonzero(plane) for plane in mask]
    size = np.zeros(count + 1, dtype=np.int64)
    for plane, at in zip(labels, inside, strict=True):
        size += np.bincount(plane.ravel()[at], minlength=len(size))
    radius = equivalent_radius(size, channel)
    wanted = (radius >= smallest) & (radius <= largest) & (size > 0)
    number = np.where(wanted, np.cumsum(wanted), 0).astype(labels.dtype)
    for plane, at in zip(labels, inside, strict=True):
        plane.ravel()[at] = number[plane.ravel()[at]]
    for i, box in enumerate(find_objects(labels), start=1):
        yield box, labels[box] == i


def equivalent_radius(num_voxels: NDArray, channel: Channel) -> NDArray[np.float64]:
    """Radius in Å of the spheres as large as so many voxels."""
    volume = num_voxels * np.prod(channel.grid.spacing)
    return np.cbrt(volume * 3 / (4 * np.pi))


class Tally:
    """Adds up voxels by group: how many, where their scores' centre is, the mean score."""

    def __init__(self, num_groups: int) -> None:
        self.num_voxels = np.zeros(num_groups)
        self._score = np.zeros(num_groups)
        self._moment = np.zeros((num_groups, 3))

    def add(self, groups: NDArray, voxels: NDArray, scores: NDArray) -> None:
        """Counts each voxel (n, 3), with its stored score, in its group."""
        num = len(self.num_voxels)
        self.num_voxels += np.bincount(groups, minlength=num)
        self._score += np.bincount(groups, scores, minlength=num)
        for axis in range(3):
            moment = np.bincount(groups, scores * voxels[:, axis], minlength=num)
            self._moment[:, axis] += moment

    def centres(self) -> NDArray[np.float64]:
        """The score-weighted mean voxel (n, 3) of each group that has any."""
        return self._moment / np.maximum(self._score, np.finfo(float).tiny)[:, None]

    def means(self) -> NDArray[np.float64]:
        """The mean stored score of each group, 0 where it is empty."""
        return self._score / np.maximum(self.num_voxels, 1)


def listed(mask: NDArray[np.bool_]) -> Iterator[NDArray[np.intp]]:
    """The mask's voxels (n, 3), some planes at a time."""
    for start in range(0, len(mask), _SLAB):
        voxels = np.argwhere(mask[start : start + _SLAB])
        if len(voxels):
            voxels[:, 0] += start
            yield voxels


def as_points(
    channel: Channel, centres: list[NDArray], means: list[NDArray], min_score: float
) -> Points:
    """Points of one object, best first, of the regions whose mean stored score is enough."""
    if not centres:
        return Points.empty()
    voxels, scores = np.concatenate(centres), np.concatenate(means) / channel.one
    keep = scores >= min_score
    voxels, scores = voxels[keep], scores[keep]
    order = np.lexsort((*voxels.T[::-1], -scores))
    return Points(channel.grid.to_angstrom(voxels[order]), scores[order].astype(np.float32))


def check_region_settings(
    *, threshold: float, min_scale: float, max_scale: float, min_score: float
) -> None:
    """ValueError unless regions can be taken with these settings."""
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1, not {threshold}.")
    if not 0 <= min_scale < max_scale:
        raise ValueError(f"Need 0 <= min_scale < max_scale, not {min_scale} and {max_scale}.")
    if not 0 <= min_score <= 1:
        raise ValueError(f"min_score must be between 0 and 1, not {min_score}.")
