"""What localize reads: score maps, and segmentations as if they were sure of every label."""

import tracemalloc
from types import SimpleNamespace

import numpy as np

from octopi.geometry import Grid
from octopi.localize import read_scores
from octopi.project import SegmentationQuery


def test_labels_become_scores_in_little_more_memory_than_the_scores_take():
    labels = {f"object-{k}": k for k in (2, 1, 7)}
    volume = np.random.default_rng(0).choice(
        np.array([0, *labels.values()], np.uint8), (64, 64, 64)
    )
    grid, query = Grid.cubic(volume.shape, 10), SegmentationQuery("targets", "octopi", "1", 10.0)
    run = SimpleNamespace(
        name="TS_1",
        objects={},
        read_segmentation=lambda _query: (volume, grid, {"labels": labels}),
    )
    settings = SimpleNamespace(source="segmentation", input="targets:octopi/1")
    tracemalloc.start()
    scores = read_scores(run, query, settings)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * volume.size  # bytes; the scores take three
    assert scores.values.dtype == np.uint8
    for channel, label in zip(scores.values, labels.values(), strict=True):
        assert (channel == np.where(volume == label, 255, 0)).all()
