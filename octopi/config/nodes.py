"""Check the nodes of a section: may it build what `_target_` names, and do the arguments fit?"""

import importlib
import typing
from collections.abc import Mapping
from typing import Any

from octopi.arguments import TARGET, check_arguments, check_finite, missing_arguments
from octopi.config.sections import Section
from octopi.errors import SettingError
from octopi.stored import dotted_name


def check_node(node: Any, section: Section, path: str) -> list[str]:
    """Check a node of a section, its arguments in place; return the names of what it may build.

    A section may be one target, or (callbacks, augment) named targets.

    Raises:
        SettingError: if a `_target_` is not of the section's kind or its arguments do not fit.
    """
    if isinstance(node, list | tuple):
        parts = {f"{path}[{index}]": item for index, item in enumerate(node)}
    elif isinstance(node, Mapping):
        parts = {f"{path}.{key}": value for key, value in node.items()}
    else:
        check_finite(node, path)
        return []
    names = []
    if isinstance(node, Mapping) and TARGET in node:
        target = import_target(str(node[TARGET]), f"{path}.{TARGET}")
        _check_kind(target, section, node[TARGET], path)
        fitted = check_arguments(target, node, path)
        if missing := missing_arguments(target, node, section.passed_at_build):
            raise SettingError(
                f"{node[TARGET]} needs the parameter {missing[0]}. Add '+{path}.{missing[0]}=…'."
            )
        if dotted_name(target).startswith("monai.networks."):
            _check_layers(fitted, path)
        typing.cast(dict, node).update(fitted)
        names = [str(node[TARGET]), dotted_name(target)]
    for part_path, part in parts.items():
        names += check_node(part, section, part_path)
    return names


def _check_layers(node: Mapping[str, Any], path: str) -> None:
    """Raise SettingError where MONAI has too few strides, or would leave some out unasked."""
    channels, strides = node.get("channels"), node.get("strides")
    if not (isinstance(channels, list) and isinstance(strides, list)):
        return
    if len(strides) != len(channels) - 1:
        raise SettingError(
            f"{path}.strides={strides} does not fit {path}.channels={channels}: a stride stands "
            f"between two layers. Give {len(channels) - 1} of them, or {len(strides) + 1} channels."
        )


def import_target(target: str, path: str) -> Any:
    """Import the class or function that a dotted name stands for."""
    module_name, _, name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), name)
    except ModuleNotFoundError as error:
        absent = str(error.name).partition(".")[0]
        is_in_target = target.startswith(f"{absent}.")
        advice = "" if is_in_target else f" Install it: pip install {absent}"
        raise SettingError(f"{path}={target} cannot be imported: {error}.{advice}") from error
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise SettingError(f"{path}={target} cannot be imported: {error}.") from error


def _check_kind(target: Any, section: Section, name: str, path: str) -> None:
    """Raise SettingError unless a section may build the target.

    It may be one of the kinds, a subclass of one, or a class of a package that is one.
    """
    kinds = section.allowed.split("|")
    if name in kinds or any(_is_class_of(target, kind) for kind in kinds):
        return
    for kind in kinds:
        module_name, _, class_name = kind.rpartition(".")
        base = getattr(importlib.import_module(module_name), class_name, None)
        if isinstance(base, type) and isinstance(target, type) and issubclass(target, base):
            return
    raise SettingError(f"{path}._target_={name} is refused: {path} builds {section.allowed} only.")


def _is_class_of(target: Any, package: str) -> bool:
    module = getattr(target, "__module__", "")
    return isinstance(target, type) and f"{module}.".startswith(f"{package}.")
