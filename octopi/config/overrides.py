"""Write, read and compose the overrides of a command line."""

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.utils import JobRuntime
from hydra.errors import HydraException
from omegaconf import OmegaConf

from octopi.arguments import TARGET
from octopi.config.files import CONF_DIR
from octopi.errors import SettingError
from octopi.system.files import describe_yaml_error, to_builtin_types

# What Hydra reads as a number, truth value or null; text like it needs quotes, and as the name in a
# mapping it can have none.
_NO_TEXT = r"null|true|false|[-+]?(nan|inf|\.?\d[\d_.]*(e[-+]?[\d_]+)?)"


class Interpolation(str):
    """Text in which `${…}` refers to another setting."""

    __slots__ = ()


def override_text(key: str, value: Any) -> str:
    """Return the override that gives a setting this value, whatever characters it is made of."""
    return f"{key}={hydra_literal(value, key)}"


def shell_override(key: str, value: Any) -> str:
    """Return the override as a person types it in a shell, with quotes only where it needs them."""
    return shlex.quote(override_text(key, value))


def without_references(text: str) -> str:
    """Return the text so that a `${` in it refers to nothing."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def typed_overrides(overrides: Any) -> list[str]:
    """Return a list of overrides in Hydra's config as they were typed, a `${…}` unresolved."""
    return cast("list[str]", OmegaConf.to_container(overrides, resolve=False))


def override_texts(settings: Mapping[str, Any]) -> list[str]:
    """Return the overrides that give settings these values; see `override_text`."""
    return [override_text(key, value) for key, value in settings.items()]


def hydra_literal(value: Any, key: str) -> str:
    """Return the value as text that Hydra reads back as the same value, quoted if it needs quotes.

    Args:
        value: a number, text, None, or lists and mappings of them.
        key: the setting, for errors.

    Raises:
        SettingError: the value cannot be written as an override.
    """
    value = to_builtin_types(value)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        is_plain = re.fullmatch(r"[A-Za-z_/.][\w/.+-]*", value, re.ASCII)
        if is_plain and not re.fullmatch(_NO_TEXT, value, re.IGNORECASE):
            return value
        text = str(value) if isinstance(value, Interpolation) else without_references(value)
        return QuotedString(text, Quote.double).with_quotes()
    if isinstance(value, list):
        return f"[{','.join(hydra_literal(item, key) for item in value)}]"
    if isinstance(value, dict):
        items = (f"{_dict_key(k, key)}: {hydra_literal(v, key)}" for k, v in value.items())
        return f"{{{', '.join(items)}}}"
    raise SettingError(f"{key} cannot be {value!r}: settings are numbers, text, lists of them.")


def _dict_key(name: str, key: str) -> str:
    """Return the key of a mapping; Hydra has no quotes for it, only backslashes for some signs."""
    is_plain = re.fullmatch(r"[\w\-/+.$%*@?| \\(){}\[\]:=,]+", name, re.ASCII)
    is_read_otherwise = re.fullmatch(_NO_TEXT, name, re.IGNORECASE) and not name.isdecimal()
    if not is_plain or name != name.strip() or is_read_otherwise:
        raise SettingError(
            f"{key}: the name {name!r} cannot be written as a setting. "
            f"{yaml_advice(key, json.dumps({name: 'VALUE'}, ensure_ascii=False))}"
        )
    return re.sub(r"([\\(){}\[\]:=, ])", r"\\\1", name)


def yaml_advice(key: str, typed: str) -> str:
    """Say how to give a setting names that a command line cannot hold."""
    section, _, setting = key.rpartition(".")
    line = f"{setting}: {typed:.150}"
    for part in reversed(section.split(".") if section else []):
        line = f"{part}: {{{line}}}"
    return (
        "Names that a command line cannot hold fit into a file experiment/mine.yaml with the lines "
        f"`# @package _global_` and `{line}`; then type experiment=experiment/mine.yaml."
    )


def compose_config(verb: str, overrides: Sequence[str]) -> Any:
    """Compose the config of a command, with Hydra's own part; write nothing.

    What Hydra is doing otherwise in this process is left as it was.
    """
    instance, runtime = GlobalHydra.instance(), JobRuntime.instance()
    previous, job_name = instance.hydra, runtime.get("name")
    instance.clear()
    try:
        with initialize_config_dir(str(CONF_DIR), job_name=verb):
            return compose(verb, overrides=list(overrides), return_hydra_config=True)
    except HydraException:  # of which some are OSErrors too
        raise
    except (yaml.YAMLError, ValueError, OSError, RecursionError) as error:
        raise SettingError(f"A YAML file cannot be read: {describe_yaml_error(error)}") from error
    finally:
        instance.hydra = previous
        GlobalHydra.set_instance(instance)
        runtime.set("name", job_name)


def override_key(override: str) -> str:
    """Return the setting or group that an override is about."""
    return override.lstrip("+~").split("=")[0]


def replace_overrides(overrides: Iterable[str], *replacements: str) -> list[str]:
    """Return overrides of which some take the place of those of the same settings."""
    keys = {override_key(override) for override in replacements}
    return [*(o for o in overrides if override_key(o) not in keys), *replacements]


def repeated_overrides(overrides: Iterable[str]) -> dict[str, list[str]]:
    """Return the overrides of each setting that is given several values, of which the last counts.

    A deletion (`~KEY`) gives none.
    """
    values: dict[str, list[str]] = {}
    for override in dict.fromkeys(o for o in overrides if not o.startswith("~")):
        values.setdefault(override_key(override), []).append(override)
    return {key: several for key, several in values.items() if len(several) > 1}


def override_value(override: str) -> Any:
    """Return the value that an override gives its setting."""
    return OverridesParser.create().parse_override(override).value()


def trusted_names(overrides: Iterable[str]) -> list[str]:
    """Return the classes that a command line trusts: those of `trust=[…]` and of `_target_`s."""
    names: list[Any] = []
    for override in overrides:
        key = override_key(override)
        if key == "trust" or key.endswith(f".{TARGET}"):
            value = to_builtin_types(override_value(override))
            names += value if isinstance(value, list) else [value]
    return list(map(str, names))


def last_value(arguments: Iterable[str], key: str) -> str | None:
    """Return the text that a setting is last given, without its quotes; None where it is null.

    A path may be typed as it is, also with signs that Hydra would want quoted.
    """
    texts = [a.split("=", 1)[1] for a in arguments if a.startswith(f"{key}=")]
    if not texts or texts[-1] in ("null", ""):
        return None
    text = texts[-1]
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        quote = text[0]
        text = re.sub(rf"(\\*)\\{quote}", lambda m: m[1][: len(m[1]) // 2] + quote, text[1:-1])
        text = re.sub(r"\\+$", lambda m: m[0][: len(m[0]) // 2], text)
    return text
