"""Tables of what runs hold: aligned text, of the first runs only where there are many."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

MAX_ROWS = 20
_WIDTH = 1000  # characters, so that no line is wrapped however long a name is

Counts = Mapping[str, Mapping[str, int]]  # run name -> object name -> number of its picks


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]], totals: Sequence[str]) -> str:
    """Format rows as aligned text; say how many are left out, and end with the totals."""
    table = Table(*head, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for row in rows[:MAX_ROWS]:
        table.add_row(*row)
    if len(rows) > MAX_ROWS:
        table.add_row(f"… {len(rows) - MAX_ROWS} more")
    table.add_row(*totals)
    console = Console(width=_WIDTH, color_system=None, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


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
    return format_table(["run", *object_names], rows, totals)
