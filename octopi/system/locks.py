"""File locks that end with the process that holds them, however it ends."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from octopi.errors import LockedError


def try_lock(path: Path) -> IO[str] | None:
    """Lock a file, or return None where another process has locked it.

    The lock ends when the file is closed here and in all children that inherited it.
    """
    file = _open(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def is_locked(path: Path) -> bool:
    """Return whether a living process holds the lock."""
    if not path.exists():
        return False
    file = try_lock(path)
    if file is None:
        return True
    file.close()
    return False


@contextlib.contextmanager
def wait_for_lock(path: Path) -> Iterator[None]:
    """Hold a lock in the block; wait until it is free."""
    with _open(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _open(path: Path) -> IO[str]:
    """Open a lock file, which is made where it is missing; a link in its place is not followed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    return os.fdopen(descriptor, "a+", encoding="utf-8")


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder while the block runs.

    Raises:
        LockedError: another process works there; its message names it.
    """
    path = folder / ".lock"
    file = try_lock(path)
    if file is None:
        raise _locked_error(folder)
    with file:
        file.truncate(0)
        file.write(
            f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T')}"
        )
        file.flush()
        yield


def folder_owner(folder: Path) -> str | None:
    """Say which process works in a folder; return None where none does."""
    path = folder / ".lock"
    return (path.read_text(encoding="utf-8") or "another process") if is_locked(path) else None


def check_not_locked(folder: Path) -> None:
    """Raise LockedError if another process works in the folder."""
    if is_locked(folder / ".lock"):
        raise _locked_error(folder)


def _locked_error(folder: Path) -> LockedError:
    owner = folder_owner(folder) or "another process"
    return LockedError(
        f"{folder} is in use by {owner}. Wait for it, or choose another folder with hydra.run.dir=…"
    )
