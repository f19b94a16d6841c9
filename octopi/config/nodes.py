"""Check the nodes of a section: may it build what `_target_` names, and do the arguments fit?"""

import importlib
import inspect
import typing
from collections.abc import Mapping
from typing import Any

from octopi.arguments import (
    TARGET,
    check_arguments,
    check_finite,
    fit,
    import_target,
    missing_arguments,
    parameters_of,
)
from octopi.config.sections import LIBRARIES, Section
from octopi.errors import SettingError
from octopi.stored_parts import dotted_name


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
        target = import_target(str(node[TARGET]), f"{path}.{TARGET}={node[TARGET]}")
        _check_kind(target, section, node[TARGET], path)
        own = own_arguments(node, target, section)
        fitted = {key: fit(own[key], section.own_arguments[key], f"{path}.{key}") for key in own}
        node_of_target = {key: value for key, value in node.items() if key not in own}
        fitted |= check_arguments(target, node_of_target, path)
        passed = (*section.passed_at_build, *call_parameters(target, section))
        if missing := missing_arguments(target, node, passed):
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


def own_arguments(node: Mapping[str, Any], target: Any, section: Section) -> dict[str, Any]:
    """Return the arguments of a node that octopi applies itself, see `Section`."""
    names = section.own_arguments.keys() - parameters_of(target).keys()
    return {key: value for key, value in node.items() if key in names}


def call_parameters(target: Any, section: Section) -> list[str]:
    """Return the names that a function of the user has for what it is called with; [] of others."""
    if not inspect.isfunction(target) or not section.called_with:
        return []
    return list(inspect.signature(target).parameters)[: len(section.called_with)]


def _check_kind(target: Any, section: Section, name: str, path: str) -> None:
    """Raise SettingError unless a section may build the target.

    It may be one of the kinds, a subclass of one, a class of a package that is one, or what a user
    wrote to be called as the section calls it.
    """
    kinds = section.allowed.split("|")
    is_of_kind = name in kinds or any(_is_of_kind(target, kind) for kind in kinds)
    if is_of_kind or _is_called_alike(target, section):
        return
    own = f", or your own ({', '.join(section.called_with)}) -> …" if section.called_with else ""
    raise SettingError(
        f"{path}._target_={name} is refused: {path} builds {section.allowed}{own} only."
    )


def _is_called_alike(target: Any, section: Section) -> bool:
    """Return whether a class or function of the user is called with what the section passes."""
    is_own = str(getattr(target, "__module__", "")).partition(".")[0] not in LIBRARIES
    if not section.called_with or not is_own:
        return False
    arguments: tuple[None, ...] = (None,) * len(section.called_with)
    if isinstance(target, type):
        calls = [vars(cls)["__call__"] for cls in target.__mro__ if "__call__" in vars(cls)]
        call, arguments = (calls or [None])[0], (None, *arguments)
    else:
        call = target if inspect.isfunction(target) else None
    try:
        inspect.signature(call).bind_partial(*arguments)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def _is_of_kind(target: Any, kind: str) -> bool:
    """Return whether a target is the class of this name, one derived of it, or of this package."""
    if not isinstance(target, type):
        return False
    module_name, _, class_name = kind.rpartition(".")
    base = getattr(importlib.import_module(module_name), class_name, None)
    is_derived = isinstance(base, type) and issubclass(target, base)
    return is_derived or f"{target.__module__}.".startswith(f"{kind}.")
