"""What is no database is refused, and nothing is written to one."""

import contextlib
import sqlite3

import pytest

from octopi.errors import SettingError
from octopi.system.databases import check_database_url, check_sqlite


@pytest.fixture
def database(tmp_path):
    """A database of several pages."""
    path = tmp_path / "study.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE a (b)")
        connection.executemany("INSERT INTO a VALUES (?)", [("text" * 500,)] * 50)
        connection.commit()
    return path


def test_a_database_an_empty_file_and_none_pass_untouched(database):
    before = database.read_bytes()
    check_sqlite(database)
    assert database.read_bytes() == before
    database.write_bytes(b"")
    check_sqlite(database)
    check_sqlite(database.with_name("absent.db"))
    assert [path.name for path in database.parent.iterdir()] == [database.name]


def test_text_and_a_database_that_was_cut_off_are_refused(database):
    content = database.read_bytes()
    for damaged in (b"{}" * 99, content[: len(content) // 2]):
        database.write_bytes(damaged)
        with pytest.raises(sqlite3.DatabaseError):
            check_sqlite(database)


def test_a_locked_database_is_left_to_whoever_waits_for_it(database):
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        check_sqlite(database)


@pytest.mark.parametrize(
    ("url", "cure"),
    [
        ("study.db", "Type sqlite:///FILE"),
        ("sqlite://study.db", "Type sqlite:///FILE"),
        ("redis://lab:hunter2@localhost:6379", "Type sqlite:///FILE"),
        ("postgresql://lab:hunter2@db:port/octopi", "Type sqlite:///FILE"),
        ("mysql+pymysql://lab:hunter2@db/octopi", "pip install pymysql"),
    ],
)
def test_a_url_of_no_database_or_without_its_driver_is_refused(url, cure):
    with pytest.raises(SettingError, match=rf"storage=.*{cure}") as refused:
        check_database_url("storage", url)
    assert "hunter2" not in str(refused.value)
    check_database_url("storage", "sqlite:///study.db")
