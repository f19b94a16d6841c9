"""Write, read and compose the overrides of a command line."""

import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from octopi.config.files import CONF_DIR
from octopi.errors import SettingError


class Interpolation(str):
    """Text in which `${…}` refers to another setting."""

    __slots__ = ()


def override_text(key: str, value: Any) -> str:
    """Return the override that gives a setting this value, whatever characters it is made of."""
    return f"{key}={hydra_literal(value, key)}"


def hydra_literal(value: Any, key: str) -> str:
    """Return the value as text that Hydra reads back as the same value.

    Args:
        value: a number, text, None, or lists and mappings of them.
        key: the setting, for errors.

    Raises:
        SettingError: the value cannot be written as an override.
    """
    from hydra.core.override_parser.types import Quote, QuotedString  # noqa: PLC0415  slow

    value = to_builtin_types(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        text = str(value)
        if not isinstance(value, Interpolation):
            text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
        return QuotedString(text, Quote.single).with_quotes()
    if isinstance(value, list):
        return f"[{','.join(hydra_literal(item, key) for item in value)}]"
    if isinstance(value, dict):
        items = (f"{_dict_key(k, key)}:{hydra_literal(v, key)}" for k, v in value.items())
        return f"{{{','.join(items)}}}"
    raise SettingError(f"{key} cannot be {value!r}: settings are numbers, text, lists of them.")


def _dict_key(name: str, key: str) -> str:
    """Return the key of a mapping; Hydra has no quotes for it, only backslashes for some signs."""
    if not re.fullmatch(r"[\w\-/+.$%*@?| \\(){}\[\]:=,]+", name, re.ASCII) or name != name.strip():
        raise SettingError(f"{key}: the name {name!r} cannot be written as a setting.")
    return re.sub(r"([\\(){}\[\]:=, ])", r"\\\1", name)


def to_builtin_types(value: Any) -> Any:
    """Return the value as the types of YAML where it has such a form; else the value itself."""
    if hasattr(value, "tolist"):  # of NumPy and torch
        value = value.tolist()
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): to_builtin_types(v) for k, v in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [to_builtin_types(item) for item in value]
    return value


def compose_config(verb: str, overrides: Sequence[str]) -> Any:
    """Compose the config of a command, with Hydra's own part; write nothing.

    What else Hydra is doing in this process goes on afterwards.
    """
    from hydra import compose, initialize_config_dir  # noqa: PLC0415  slow to import
    from hydra.core.global_hydra import GlobalHydra  # noqa: PLC0415
    from hydra.core.utils import JobRuntime  # noqa: PLC0415

    instance, runtime = GlobalHydra.instance(), JobRuntime.instance()
    busy, job_name = instance.hydra, runtime.get("name")
    instance.clear()
    try:
        with initialize_config_dir(str(CONF_DIR), job_name=verb):
            return compose(verb, overrides=list(overrides), return_hydra_config=True)
    finally:
        instance.hydra = busy
        GlobalHydra.set_instance(instance)
        runtime.set("name", job_name)


def override_key(override: str) -> str:
    """Return the setting or group that an override is about."""
    return override.lstrip("+~").split("=")[0]
