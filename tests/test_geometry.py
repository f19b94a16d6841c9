"""Spacings that differ by at most 1 % are the same, wherever they are compared."""

from pathlib import Path

import numpy as np
import pytest

from octopi.data.cache import check_target_fits, resample_labels
from octopi.errors import DataError
from octopi.formats.mrc import Header
from octopi.geometry import Grid, format_shape
from octopi.import_tomograms import choose_grid
from octopi.project.queries import SegmentationQuery, TomogramQuery, nearest
from octopi.project.stored_volume import _trusted_spacing

SAME = [(10.0, 10.1), (10.0, 9.9), (20.0, 20.2), (30.0, 29.7), (13.48, 13.48 * 1.01), (10.0, 10.0)]
OTHER = [(10.0, 10.12), (10.0, 9.89), (20.0, 20.25), (30.0, 29.6)]


@pytest.mark.parametrize(("pair", "same"), [(p, True) for p in SAME] + [(p, False) for p in OTHER])
class TestOnePercent:
    def test_of_a_query(self, pair, same):
        spacing, requested = pair
        for query in (TomogramQuery("wbp", spacing), SegmentationQuery("a", "b", "c", spacing)):
            assert (nearest([query], requested) == [query]) is same

    def test_of_a_grid(self, pair, same):
        grid = Grid.cubic((1000, 1000, 1000), pair[0])
        assert (grid.at_spacing(pair[1]) == grid) is same

    def test_of_an_mrc_header(self, pair, same):
        header = Header(
            Path("a.mrc"),
            (8, 8, 8),
            (pair[0],) * 3,
            mode=2,
            dtype=np.dtype("<f4"),
            offset=1024,
            space_group=1,
            certain_range=(-np.inf, np.inf),
            begins_elsewhere=False,
        )
        if same:
            assert header.spacing(pair[1], ignore_header=False)
        else:
            with pytest.raises(DataError, match="by its header"):
                header.spacing(pair[1], ignore_header=False)

    def test_of_an_imported_tomogram(self, pair, same):
        fine, coarse = sorted(pair)
        _, grid = choose_grid((1000, 1000, 1000), fine, coarse)
        assert (grid.shape == (1000, 1000, 1000)) is same

    def test_of_a_volume_and_what_copick_lists(self, pair, same):
        scale = (pair[0],) * 3
        warnings: list[str] = []
        trusted = _trusted_spacing(scale, pair[1], "here", warnings.append)
        assert (trusted == scale) is same or pair[0] == pair[1]
        assert bool(warnings) is not same

    def test_of_a_target(self, pair, same):
        fine, coarse = sorted(pair)
        target_grid, tomogram_grid = Grid.cubic((8, 8, 8), coarse), Grid.cubic((8, 8, 8), fine)
        if same:
            check_target_fits(target_grid, tomogram_grid)
            labels = np.zeros((8, 8, 8), np.uint8)
            assert resample_labels(labels, target_grid, tomogram_grid) is labels
        else:
            with pytest.raises(DataError, match="The target has"):
                check_target_fits(target_grid, tomogram_grid)


def test_grids_match_if_shapes_are_equal_and_spacings_within_the_tolerance():
    grid = Grid.cubic((8, 9, 10), 10.0)
    assert grid.matches(Grid.cubic((8, 9, 10), 10.0009))
    assert not grid.matches(Grid.cubic((8, 9, 10), 10.01))
    assert not grid.matches(Grid.cubic((8, 9, 11), 10.0))


def test_a_shape_is_written_with_times_signs():
    assert format_shape((184, 630, 630)) == "184×630×630"
    assert format_shape(np.array([319.6, 240.2])) == "320×240"
