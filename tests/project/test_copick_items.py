import numpy as np
import pytest

from octopi.errors import DataError
from octopi.project.queries import PicksQuery, SegmentationQuery


def test_the_overlays_copy_goes_before_the_static_one(files):
    files.add_picks([files.point(1, 2, 3)])
    name = "ExperimentRuns/TS_1/Picks/curator_1_ribosome.json"
    copy = files.folder / "overlay" / name
    copy.parent.mkdir(parents=True)
    text = (files.folder / "static" / name).read_text(encoding="utf-8")
    copy.write_text(text.replace('"x": 1', '"x": 9'), encoding="utf-8")
    run = files.run()
    query = PicksQuery("ribosome", "curator", "1")
    assert run.picks() == [query]
    np.testing.assert_array_equal(run.read_picks(query).positions, [[9, 2, 3]])


def test_labels_of_several_objects_go_before_a_mask_of_one(files):
    files.add_segmentation(np.ones((4, 4, 4), np.uint8), name="10.000_tool_1_membrane")
    labels = np.full((4, 4, 4), 3, np.uint8)
    files.add_segmentation(labels, name="10.000_tool_1_membrane-multilabel")
    run = files.run()
    assert run.segmentations() == [SegmentationQuery("membrane", "tool", "1", 10.0)]
    labels, _, _ = run.read_segmentation(SegmentationQuery("membrane", "tool", "1"))
    assert labels.max() == 3


def test_picks_named_as_other_programs_do_are_refused_with_the_name_to_give(files):
    path = files.add_picks([files.point(1, 2, 3)])
    path.rename(path.with_name("ribosome.json"))
    with pytest.raises(DataError, match=r"there is ribosome.json.*as in curation_0_ribosome.json"):
        files.run().picks()


@pytest.mark.parametrize("name", ["TS[1]", "*", "TS_?"])
def test_a_run_whose_name_copick_reads_as_a_pattern_is_refused(files, name):
    (files.folder / "static" / "ExperimentRuns" / name).mkdir(parents=True)
    run = files.run(name)
    with pytest.raises(DataError, match=r"as a pattern.*Rename its folder"):
        run.picks()


def test_picks_that_copick_takes_for_another_object_are_named(files, caplog):
    path = files.add_picks([files.point(1, 2, 3)])
    path.rename(path.with_name("user_1_0_ribosome.json"))
    files.run().picks()
    assert "Run TS_1: copick takes files for other picks" in caplog.text
    assert "user_1_0_ribosome.json. Rename each, as in curation_0_ribosome.json" in caplog.text
