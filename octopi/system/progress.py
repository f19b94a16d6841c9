"""How far the work is: a bar on a terminal, elsewhere a line of the log now and then."""

import logging
import sys
import time
from typing import Any

from tqdm import tqdm

logger = logging.getLogger(__name__)

INTERVAL = 60.0  # seconds between lines of the log
_LINE = "{desc}: {n_fmt} of {total_fmt} {unit}s, {rate_fmt}, {remaining} left"


def shows_bars() -> bool:
    """Return whether a person sees a bar that is drawn again and again: a terminal, a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


class ProgressBar(tqdm):
    """tqdm's bar where bars are shown; else a line of the log, at most one a minute.

    Args:
        args: of tqdm.
        desc: what is done.
        options: of tqdm.
    """

    def __init__(self, *args: Any, desc: str, **options: Any) -> None:
        if not shows_bars():
            options |= {"file": _LogLines(), "mininterval": INTERVAL, "bar_format": _LINE}
        super().__init__(*args, desc=desc, **options)


class _LogLines:
    """A file for tqdm that logs what it is given, at most once in a while."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self._next = time.monotonic() + INTERVAL

    def write(self, text: str) -> None:
        """Log the text, unless a line was logged a short while ago."""
        line = text.strip()
        if line and time.monotonic() >= self._next:
            self._next = time.monotonic() + INTERVAL
            logger.info("%s", line)

    def flush(self) -> None:
        """Do nothing: the log is written at once."""
