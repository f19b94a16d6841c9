from dataclasses import replace

import pytest
from stored_samples import GRID, OURS, TARGETS, filled_labels

from octopi.errors import NotInProjectError, SettingError
from octopi.geometry import Points
from octopi.project.queries import PicksQuery


def test_picks_in_the_read_only_data_are_not_written_over(files):
    files.add_picks([files.point(1, 2, 3)])
    with pytest.raises(SettingError, match="read-only data"):
        files.run().write_picks(PicksQuery("ribosome", "curator", "1"), Points.empty())


def test_picks_of_an_unknown_object_are_refused(run):
    with pytest.raises(NotInProjectError, match=r"no object ribosom.*Did you mean ribosome"):
        run.check_can_write(replace(OURS, object_name="ribosom"))


@pytest.mark.parametrize("name", ["unet_tversky", "../../etc", "a/b"])
@pytest.mark.parametrize("field", ["user_id", "session_id"])
def test_names_copick_would_change_are_refused_before_anything_is_written(run, field, name):
    for query, write in (
        (OURS, lambda q: run.write_picks(q, Points.empty())),
        (TARGETS, lambda q: run.write_segmentation(q, filled_labels(), grid=GRID, attributes={})),
    ):
        with pytest.raises(SettingError, match=field):
            write(replace(query, **{field: name}))
    assert run.picks() == run.segmentations() == []


def test_a_segmentation_in_the_read_only_data_is_not_written_over(files):
    files.add_tomogram(files.noise())
    files.add_segmentation(filled_labels(), name="10.000_octopi_1_targets-multilabel")
    with pytest.raises(SettingError, match="read-only data"):
        files.run().write_segmentation(TARGETS, filled_labels(), grid=GRID, attributes={})
