import contextlib

import pytest

from octopi.errors import SettingError
from octopi.project.queries import (
    PicksQuery,
    SegmentationQuery,
    TomogramQuery,
    check_file_name,
    check_name,
    check_run_name,
)


def test_queries_read_as_in_copick_uris():
    assert str(TomogramQuery("wbp", 10.012)) == "wbp@10.012"
    assert str(PicksQuery("ribosome", "data-portal", "1")) == "ribosome:data-portal/1"
    assert str(SegmentationQuery("targets", "octopi", "1")) == "targets:octopi/1"
    assert str(SegmentationQuery("targets", "octopi", "1", 10.0)) == "targets:octopi/1@10.0"


@pytest.mark.parametrize("text", ["ribosome:data-portal/1", "a:b/c"])
def test_picks_parse_back(text):
    assert str(PicksQuery.parse(text)) == text


@pytest.mark.parametrize("text", ["targets:octopi/1", "targets:octopi/1@10.012"])
def test_segmentations_parse_back(text):
    assert str(SegmentationQuery.parse(text)) == text


@pytest.mark.parametrize("text", ["", "ribosome", "ribosome:me", "a:b/c/d", "a b:c/d"])
def test_a_text_that_names_no_picks_is_refused_with_an_example(text):
    with pytest.raises(SettingError, match="object:user/session"):
        PicksQuery.parse(text)


@pytest.mark.parametrize("text", ["targets", "t:o/1@", "t:o/1@ten", "t:o/1@1.2.3", "t:o/1@0"])
def test_a_text_that_names_no_segmentation_is_refused(text):
    with pytest.raises(SettingError, match="name:user/session"):
        SegmentationQuery.parse(text)


@pytest.mark.parametrize("name", ["octopi", "1", "unet-tversky", "v1.2", "A9"])
def test_a_legal_name_is_returned(name):
    assert check_name("user_id", name) == name


@pytest.mark.parametrize(
    ("name", "legal"),
    [
        ("unet_tversky", "unet-tversky"),
        ("my run", "my-run"),
        ("../../x", "x"),
        ("a/b", "a-b"),
        (".hidden", "hidden"),
        ("a..b", "a.b"),
        ("-a-", "a"),
        ("protéine", "proteine"),
    ],
)
def test_a_name_copick_would_change_is_refused_with_its_legal_spelling(name, legal):
    with pytest.raises(SettingError, match=f"Use '{legal}'"):
        check_name("user_id", name)


@pytest.mark.parametrize("name", ["", "🐙", "..", "///"])
def test_a_name_without_a_legal_spelling_is_refused(name):
    with pytest.raises(SettingError, match="starts with a letter or a digit"):
        check_name("user_id", name)


def test_a_name_too_long_for_a_file_is_refused():
    with pytest.raises(SettingError, match="up to 64"):
        check_name("user_id", "a" * 300)


@pytest.mark.parametrize(("object_name", "is_short"), [("Ü" * 56, True), ("Ü" * 57, False)])
def test_picks_whose_files_no_disk_takes_are_refused(object_name, is_short):
    query = PicksQuery(object_name, "u" * 64, "s" * 64)  # 64 + 64 + 2, .json.octopi
    refused = pytest.raises(SettingError, match=r"bytes.*shorter user_id or session_id")
    with contextlib.nullcontext() if is_short else refused:
        check_file_name(query)


@pytest.mark.parametrize("name", ["TS_01", "run.2-b", "9"])
def test_a_run_may_have_an_underscore(name):
    assert check_run_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "../../x", "a/b", ".hidden", "x" * 65, "🐙", "a b", "-rf", "a..b", "a\n"]
)
def test_a_run_name_that_is_a_path_or_hidden_or_odd_is_refused(name):
    with pytest.raises(SettingError, match="No run can be called"):
        check_run_name(name)
