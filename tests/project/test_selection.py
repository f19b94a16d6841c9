import pytest

from octopi.errors import NotInProjectError, SettingError
from octopi.project import open_project
from octopi.project.queries import SegmentationQuery, TomogramQuery
from octopi.project.selection import (
    find_segmentations,
    keep_runs_with,
    select_training_tomograms,
    tomogram_for_display,
)


@pytest.fixture
def runs(tiny_phantom):
    return open_project(str(tiny_phantom)).select(None)


def test_runs_without_a_match_are_left_out_with_a_warning_unless_the_user_named_them(runs, caplog):
    def find(run):
        if run.name == "TS_02":
            raise NotInProjectError("Run TS_02", "score map", "predict", [])
        return run.name.lower()

    matches = keep_runs_with(runs, find, None)
    assert [(run.name, match) for run, match in matches] == [("TS_01", "ts_01"), ("TS_03", "ts_03")]
    assert "runs: Run TS_02 has no score map predict" in caplog.text
    with pytest.raises(NotInProjectError, match="TS_02"):
        keep_runs_with(runs, find, ["TS_01"])
    with pytest.raises(NotInProjectError, match="TS_02"):
        keep_runs_with(runs[1:2], find, None)


def test_a_segmentation_that_no_run_has_is_refused_with_those_that_exist(runs):
    assert find_segmentations(runs, []) == {}
    membrane = SegmentationQuery("membrane", "curation", "0")
    assert find_segmentations(runs, [str(membrane)]) == {"membrane": membrane}
    with pytest.raises(NotInProjectError, match=r"no segmentation membran:.*It has: membrane:"):
        find_segmentations(runs, [str(membrane), "membran:curation/0"])


def test_of_several_tomogram_types_those_to_train_on_must_be_named(runs):
    with pytest.raises(SettingError, match="several tomogram types: denoised, wbp"):
        select_training_tomograms(runs[0], tomo_types=None, voxel_spacings=[None])
    tomograms = select_training_tomograms(runs[0], tomo_types=["wbp"], voxel_spacings=[20.0])
    assert tomograms == [TomogramQuery("wbp", 20.0)]


def test_a_denoised_tomogram_is_shown_if_there_is_one(runs, files):
    assert tomogram_for_display(runs[0]) == TomogramQuery("denoised", 20.0)
    files.add_tomogram(files.noise())
    assert tomogram_for_display(files.run()) == TomogramQuery("wbp", 10.0)
    files.at(run="TS_2").mkdir()
    assert tomogram_for_display(files.run("TS_2")) is None
