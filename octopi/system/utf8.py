"""UTF-8 for paths, files and the screen, whatever the locale says."""

import locale
import os
import sys
from pathlib import Path


def use_utf8() -> None:
    """Start this program again in Python's UTF-8 mode if its locale has another encoding.

    Python 3.15 is in that mode by default (PEP 686). Under an ASCII locale neither a path with an
    accent nor a message with an Å could be written. A program that only imports octopi goes on as
    it is; the processes that a command starts inherit the mode.
    """
    if sys.flags.utf8_mode or locale.getencoding().lower() == "utf-8" or not _runs_octopi():
        return
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _runs_octopi() -> bool:
    """Return whether this process is the console script, or `python -m octopi.VERB`."""
    main = sys.modules["__main__"]
    name = main.__spec__.name if main.__spec__ else Path(getattr(main, "__file__", "")).name
    return name.split(".")[0] == "octopi"
