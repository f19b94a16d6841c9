"""Hide passwords and keys in what is logged and stored."""

import logging
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from octopi.errors import SettingError

MASK = "***"
TRACKING_URI = "logger.tracking_uri"
TRACKER_ADDRESSES = ("tracking_uri", "artifact_location")  # keys of `logger`: where MLflow writes
TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"  # MLflow's own
_IN_ADDRESS = re.compile(r"(\w://[^\s:/@]*):[^\s/]+@")
_SECRET = r"[\w.-]*(?:password|passwd|secret|token|api_?key|access_?key)[\w-]*"
_SECRET_KEY = re.compile(_SECRET, re.IGNORECASE)
_ASSIGNED = re.compile(
    rf"((?:^|[\s?&+{{,'\"]){_SECRET}['\"]?\s*[=:]\s*['\"]?)[^\s&,}}'\"]+", re.IGNORECASE
)

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but those of lines and tabs


def mask_passwords(content: Any) -> Any:
    """Replace passwords and keys in the content (text, lists, mappings) by stars.

    They stand in addresses (`://USER:PASSWORD@`), after `password=`, and under such keys.
    """
    if isinstance(content, Mapping):
        return {
            key: MASK if value and _is_secret(key, value) else mask_passwords(value)
            for key, value in content.items()
        }
    if isinstance(content, list):
        return [mask_passwords(value) for value in content]
    if isinstance(content, str):
        return _ASSIGNED.sub(rf"\1{MASK}", _IN_ADDRESS.sub(rf"\1:{MASK}@", content))
    return content


def to_printable(text: str) -> str:
    """Return a text for the screen: without passwords, and with control characters as escapes.

    In the name of a file such characters would steer the terminal.
    """
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], mask_passwords(text))


def _is_secret(key: Any, value: Any) -> bool:
    return isinstance(value, str) and _SECRET_KEY.fullmatch(str(key)) is not None


class MaskingFormatter(logging.Formatter):
    """Formats a record as another formatter does, without passwords and control characters."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        """Format the record and its traceback."""
        return to_printable(self.formatter.format(record))


def with_passwords(config: Mapping[str, Any], typed_keys: Iterable[str], where: object) -> Any:
    """Return a stored config with the passwords that were left out of it.

    The address of the tracker comes from MLflow's own variable, if that differs in nothing else.

    Args:
        config: as it was stored.
        typed_keys: settings on the command line, which replace the stored ones.
        where: of the config, for the error.

    Raises:
        SettingError: a password is neither typed nor in the environment.
    """
    typed = tuple(typed_keys)

    def restore(value: Any, path: str) -> Any:
        if isinstance(value, Mapping):
            return {key: restore(item, f"{path}.{key}".lstrip(".")) for key, item in value.items()}
        if not isinstance(value, str) or MASK not in value:
            return value
        address = os.environ.get(TRACKING_VARIABLE)
        if path == TRACKING_URI and mask_passwords(address) == value:
            return address
        if any(f"{path}.".startswith(f"{key}.") for key in typed):
            return value
        advice = f" or set {TRACKING_VARIABLE}" if path == TRACKING_URI else ""
        raise SettingError(
            f"{path} is {value} in {where}, which keeps no passwords. Type it again ({path}=…)"
            f"{advice}."
        )

    return restore(config, "")
