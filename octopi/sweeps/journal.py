"""The journal of a search's study: a file of JSON lines that survives killed writers."""

import json
import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.storages.journal._file import get_lock_file

from octopi.system.files import staged

logger = logging.getLogger(__name__)

JOURNAL = "journal.log"


class Journal(JournalFileBackend):
    """Optuna's journal, except that a line torn by a killed writer is cut off before the next.

    Optuna itself appends after a torn line, and can read no line from there on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        lock = JournalFileSymlinkLock(str(path))
        super().__init__(str(path), lock_obj=lock)
        with get_lock_file(lock):
            repair(path)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append logs and wait until they are on the disk."""
        with get_lock_file(self._lock):
            cut_torn_line(self.path)
            lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
            with self.path.open("ab") as file:
                file.write(lines.encode())
                file.flush()
                os.fsync(file.fileno())


def cut_torn_line(path: Path) -> None:
    """Cut off a last line that has no end, after a backup of the file."""
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return
        back_up(path)
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def repair(path: Path) -> None:
    """Remove every line that is not JSON, after a backup of the file."""
    cut_torn_line(path)
    lines = path.read_bytes().splitlines(keepends=True)
    readable = [line for line in lines if _is_json(line)]
    if len(readable) < len(lines):
        back_up(path)
        with staged(path) as stage:
            stage.write_bytes(b"".join(readable))


def back_up(path: Path) -> None:
    """Copy the journal to a file beside it, and log a warning."""
    copy = path.with_name(f"{path.name}.backup-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
    shutil.copy2(path, copy)
    logger.warning("A line of %s was torn: it is mended, the old file is %s.", path, copy.name)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
