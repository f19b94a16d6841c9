"""What the channels of a network mean: segmentations."""

import numpy as np

from octopi.models.net_output import NetOutput


def test_objects_that_overlap_are_labelled_where_one_is_likely():
    scores = np.array([[[[200, 100, 90]]], [[[150, 100, 140]]]], np.uint8)
    assert NetOutput("independent").segmentation(scores).ravel().tolist() == [1, 0, 2]
    assert NetOutput().segmentation(scores).ravel().tolist() == [1, 1, 2]
