"""The errors a user can act on, each with the exit code of the command that meets it."""

import difflib
from collections.abc import Iterable

MAX_LISTED = 5  # items of a list in a message, before it is cut short


class OctopiError(Exception):
    """Something the user can mend; its text says what was asked, what is there, what to do."""

    exit_code = 1


class SettingError(OctopiError, ValueError):
    """A setting, name or option that cannot be used."""

    exit_code = 2


class DataError(OctopiError):
    """Data in the project that is missing, damaged or does not fit together."""

    exit_code = 3


class NotInProjectError(DataError, LookupError):
    """Something asked of a project or run that it does not hold."""

    def __init__(
        self, where: str, kind: str, requested: object, available: Iterable[object]
    ) -> None:
        # its arguments are kept as they are, so that it can come from another process
        super().__init__(where, kind, str(requested), tuple(dict.fromkeys(map(str, available))))

    def __str__(self) -> str:
        where, kind, asked, choices = self.args
        return (
            f"{where} has no {kind} {asked}.{did_you_mean(asked, choices)} "
            f"It has: {', '.join(choices) or 'none'}."
        )


class ResourceError(OctopiError):
    """Too little memory or disk, a folder that cannot be written, a device that is not there."""

    exit_code = 4


class DivergedError(OctopiError):
    """Training met a loss, a weight or a statistic that is not a number."""

    exit_code = 5


class SweepError(OctopiError):
    """A search or cross-validation that ended without a usable result."""

    exit_code = 6


class LockedError(OctopiError):
    """A folder that another process works in."""

    exit_code = 7


def did_you_mean(asked: str, choices: Iterable[str]) -> str:
    """A sentence naming the closest choices, with a leading blank; empty where none is close."""
    close = difflib.get_close_matches(asked, list(choices), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def shorten_list(items: Iterable[object], separator: str = ", ") -> str:
    """Join items for a message; of a long list, join the first five and count the others."""
    texts = [str(item) for item in items]
    if len(texts) > MAX_LISTED:
        texts[MAX_LISTED:] = [f"… and {len(texts) - MAX_LISTED} more"]
    return separator.join(texts)


class StoppedBySignal(BaseException):
    """A signal ended the work after everything worth keeping was written."""

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code
