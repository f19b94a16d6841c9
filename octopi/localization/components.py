"""Picks as connected components of thresholded scores: for particles that do not touch."""

import numpy as np

from octopi.geometry import Points
from octopi.localization.channels import Channel, Localizer
from octopi.localization.regions import (
    Tally,
    as_points,
    check_region_settings,
    listed,
    regions,
)


class Components(Localizer):
    """Finds one pick in each connected region of an object's channel that has a likely size.

    A pick lies at the score-weighted centre of its region and scores the mean score inside.

    Args:
        threshold: the score above which a voxel belongs to a region.
        min_scale: smallest accepted region: the radius of a sphere as large, parts of the
            object's radius.
        max_scale: largest accepted region, likewise.
        min_score: regions with a lower mean score are not returned.
    """

    def __init__(
        self, *, threshold: float, min_scale: float, max_scale: float, min_score: float
    ) -> None:
        check_region_settings(
            threshold=threshold, min_scale=min_scale, max_scale=max_scale, min_score=min_score
        )
        self.threshold = threshold
        self.min_scale = min_scale
        self.max_scale = max_scale
        self.min_score = min_score

    def _find(self, channel: Channel) -> Points:
        centres, means = [], []
        smallest, largest = self.min_scale * channel.radius, self.max_scale * channel.radius
        for box, mask in regions(channel, self.threshold, smallest=smallest, largest=largest):
            tally = Tally(1)
            for voxels in listed(mask):
                scores = channel.values[box][tuple(voxels.T)]
                tally.add(np.zeros(len(voxels), dtype=np.intp), voxels, scores)
            centres.append(tally.centres() + [s.start for s in box])
            means.append(tally.means())
        return as_points(channel, centres, means, self.min_score)
