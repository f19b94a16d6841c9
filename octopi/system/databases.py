"""Databases: whether a URL names one that can be opened, and of which schema a file is."""

import contextlib
import importlib.util
import re
import sqlite3
from pathlib import Path

from octopi.errors import SettingError, shorten
from octopi.system.passwords import mask_passwords

INSTALL_DRIVER = (
    "Install the driver of this database beside octopi, such as: pip install 'psycopg[binary]' or "
    "pip install pymysql"
)


def check_database_url(key: str, url: str) -> None:
    """Check that a URL is one of a database, and that its driver is installed; connect to none.

    Args:
        key: the setting whose value it is.
        url: such as `postgresql://USER@HOST/DATABASE`.

    Raises:
        SettingError: it is not; names no password.
    """
    import sqlalchemy.exc  # noqa: PLC0415  takes long, and few commands need it

    shown = f"{key}={shorten(mask_passwords(url), 200)}"
    try:
        address = sqlalchemy.make_url(url)
        dialect = address.get_dialect()
        dialect.import_dbapi()
        dialect().create_connect_args(address)
    except (ValueError, sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError) as error:
        raise SettingError(
            f"{shown} names no database. Type sqlite:///FILE, postgresql://USER@HOST/DATABASE or "
            "mysql+pymysql://USER@HOST/DATABASE, or leave it out."
        ) from error
    except ImportError as error:
        raise SettingError(f"{shown}: {error}. {INSTALL_DRIVER}") from error


def check_sqlite(path: Path) -> None:
    """Raise sqlite3.DatabaseError for a file that is no database; write nothing."""
    _query(path, "SELECT name FROM sqlite_master")


def find_other_schema(path: Path, package: str, folder: str) -> tuple[str, bool] | None:
    """Return the schema of a SQLite file, unless it is that of a package installed here.

    Args:
        path: of the file, which need not exist.
        package: such as `mlflow`, which is not imported.
        folder: of the package, with its migrations by Alembic.

    Returns:
        The revision, and whether the package knows it, as one older than its own; None for that
        of the package, and where the file names none.
    """
    has_schema = "SELECT name FROM sqlite_master WHERE name = 'alembic_version'"
    if not _query(path, has_schema):
        return None
    stored = _query(path, "SELECT version_num FROM alembic_version")
    known, replaced = _revisions(package, folder)
    if not stored or not known or stored[0][0] in known - replaced:
        return None
    return str(stored[0][0]), stored[0][0] in known


def _revisions(package: str, folder: str) -> tuple[set[str], set[str]]:
    """List all revisions of a package's schema, and those that another one has replaced."""
    spec = importlib.util.find_spec(package)
    parents = spec.submodule_search_locations if spec else None
    known: set[str] = set()
    replaced: set[str] = set()
    for path in Path(parents[0], folder).glob("*.py") if parents else ():
        text = path.read_text(encoding="utf-8")
        for key, revisions in (("revision", known), ("down_revision", replaced)):
            values = re.findall(rf"^{key}\b.*?=(.*)$", text, re.MULTILINE)
            revisions.update(re.findall(r"[\"']([^\"']+)[\"']", " ".join(values)))
    return known, replaced


def _query(path: Path, statement: str) -> list[tuple]:
    """Return the rows of a query; none where there is no file."""
    if not path.is_file():
        return []
    # one that another process has locked is waited for later
    with (
        contextlib.suppress(sqlite3.OperationalError),
        contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database,
    ):
        return database.execute(statement).fetchall()
    return []
