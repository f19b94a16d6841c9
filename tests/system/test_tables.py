"""Tables are aligned, and no line of them is wrapped."""

from octopi.system.tables import format_rows


def test_columns_are_aligned_and_short_rows_filled_up():
    rows = [["a", "1"], ["bb", "12.5"], ["more"]]
    assert format_rows(["", "n"], rows) == "         n\na        1\nbb    12.5\nmore"
    assert format_rows(["x", "n"], rows, to_the_right=False).splitlines()[2] == "bb    12.5"


def test_a_long_name_is_not_wrapped_and_no_markup():
    name = "[bold]:x:" + "x" * 300  # :x: is a picture to rich
    assert format_rows(["object"], [[name]]).splitlines() == ["object", name]
