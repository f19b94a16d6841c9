import pytest

from octopi.errors import NotInProjectError, SettingError
from octopi.project import open_project
from octopi.project.queries import PicksQuery, SegmentationQuery, TomogramQuery
from octopi.project.selection import (
    choose_pick_sets,
    choose_picks,
    find_segmentations,
    is_annotation,
    keep_runs_with,
    select_training_tomograms,
    tomogram_for_display,
)

EXISTING = {
    PicksQuery.parse(text)
    for text in (
        "ribosome:curation/0", "ribosome:octopi/1", "virus:octopi/1", "ribosome:curator/1",
        "virus:curator-rejected/1", "ribosome:curator-rejected/1",
    )
}  # fmt: skip


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


def choose(source, *, rejected=None, objects=None):
    """Return the sets of each object, and its rejected places, as text."""
    chosen = choose_pick_sets(EXISTING, objects=objects, source=source, rejected=rejected)
    return tuple({name: str(sets) for name, sets in of_each.items()} for of_each in chosen)


def test_two_sets_of_picks_of_one_object_are_refused_where_neither_is_named():
    with pytest.raises(SettingError, match=r"more than one set of picks of ribosome: .*curation/0"):
        choose_picks(EXISTING, objects=["ribosome"], source=None)
    with pytest.raises(SettingError, match="more than one set of picks of ribosome"):
        choose(None)


@pytest.mark.parametrize(
    ("source", "sets"),
    [
        ("octopi/1", {"ribosome": "ribosome:octopi/1", "virus": "virus:octopi/1"}),
        ("ribosome:octopi/1", {"ribosome": "ribosome:octopi/1"}),
        (["ribosome:octopi/1"], {"ribosome": "ribosome:octopi/1"}),
        (
            ["octopi/1", "curator/1"],
            {"ribosome": "ribosome:octopi/1 + ribosome:curator/1", "virus": "virus:octopi/1"},
        ),
        (
            ["ribosome:curator/1", "octopi/1"],
            {"ribosome": "ribosome:curator/1 + ribosome:octopi/1", "virus": "virus:octopi/1"},
        ),
    ],
)
def test_sets_are_named_for_all_objects_or_for_one_in_their_order(source, sets):
    assert choose(source) == (sets, {})


def test_only_the_objects_that_are_named_are_chosen():
    sets = choose(["octopi/1", "curator/1"], objects=["ribosome"], rejected="curator-rejected/1")
    assert sets == (
        {"ribosome": "ribosome:octopi/1 + ribosome:curator/1"},
        {"ribosome": "ribosome:curator-rejected/1"},
    )


@pytest.mark.parametrize(
    ("source", "rejected", "message"),
    [
        (["octopi/1", "nobody/1"], None, "no picks nobody/1"),
        (["octopi/1", "virus:curator/1"], None, "no picks virus:curator/1"),
        ("octopi/1", "nobody-rejected/1", "no picks nobody-rejected/1"),
        (["octopi/1", "octopi/1"], None, "ribosome:octopi/1 are named twice"),
        (["octopi/1", "virus:octopi/1"], None, "virus:octopi/1 are named twice"),
        ("octopi/1", ["curator/1", "curator/1"], "ribosome:curator/1 are named twice"),
        (["octopi/1", "curator/1"], "curator/1", "ribosome:curator/1 cannot be both"),
        ("curator/1", "virus:curator-rejected/1", "Places of virus are rejected, of which"),
        (["octopi"], None, "'octopi' does not name picks"),
        (["a/b/c"], None, "'a/b/c' does not name picks"),
        (["ribosome:octopi"], None, "'ribosome:octopi' does not name picks"),
        ("octopi/1", "[curator-rejected/1]", "no picks"),
    ],
)
def test_what_cannot_be_meant_is_refused(source, rejected, message):
    with pytest.raises((NotInProjectError, SettingError), match=message):
        choose(source, rejected=rejected)


def test_an_object_that_is_named_must_be_in_one_of_the_sets():
    with pytest.raises(NotInProjectError, match="no picks of virus by curator/1, curation/0"):
        choose(["curator/1", "curation/0"], objects=["virus"])


@pytest.mark.parametrize(
    ("user", "source", "counts"),
    [
        ("anna", None, True),
        ("octopi", None, False),
        ("anna-rejected", None, False),
        ("anna-rejected", "anna-rejected/1", True),
        ("octopi", "octopi/1", True),
        ("octopi", ["anna/1", "ribosome:octopi/1"], True),
        ("octopi", ["anna/1", "virus:octopi/1"], False),
        ("anna", "octopi/1", False),
    ],
)
def test_picks_of_octopi_and_rejected_places_count_as_truth_only_where_they_are_requested(
    user, source, counts
):
    assert is_annotation(PicksQuery("ribosome", user, "1"), source) == counts
