"""Connected regions of the voxels above a threshold, and the pick in each."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from octopi.geometry import Points
from octopi.localization.local_maxima import Box
from octopi.localization.localizer import Channel


def find_regions(
    channel: Channel, threshold: float, *, smallest: float, largest: float
) -> Iterator[tuple[Box, NDArray[np.bool_]]]:
    """Yield the box and the mask of each face-connected region at or above the threshold.

    Args:
        channel: the scores of one object.
        threshold: a score, 0..1.
        smallest: radius in Å of a sphere with the volume of the smallest region to yield.
        largest: the same for the largest region.
    """
    labels, count = _label(channel.values >= channel.stored_value(threshold))
    # Counting one plane at a time: bincount copies what it counts as int64.
    num_voxels = np.zeros(count + 1, dtype=np.int64)
    for plane in labels:
        num_voxels += np.bincount(plane.ravel(), minlength=count + 1)
    radii = equivalent_radius(num_voxels, channel)
    has_allowed_size = (radii >= smallest) & (radii <= largest)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if has_allowed_size[label]:
            yield box, labels[box] == label


def _label(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Number the face-connected regions from 1; return the labels and how many there are."""
    labels = np.empty(mask.shape, dtype=np.int32)
    count = ndimage.label(mask, output=labels)
    return labels, int(count)  # pyright: ignore[reportArgumentType]  an int where output is given


def measure_parts(
    channel: Channel, box: Box, parts: NDArray[np.integer], *, smallest: float, largest: float
) -> NDArray[np.float64]:
    """Return the score-weighted centre and the mean stored score of each part of a box.

    Args:
        channel: the scores of one object.
        box: the part of the volume that `parts` covers.
        parts: (z, y, x) labels from 1, 0 = in no part.
        smallest: radius in Å of a sphere with the volume of the smallest part to measure.
        largest: the same for the largest part.

    Returns:
        (n, 4): voxel indices z, y, x in the volume and the score, a row for each part.
    """
    radii = equivalent_radius(np.bincount(parts.ravel()), channel)
    labels = 1 + np.flatnonzero((radii[1:] >= smallest) & (radii[1:] <= largest))
    if not len(labels):
        return np.zeros((0, 4))
    scores = channel.values[box]
    centres = np.array(ndimage.center_of_mass(scores, parts, labels))
    corner = [part.start for part in box]
    return np.column_stack([centres + corner, ndimage.mean(scores, parts, labels)])


def equivalent_radius(num_voxels: NDArray, channel: Channel) -> NDArray[np.float64]:
    """Return the radius in Å of spheres with the volume of so many voxels."""
    volume = num_voxels * np.prod(channel.grid.spacing)
    return np.cbrt(volume * 3 / (4 * np.pi))


def points_of_parts(channel: Channel, parts: Sequence[NDArray], min_score: float) -> Points:
    """Return the measured parts (n, 4) whose mean score is at least `min_score`, best first."""
    rows = np.concatenate([np.zeros((0, 4)), *parts])
    voxels, scores = rows[:, :3], rows[:, 3] / channel.max_value
    order = np.lexsort((*voxels.T[::-1], -scores))
    order = order[scores[order] >= min_score]
    return Points(channel.grid.to_angstrom(voxels[order]), scores[order].astype(np.float32))


def check_scales(min_scale: float, max_scale: float) -> None:
    """Raise ValueError unless the scales leave room for a region."""
    if not min_scale < max_scale:
        raise ValueError(f"min_scale={min_scale} must be below max_scale={max_scale}.")
