"""What tests store in a run: the queries of octopi's own picks and targets, and small labels."""

import numpy as np

from octopi.geometry import Grid
from octopi.project.queries import PicksQuery, SegmentationQuery

OURS = PicksQuery("ribosome", "octopi", "1")
TARGETS = SegmentationQuery("targets", "octopi", "1", 10.0)
GRID = Grid.cubic((8, 8, 8), 10)


def filled_labels(fill=1):
    """Return labels of GRID that are all the same."""
    return np.full(GRID.shape, fill, dtype=np.uint8)
