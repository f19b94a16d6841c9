"""Tables of runs: a missing file is no empty one, and long lists are cut."""

from octopi.checks.tables import MAX_ROWS, annotation_table


def test_a_missing_file_is_no_empty_one():
    table = annotation_table({"TS_1": {"apo": 0}, "TS_2": {"apo": 3, "ribosome": 2}},
                             ["apo", "ribosome"])  # fmt: skip
    assert [line.split() for line in table.splitlines()] == [
        ["run", "apo", "ribosome"],
        ["TS_1", "empty", "not", "annotated"],
        ["TS_2", "3", "2"],
        ["all", "2", "3", "2"],
    ]


def test_many_runs_are_cut_and_all_are_in_the_totals():
    counts = {f"TS_{i}": {"apo": 1} for i in range(MAX_ROWS + 5)}
    lines = annotation_table(counts, ["apo"]).splitlines()
    assert len(lines) == MAX_ROWS + 3
    assert lines[-2] == "… 5 more"
    assert lines[-1].split() == ["all", str(MAX_ROWS + 5), str(MAX_ROWS + 5)]
