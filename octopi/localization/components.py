"""Picks as connected regions of thresholded scores: for particles that do not touch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from octopi.geometry import Points
from octopi.localization.local_maxima import Box
from octopi.localization.localizer import Channel, Localizer, lowest_stored
from octopi.ranges import Factor, FactorOrZero, PositiveShare, Share, validated


@validated
@dataclass(kw_only=True)
class Components(Localizer):
    """Pick each connected region of an object's channel that has a likely size.

    A pick lies at the score-weighted centre of its region; its score is the mean score inside.

    Args:
        threshold: the score from which a voxel belongs to a region, above 0 and at most 1.
        min_scale: radius of a sphere with the volume of the smallest accepted region, parts of
            the object's radius.
        max_scale: the same for the largest accepted region.
        min_score: regions with a lower mean score are left out, 0..1.

    Raises:
        ValueError: a setting is out of its range.
    """

    threshold: PositiveShare
    min_scale: FactorOrZero
    max_scale: Factor
    min_score: Share

    def __post_init__(self) -> None:
        if not self.min_scale < self.max_scale:
            raise ValueError(
                f"min_scale={self.min_scale} must be below max_scale={self.max_scale}."
            )

    def _find(self, channel: Channel) -> Points:
        """Return one object's picks, best first."""
        level = lowest_stored(channel.values, self.threshold * channel.max_value)
        labels = np.empty(channel.values.shape, dtype=np.int32)
        ndimage.label(channel.values >= level, output=labels)
        is_large = _radii(labels, channel) >= self.min_scale * channel.radius
        parts = [
            self._measure(channel, box, self._split(labels[box] == label, box, channel))
            for label, box in enumerate(ndimage.find_objects(labels), start=1)
            if is_large[label]
        ]
        rows = np.concatenate([np.zeros((0, 4)), *parts])
        voxels, scores = rows[:, :3], rows[:, 3] / channel.max_value
        order = np.lexsort((*voxels.T[::-1], -scores))
        order = order[scores[order] >= self.min_score]
        return Points(channel.grid.to_angstrom(voxels[order]), scores[order].astype(np.float32))

    def _split(self, mask: NDArray[np.bool_], _box: Box, _channel: Channel) -> NDArray[np.integer]:
        """Label the parts of a face-connected region from 1, where `mask` holds its voxels."""
        return mask.view(np.uint8)

    def _measure(
        self, channel: Channel, box: Box, parts: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """Return the score-weighted centre and the mean stored score of each part of likely size.

        Args:
            channel: the scores of one object.
            box: the part of the volume that `parts` covers.
            parts: (z, y, x) labels from 1, 0 = in no part.

        Returns:
            (n, 4): voxel indices z, y, x in the volume and the score, a row for each part.
        """
        radii = _radii(parts, channel)[1:]
        smallest, largest = self.min_scale * channel.radius, self.max_scale * channel.radius
        labels = 1 + np.flatnonzero((radii >= smallest) & (radii <= largest))
        if not len(labels):
            return np.zeros((0, 4))
        scores = channel.values[box]
        centres = np.array(ndimage.center_of_mass(scores, parts, labels))
        corner = [part.start for part in box]
        return np.column_stack([centres + corner, ndimage.mean(scores, parts, labels)])


def _radii(labels: NDArray[np.integer], channel: Channel) -> NDArray[np.float64]:
    """Return the radius in Å of spheres with the volume of each label, from 0 on."""
    num_voxels = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.int64)
    for plane in labels:  # one at a time: bincount copies what it counts as int64
        num_voxels += np.bincount(plane.ravel(), minlength=len(num_voxels))
    return np.cbrt(num_voxels * np.prod(channel.grid.spacing) * 3 / (4 * np.pi))
