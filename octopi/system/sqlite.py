"""SQLite files: whether one is a database, without writing to it."""

import contextlib
import sqlite3
from pathlib import Path


def check_sqlite(path: Path) -> None:
    """Raise sqlite3.DatabaseError for a file that is no database; write nothing."""
    if not path.is_file():
        return
    # one that another process has locked is waited for later
    with (
        contextlib.suppress(sqlite3.OperationalError),
        contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database,
    ):
        database.execute("SELECT name FROM sqlite_master").fetchall()
