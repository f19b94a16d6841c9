"""SQLite files with the schema of another version of a program."""

import contextlib
import sqlite3
from pathlib import Path


def write_schema(path: Path, revision: str) -> None:
    """Write the revision of a schema into a database, as Alembic does."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(
            "drop table if exists alembic_version;"
            "create table alembic_version (version_num varchar(32));"
            f"insert into alembic_version values ('{revision}');"
        )
