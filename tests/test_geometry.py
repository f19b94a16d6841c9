"""Two spacings are one up to 1 %, that included, for everybody who compares them."""

from pathlib import Path

import numpy as np
import pytest

from octopi.data.cache import check_target_fits, resample_labels
from octopi.errors import DataError
from octopi.formats.mrc import Header
from octopi.geometry import Grid
from octopi.import_tomograms import stored_grid
from octopi.project import SegmentationQuery, TomogramQuery
from octopi.project.queries import nearest
from octopi.project.read_volume import _trusted_spacing

SAME = [(10.0, 10.1), (10.0, 9.9), (20.0, 20.2), (30.0, 29.7), (13.48, 13.48 * 1.01), (10.0, 10.0)]
OTHER = [(10.0, 10.12), (10.0, 9.89), (20.0, 20.25), (30.0, 29.6)]


@pytest.mark.parametrize(("pair", "same"), [(p, True) for p in SAME] + [(p, False) for p in OTHER])
class TestOnePercent:
    def test_of_a_query(self, pair, same):
        there, asked = pair
        for query in (TomogramQuery("wbp", there), SegmentationQuery("a", "b", "c", there)):
            assert (nearest([query], asked) == [query]) is same

    def test_of_a_grid(self, pair, same):
        grid = Grid.cubic((1000, 1000, 1000), pair[0])
        assert (grid.at_spacing(pair[1]) == grid) is same

    def test_of_an_mrc_header(self, pair, same):
        header = Header(Path("a.mrc"), (8, 8, 8), (pair[0],) * 3)
        if same:
            assert header.spacing(pair[1], ignore_header=False)
        else:
            with pytest.raises(DataError, match="by its header"):
                header.spacing(pair[1], ignore_header=False)

    def test_of_an_imported_tomogram(self, pair, same):
        fine, coarse = sorted(pair)
        _, grid = stored_grid((1000, 1000, 1000), fine, coarse)
        assert (grid.shape == (1000, 1000, 1000)) is same

    def test_of_a_volume_and_what_copick_lists(self, pair, same):
        scale = (pair[0],) * 3
        assert (_trusted_spacing(scale, pair[1], "here") == scale) is same or pair[0] == pair[1]

    def test_of_a_target(self, pair, same):
        fine, coarse = sorted(pair)
        held, wanted = Grid.cubic((8, 8, 8), coarse), Grid.cubic((8, 8, 8), fine)
        if same:
            check_target_fits(held, wanted)
            labels = np.zeros((8, 8, 8), np.uint8)
            assert resample_labels(labels, held, wanted) is labels
        else:
            with pytest.raises(DataError, match="The target has"):
                check_target_fits(held, wanted)
