"""What localize reads: score maps, and segmentations, whose labels become scores of 1."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from octopi.errors import NotInProjectError
from octopi.geometry import Grid
from octopi.localize import find_scores, read_scores
from octopi.project import SegmentationQuery, open_project


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


@pytest.mark.parametrize(("spacing", "same"), [(20.2, True), (19.8, True), (20.3, False)])
def test_score_maps_of_a_spacing_are_found_up_to_one_percent(here, spacing, same):
    run = open_project(here / "project.json").runs[0]
    tomogram = next(query for query in run.tomograms() if query.voxel_spacing == 20.0)
    scores = np.zeros((2, 24, 48, 48), np.uint8)
    grid = run.tomogram_grid(tomogram)
    run.write_score_map(tomogram, "predict-octopi-1", scores, grid=grid, attributes={})
    settings = SimpleNamespace(
        source="scores", input="predict:octopi/1", tomo_type=None, voxel_spacing=spacing
    )
    if same:
        assert find_scores(run, settings) == tomogram
    else:
        with pytest.raises(NotInProjectError):
            find_scores(run, settings)
