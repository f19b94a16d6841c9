"""Tables as text, for logs."""

from rich.console import Console
from rich.table import Table

_WIDTH = 1000  # characters, so that no line is wrapped however long a name is


def format_table(table: Table, *, width: int = _WIDTH) -> str:
    """Format a table as text, its lines at most `width` characters long."""
    console = Console(width=width, color_system=None, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
