import pytest

from octopi.errors import NotInProjectError, SettingError
from octopi.project.picks_selection import choose_pick_sets, choose_picks, is_annotation
from octopi.project.queries import PicksQuery

EXISTING = {
    PicksQuery.parse(text)
    for text in (
        "ribosome:curation/0", "ribosome:octopi/1", "virus:octopi/1", "ribosome:curator/1",
        "virus:curator-rejected/1", "ribosome:curator-rejected/1",
    )
}  # fmt: skip


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
