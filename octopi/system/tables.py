"""Tables as text, for logs."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

_WIDTH = 1000  # characters, so that no line is wrapped however long a name is


def format_rows(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, to_the_right: bool = True
) -> str:
    """Format rows as text.

    Args:
        head: names of the columns.
        rows: cells of each row; a row may be shorter than the head.
        to_the_right: align all columns but the first to the right.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, name in enumerate(head):
        justify = "right" if number and to_the_right else "left"
        table.add_column(name, justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return format_table(table)


def format_table(table: Table, *, width: int = _WIDTH) -> str:
    """Format a table as text, its lines at most `width` characters long."""
    console = Console(width=width, color_system=None, markup=False, emoji=False, highlight=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
