"""Tables of what runs hold: aligned text, of the first runs only where there are many."""

from collections.abc import Mapping, Sequence

from octopi.system import tables

MAX_ROWS = 20

Counts = Mapping[str, Mapping[str, int]]  # run name -> object name -> number of its picks


def format_with_totals(
    head: Sequence[str], rows: Sequence[Sequence[str]], totals: Sequence[str]
) -> str:
    """Format rows as aligned text; say how many are left out, and end with the totals."""
    left_out = [[f"… {len(rows) - MAX_ROWS} more"]] if len(rows) > MAX_ROWS else []
    shown = [*rows[:MAX_ROWS], *left_out, totals]
    return tables.format_rows(head, shown, to_the_right=False)


def format_counts(counts: Mapping[str, int], object_names: Sequence[str]) -> list[str]:
    """Say how many picks a run has of each object; an empty file is not a missing one."""
    return [
        "not annotated" if name not in counts else str(counts[name] or "empty")
        for name in object_names
    ]


def total_counts(counts: Counts, object_names: Sequence[str]) -> list[str]:
    """Sum up the picks of each object in all runs."""
    return [str(sum(of_run.get(name, 0) for of_run in counts.values())) for name in object_names]


def annotation_table(counts: Counts, object_names: Sequence[str]) -> str:
    """Format how many picks each run has of each object, and which are not annotated there."""
    rows = [[run, *format_counts(of_run, object_names)] for run, of_run in counts.items()]
    totals = [f"all {len(counts)}", *total_counts(counts, object_names)]
    return format_with_totals(["run", *object_names], rows, totals)
