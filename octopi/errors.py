"""The errors a user can act on, and the exit code that each error stands for."""

import difflib
import enum
import errno
import inspect
import os
import sysconfig
import traceback
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

MAX_LISTED = 5  # items of a list in a message, before it is cut short
MAX_LIST_LENGTH = 200  # characters of these items
MAX_ITEM_LENGTH = 80  # characters of a name or path in a list
MAX_MESSAGE_LENGTH = 600  # characters of a message that a person still reads


WHAT_IS_KEPT = (
    "What was finished is kept, nothing is half-written. The same command does the rest; a "
    "training whose first epoch had begun goes on with resume=FOLDER."
)


class ExitCode(enum.IntEnum):
    """How a command ended, as the shell sees it."""

    DONE = 0
    MISTAKE = 1  # in octopi itself
    SETTING = 2
    DATA = 3
    RESOURCE = 4
    DIVERGED = 5
    PARTS = 6  # of a sweep, or some of the runs
    LOCKED = 7
    INTERRUPTED = 128 + 2  # by SIGINT, Ctrl-C
    UNREAD = 128 + 13  # its output is a pipe that nobody reads any more
    HUNG_UP = 128 + 1  # by SIGHUP
    WARNED = 128 + 10  # by SIGUSR1
    TERMINATED = 128 + 15  # by SIGTERM; as after the others, what is finished is kept


class OctopiError(Exception):
    """Something the user can mend; its text says what was asked, what is there, what to do."""

    exit_code: int = ExitCode.MISTAKE


class SettingError(OctopiError, ValueError):
    """A setting, name or option that cannot be used."""

    exit_code = ExitCode.SETTING


class DataError(OctopiError):
    """Data in the project that is missing, damaged or does not fit together."""

    exit_code = ExitCode.DATA


class NotInProjectError(DataError, LookupError):
    """Something requested of a project or run that it does not contain.

    Args:
        where: the project or run.
        kind: of what was requested.
        requested: its name.
        available: the names of those that are there.
        cure: what to do, in a sentence.
    """

    def __init__(
        self, where: str, kind: str, requested: object, available: Iterable[object], cure: str = ""
    ) -> None:
        # its arguments are kept as they are, so that it can come from another process
        names = tuple(dict.fromkeys(map(str, available)))
        super().__init__(where, kind, str(requested), names, cure)

    def __str__(self) -> str:
        where, kind, requested, available, cure = self.args
        length = MAX_LIST_LENGTH - len(cure)  # so that the message stays short
        listed = shorten_list(available, closest_to=requested, list_length=length)
        return (
            f"{shorten(where)} has no {kind} {shorten(requested)}."
            f"{did_you_mean(requested, available)} It has: {listed or 'none'}. {cure}"
        ).rstrip()


class ResourceError(OctopiError):
    """Too little memory or disk, a folder that cannot be written, a device that is missing."""

    exit_code = ExitCode.RESOURCE


class NoAnswerError(ResourceError):
    """A server that does not answer or fails: whatever else it stores cannot be read either."""


class DivergedError(OctopiError):
    """A loss, a weight or a statistic of a training that is not a number."""

    exit_code = ExitCode.DIVERGED


class SweepError(OctopiError):
    """A search or cross-validation that ended without a usable result."""

    exit_code = ExitCode.PARTS


class LockedError(OctopiError):
    """A folder that another process works in."""

    exit_code = ExitCode.LOCKED


def shorten_list(
    items: Iterable[object],
    separator: str = ", ",
    *,
    closest_to: object = "",
    item_length: int = MAX_ITEM_LENGTH,
    list_length: int = MAX_LIST_LENGTH,
) -> str:
    """Join items for a message; of a long list, join a few and count the others.

    Args:
        items: to list.
        separator: between them.
        closest_to: what was requested; of a long list the most similar items come first.
        item_length: characters of an item, of which a longer one loses its middle.
        list_length: characters of all items that are shown.
    """
    texts = [shorten(item, item_length) for item in items]
    if closest_to and len(texts) > MAX_LISTED:
        near = closest_matches(str(closest_to), texts, number=MAX_LISTED, cutoff=0.4)
        texts = list(dict.fromkeys([*near, *texts]))
    shown = texts[:MAX_LISTED]
    while len(shown) > 1 and sum(map(len, shown)) > list_length:
        shown.pop()
    more = [f"… and {len(texts) - len(shown)} more"] if len(shown) < len(texts) else []
    return separator.join([*shown, *more])


def shorten(text: object, length: int = MAX_ITEM_LENGTH) -> str:
    """Return the text, without its middle if it is longer than so many characters."""
    text = str(text)
    if len(text) <= length:
        return text
    tail = length // 3
    return f"{text[: length - tail - 3]} … {text[-tail:]}"


class StoppedBySignal(BaseException):
    """A signal that ended the work after everything worth keeping was written."""

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


# That a disk or quota is full, or a file larger than `ulimit -f` allows.
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# That a path is that of something else, or none that this disk can have.
PATH_ERRNOS = frozenset(
    {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTEMPTY}
)
# That the machine gives nobody more of what is asked for; EROFS: of a disk, such as /dev/shm.
_EXHAUSTED = frozenset({*DISK_FULL, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_RESOURCE_ERRNOS = {
    *_EXHAUSTED,
    errno.EIO,
    errno.ESTALE,
    errno.EACCES,
    errno.EPERM,
    *PATH_ERRNOS,
}
_PACKAGE = str(Path(__file__).parent) + os.sep
_LIBRARIES = (*(path + os.sep for path in set(sysconfig.get_paths().values())), "<")
# Settings of other programs, and what they are called here.
SYNONYMS = {
    "batch_size": "crops_per_step",
    "config": "project.config",
    "epochs": "max_epochs",
    "learning_rate": "lr",
    "num_epochs": "max_epochs",
    "patch_size": "crop_size",
}


def exit_code_of(error: BaseException) -> int:
    """Return the exit code that an error stands for."""
    code: int = ExitCode.MISTAKE
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else ExitCode.SETTING
    elif isinstance(error, OctopiError | StoppedBySignal):
        code = error.exit_code
    elif (
        type(error).__module__.partition(".")[0] in ("hydra", "omegaconf")
        or type(error).__name__ == "MisconfigurationException"  # of Lightning
    ):
        code = ExitCode.SETTING  # this module imports none of them, so that it stays light
    elif isinstance(error, KeyboardInterrupt):
        code = ExitCode.INTERRUPTED
    elif isinstance(error, BrokenPipeError):
        code = ExitCode.UNREAD
    elif (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno in _RESOURCE_ERRNOS)
        or is_without_tmpdir(error)
        or is_database_error(error)
        or "out of memory" in str(error).lower()
    ):
        code = ExitCode.RESOURCE
    elif users_code(error):
        code = ExitCode.SETTING
    return code


def describe_error(error: BaseException) -> str:
    """Return the type of an error and the first line of its text."""
    text = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{type(error).__name__}: {text}".removesuffix(": ")


def users_code(error: BaseException) -> traceback.FrameSummary | None:
    """Return where an error came from a class or function of the user; None for octopi's own.

    That is the innermost code which is of no library, and which octopi has called.
    """
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(_PACKAGE) or not _is_library(frame.filename)
    ]
    is_users = [not frame.filename.startswith(_PACKAGE) for frame in own]
    return own[-1] if is_users and is_users[-1] and not all(is_users) else None


def place_in_users_code(error: BaseException, obj: object = None) -> str:
    """Return the file and line of the user's in which an error arose, as " in FILE, line N".

    Args:
        error: that was caught.
        obj: object of the user that the error is about, where none of its lines raised it.
    """
    if frame := users_code(error):
        return f" in {shorten(frame.filename, 160)}, line {frame.lineno}"
    return users_definition(obj)


def users_definition(obj: object) -> str:
    """Return where a user defined a function or an object's class; "" of what a library defines."""
    obj = getattr(obj, "func", obj)  # of a partial
    code = getattr(obj, "__code__", None)
    try:
        path = code.co_filename if code else inspect.getsourcefile(type(obj))
        line = code.co_firstlineno if code else inspect.getsourcelines(type(obj))[1]
    except (OSError, TypeError):
        return ""
    is_own = path and not path.startswith(_PACKAGE) and not _is_library(path)
    return f" in {shorten(path, 160)}, line {line}" if is_own else ""


def _is_library(path: str) -> bool:
    return path.startswith(_LIBRARIES) or "site-packages" in path


def is_without_tmpdir(error: BaseException) -> bool:
    """Return whether Python found no folder for temporary files that can be written."""
    return isinstance(error, FileNotFoundError) and "temporary directory" in str(error)


def is_database_error(error: BaseException) -> bool:
    """Return whether the database of a study failed, such as one that stays locked."""
    is_of_optuna = type(error).__name__ == "StorageInternalError"
    return is_of_optuna or type(error).__module__.startswith("sqlalchemy.")


def is_exhaustion(error: BaseException) -> bool:
    """Return whether the machine lacks memory, disk or open files, whoever asked for them."""
    return isinstance(error, MemoryError) or getattr(error, "errno", None) in _EXHAUSTED


def is_interruption(error: BaseException) -> bool:
    """Return whether a signal ended the work, so that it can go on later."""
    return exit_code_of(error) > 128  # as shells count: 128 and the signal's number


def closest_matches(
    requested: str, choices: Sequence[str], *, number: int, cutoff: float
) -> list[str]:
    """Return the choices most similar to a text, long ones by their beginnings and ends."""
    short = {shorten(choice): choice for choice in choices}
    near = difflib.get_close_matches(shorten(requested), short, n=number, cutoff=cutoff)
    return [short[text] for text in near]


def did_you_mean(requested: str, choices: Iterable[str]) -> str:
    """Return a sentence that names the closest choices, after a blank; empty if none is close."""
    choices = list(choices)
    if SYNONYMS.get(requested) in choices:
        close = [SYNONYMS[requested]]
    else:
        close = closest_matches(requested, choices, number=3, cutoff=0.6)
    if not close:
        return ""
    alike = [choice for choice in close if _looks_like(choice, requested)]
    hint = " It only looks the same: its letters are other characters. Copy it." if alike else ""
    return f" Did you mean {' or '.join(map(shorten, alike or close))}?{hint}"


def _looks_like(one: str, other: str) -> bool:
    """Return whether two texts differ only in how Unicode writes their letters."""
    return unicodedata.normalize("NFKC", one) == unicodedata.normalize("NFKC", other)
