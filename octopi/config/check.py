"""From a composed config to the checked settings of a command.

Every top-level key is a field of the command's dataclass, every key beside a `_target_` is a
parameter of what that names, and what it names is of the kind its section builds. This takes place
in the first seconds of a job, before a voxel is read.
"""

import dataclasses
import typing
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from octopi.arguments import TARGET, fit
from octopi.config.files import CONF_DIR, OVERLAYS, choices, groups_of
from octopi.config.nodes import check_node
from octopi.config.overrides import override_key
from octopi.config.sections import SECTIONS, Section, node_at
from octopi.config.setting_types import LOOSE, OPTIONAL, ConfigNode
from octopi.config.settings import SETTINGS_CLASSES
from octopi.errors import SettingError, did_you_mean

Settings = TypeVar("Settings")


def check_settings(
    cfg: DictConfig, root: type[Settings], *, overrides: Sequence[str] = ()
) -> Settings:
    """Resolve and check a composed config; return the command's settings.

    Sections that belong to other commands are left out: one `experiment` serves all.

    Args:
        cfg: what Hydra composed.
        root: the command's dataclass.
        overrides: of the command line, so that a key of another command typed there is refused
            and a new `_target_` drops the arguments of the old one.

    Raises:
        SettingError: if a key is unknown or missing, or its value does not fit.
    """
    hints = typing.get_type_hints(root, include_extras=True)
    _check_typed_keys(overrides, hints)
    values = _resolve(cfg, hints)
    _drop_arguments_of_old_targets(values, overrides)
    _drop_null_parts(values)
    settings = _to_dataclass(root, values)
    for path, section in SECTIONS.items():
        top_key = path.partition(".")[0]
        if top_key in hints:
            _check_section(node_at(vars(settings), path), section, path, hints[top_key])
    return settings


def _check_typed_keys(overrides: Sequence[str], names: Collection[str]) -> None:
    """Raise SettingError for an override of what is neither a setting nor Hydra's."""
    for override in overrides:
        key = override_key(override).partition("@")[0]
        top_key = key.replace("/", ".").partition(".")[0]
        if top_key not in (*names, *OVERLAYS, "hydra"):
            raise SettingError(f"There is no setting {key}.{did_you_mean(top_key, names)}")


def _resolve(cfg: DictConfig, names: Collection[str]) -> dict[str, Any]:
    """Return the resolved values of a command's settings, None for those that are left out."""
    all_names = {f.name for root in SETTINGS_CLASSES.values() for f in dataclasses.fields(root)}
    try:
        values = typing.cast(dict, OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
    except MissingMandatoryValue as error:
        key = error.full_key
        raise SettingError(f"{key} must be set: type {key}=…, which --help describes.") from error
    except OmegaConfBaseException as error:
        raise SettingError(f"{error.full_key or 'config'}: {str(error).splitlines()[0]}") from error
    if unknown := [str(key) for key in values if key not in all_names]:
        raise SettingError(f"No setting is called {unknown[0]}.{did_you_mean(unknown[0], names)}")
    return {name: values.get(name) for name in names}  # ~logger and logger=[] leave none


def _check_section(node: Any, section: Section, path: str, annotation: Any) -> None:
    """Check a section, in place; it must name a class unless its annotation is LOOSE."""
    marks = typing.get_args(annotation)
    if not node and OPTIONAL in marks:
        return
    if not isinstance(node, dict):
        raise SettingError(f"{path} must be set.{_choices_of(path)}")
    parts = {f"{path}.{name}": part for name, part in node.items()} if path == "callbacks" else {}
    for part_path, part in (parts or {path: node}).items():
        if isinstance(part, dict) and TARGET in part:
            check_node(part, section, part_path)
            if missing := [key for key in section.read if key not in part]:
                raise SettingError(
                    f"{part_path}.{missing[0]} must be set, for octopi reads it. Leave out "
                    f"~{part_path}.{missing[0]}, or set another value, such as null."
                )
        elif LOOSE not in marks:
            raise SettingError(f"{part_path} must name what to build.{_choices_of(path)}")
        else:
            for key in section.limits.keys() & node.keys():
                node[key] = fit(node[key], section.limits[key], f"{path}.{key}")


def _choices_of(path: str) -> str:
    """Write a sentence that names the files of a config group; empty where the path is none."""
    names = [name for name in choices(path.replace(".", "/")) if name != "checkpoint"]
    if not names:
        return ""
    *first, last = names
    return f" Choose {path}={', '.join(first)}{' or ' if first else ''}{last}."


def without_null_groups(arguments: Sequence[str], verb: str) -> list[str]:
    """Return a command line without `GROUP=null`, which Hydra does not take.

    An overlay is left out; a group that has a file `none` takes that: `logger=null`.

    Raises:
        SettingError: if the group must be chosen.
    """
    groups, out = groups_of(verb), []
    for argument in arguments:
        group, _, value = argument.partition("=")
        if value.lower() != "null" or not (CONF_DIR / group).is_dir():
            out.append(argument)
        elif group not in groups:
            raise SettingError(f"octopi {verb} has no group {group}.{did_you_mean(group, groups)}")
        elif group in OVERLAYS:
            out.append(f"{group}=[]")
        elif "none" in choices(group):
            out.append(f"{group}=none")
        else:
            raise SettingError(f"{group} must be set.{_choices_of(group)}")
    return out


def _drop_arguments_of_old_targets(values: dict, overrides: Sequence[str]) -> None:
    """Keep only the arguments typed beside `model._target_=my.Net`; the others are another's."""
    typed_keys = {override_key(override) for override in overrides}
    for path in SECTIONS:
        node = node_at(values, path)
        if f"{path}.{TARGET}" in typed_keys and isinstance(node, dict):
            for key in list(node):
                argument = f"{path}.{key}."
                if not any(f"{typed}.".startswith(argument) for typed in typed_keys):
                    del node[key]


def _drop_null_parts(values: dict) -> None:
    """Leave out the parts that are null, as in `callbacks.early_stopping=null`."""
    for path, section in SECTIONS.items():
        node = node_at(values, path)
        if section.several and isinstance(node, dict):
            for name in [name for name, part in node.items() if part is None]:
                del node[name]


def _to_dataclass(root: type[Settings], values: Mapping[str, Any], path: str = "") -> Settings:
    """Return the dataclass of a section, each value as its annotation wants it."""
    hints = typing.get_type_hints(root, include_extras=True)
    if unknown := [key for key in values if key not in hints]:
        key = unknown[0]
        raise SettingError(f"There is no setting {path}{key}.{did_you_mean(key, hints)}")
    out = {}
    for name, hint in hints.items():
        value, key = values.get(name), f"{path}{name}"
        is_node = ConfigNode in (hint, *typing.get_args(hint))
        if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
            out[name] = _to_dataclass(typing.cast(type, hint), value, f"{key}.")
        elif is_node and value is None and OPTIONAL in typing.get_args(hint):
            out[name] = {}
        elif dataclasses.is_dataclass(hint) or (is_node and value is None):
            raise SettingError(f"{key} must be set.{_choices_of(key)}")
        elif value == "":
            raise SettingError(f"{key}= is empty: give it a value, or leave it out.")
        else:
            out[name] = fit(value, hint, key)
    return root(**out)
