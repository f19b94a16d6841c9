"""Picks as connected components of thresholded scores: for particles that do not touch."""

import numpy as np
from pydantic import validate_call

from octopi.geometry import Points
from octopi.localization.localizer import Channel, Localizer
from octopi.localization.regions import (
    check_scales,
    find_regions,
    measure_parts,
    points_of_parts,
)
from octopi.ranges import Factor, FactorOrZero, PositiveShare, Share


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

    @validate_call
    def __init__(
        self,
        *,
        threshold: PositiveShare,
        min_scale: FactorOrZero,
        max_scale: Factor,
        min_score: Share,
    ) -> None:
        check_scales(min_scale, max_scale)
        self.threshold = threshold
        self.min_scale = min_scale
        self.max_scale = max_scale
        self.min_score = min_score

    def _find(self, channel: Channel) -> Points:
        sizes = {
            "smallest": self.min_scale * channel.radius,
            "largest": self.max_scale * channel.radius,
        }
        parts = [
            measure_parts(channel, box, mask.astype(np.uint8), **sizes)
            for box, mask in find_regions(channel, self.threshold, **sizes)
        ]
        return points_of_parts(channel, parts, self.min_score)
