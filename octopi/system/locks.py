"""File locks that end with the process that holds them, however it ends."""

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from octopi.errors import LockedError

logger = logging.getLogger(__name__)
_NOT_SUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


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


@contextlib.contextmanager
def lock_names(path: Path, names: Iterable[str], advice: str) -> Iterator[None]:
    """Keep other processes from the same names while the block runs; each is a byte of the file.

    Such locks also hold between machines that share the folder by NFS.

    Args:
        path: of the file, which stays empty.
        names: what is written.
        advice: what to do while another process writes one of them.

    Raises:
        LockedError: another process has locked one of the names.
    """
    with path.open("a", encoding="utf-8") as file:
        for name in names:
            position = int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "little")
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, position)
            except OSError as error:
                if error.errno in _NOT_SUPPORTED:
                    logger.warning("%s cannot be locked: write from one process only.", path.parent)
                    break
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                raise LockedError(f"Another process is writing {name}. {advice}") from error
        yield


def check_not_locked(folder: Path) -> None:
    """Raise LockedError if another process works in the folder."""
    if is_locked(folder / ".lock"):
        raise _locked_error(folder)


def _locked_error(folder: Path) -> LockedError:
    owner = (folder / ".lock").read_text(encoding="utf-8") or "another process"
    return LockedError(
        f"{folder} is in use by {owner}. Wait for it, or choose another folder with hydra.run.dir=…"
    )
