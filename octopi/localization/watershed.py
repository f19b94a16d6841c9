"""Picks as regions of thresholded scores, with touching particles parted."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

from octopi.geometry import Points
from octopi.localization.channels import Channel, Localizer
from octopi.localization.regions import (
    Tally,
    as_points,
    check_region_settings,
    equivalent_radius,
    listed,
    regions,
)
from octopi.localization.summits import Box, grown, merge_plateaus, thin, tiles, tops, within


class Watershed(Localizer):
    """Parts touching particles where their distance transform has separate summits.

    Around each summit lies the largest ball inside the mask; a voxel belongs to the ball it is
    nearest to, so that regions meet at the neck between two balls. Nothing is opened or smoothed
    away: a particle of two voxels' radius is found. The volume's border is not taken for the edge
    of a particle that it cuts. A pick lies at the score-weighted centre of
    its region and scores the mean score inside.

    Args:
        threshold: the score above which a voxel belongs to a region.
        min_scale: smallest accepted region: the radius of a sphere as large, parts of the
            object's radius.
        max_scale: largest accepted region, likewise.
        separation: least distance of two summits, parts of the object's radius.
        min_score: regions with a lower mean score are not returned.
    """

    def __init__(
        self,
        *,
        threshold: float,
        min_scale: float,
        max_scale: float,
        separation: float,
        min_score: float,
    ) -> None:
        check_region_settings(
            threshold=threshold, min_scale=min_scale, max_scale=max_scale, min_score=min_score
        )
        if not 0 < separation < np.inf:
            raise ValueError(f"separation must be above 0, not {separation}.")
        self.threshold = threshold
        self.min_scale = min_scale
        self.max_scale = max_scale
        self.separation = separation
        self.min_score = min_score

    def _find(self, channel: Channel) -> Points:
        centres, means = [], []
        smallest, largest = self.min_scale * channel.radius, self.max_scale * channel.radius
        for box, mask in regions(channel, self.threshold, smallest=smallest, largest=np.inf):
            tally = self._parted(mask, box, channel)
            radius = equivalent_radius(tally.num_voxels, channel)
            fits = (radius >= smallest) & (radius <= largest)
            centres.append(tally.centres()[fits] + [s.start for s in box])
            means.append(tally.means()[fits])
        return as_points(channel, centres, means, self.min_score)

    def _parted(self, mask: NDArray[np.bool_], box: Box, channel: Channel) -> Tally:
        """What is measured on each part of a region."""
        spacing = np.asarray(channel.grid.spacing)
        deepest = self.max_scale * channel.radius
        frame = [
            (int(s.start > 0), int(s.stop < n))
            for s, n in zip(box, channel.grid.shape, strict=True)
        ]
        voxels, depths = _summits(np.pad(mask, frame), spacing, deepest)
        voxels = voxels - [before for before, _ in frame]
        order = np.lexsort((*voxels.T[::-1], -depths))
        centres, depths = voxels[order] * spacing, depths[order]
        keep = thin(centres, np.full(len(centres), self.separation * channel.radius))
        tally = Tally(len(keep))
        # the nearest ball by power distance is the nearest point one dimension up
        lift = np.sqrt(deepest**2 - depths[keep] ** 2)
        balls = KDTree(np.column_stack([centres[keep], lift]))
        for part in listed(mask):
            _, owner = balls.query(np.column_stack([part * spacing, np.zeros(len(part))]))
            tally.add(np.asarray(owner), part, channel.values[box][tuple(part.T)])
        return tally


def _summits(
    mask: NDArray[np.bool_], spacing: NDArray[np.float64], deepest: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the distance to the outside is greatest: voxels (n, 3) and depths in Å.

    Depths are cut off at the greatest that a particle can have, so that a region of any size is
    worked on in pieces; all of what is deeper is one flat summit.

    Args:
        mask: with a frame of the outside but where the volume ends; beyond, nothing is known.
        spacing: Å, z y x.
        deepest: Å.
    """
    margin = [int(n) + 2 for n in deepest / spacing]
    found = []
    for tile in tiles(mask.shape):
        if mask[tile].any():
            around = grown(tile, margin, mask.shape)
            depth = np.minimum(_depth(mask[around], spacing), deepest)
            allowed = np.zeros(depth.shape, dtype=bool)
            inner = within(tile, around)
            allowed[inner] = mask[tile]
            at = tops(depth, allowed)
            found.append((at + [s.start for s in around], depth[tuple(at.T)]))
    voxels, depths = (np.concatenate(column) for column in zip(*found, strict=True))
    return merge_plateaus(voxels, depths, mask.shape)


def _depth(mask: NDArray[np.bool_], spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance in Å to the nearest voxel outside, without end where there is none."""
    if mask.all():
        return np.full(mask.shape, np.inf)
    depth = distance_transform_edt(mask, sampling=spacing)
    assert isinstance(depth, np.ndarray), "Distances were asked for, nothing else."
    return depth
