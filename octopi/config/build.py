"""Build the objects that a checked config describes."""

from collections.abc import Collection, Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from octopi.arguments import TARGET, import_target
from octopi.config.nodes import call_parameters, check_node, own_arguments
from octopi.config.sections import SECTIONS, Section
from octopi.errors import ExitCode, OctopiError, SettingError, describe_error, exit_code_of
from octopi.stored_parts import Kind, build_stored, part_node

# What the constructors of octopi, MONAI and torch raise where they refuse a value.
_REFUSALS = TypeError | ValueError | RuntimeError | AssertionError


def build(
    node: Mapping[str, Any], path: str, *, partial: bool = False, **build_arguments: Any
) -> Any:
    """Build what a section's node describes, with what only the data or the command knows.

    What may be built is decided by the section, not by the node.

    Args:
        node: `_target_` and arguments.
        path: of the section, or of a part of one that holds several.
        partial: return a function that takes the remaining arguments.
        **build_arguments: further arguments.

    Raises:
        SettingError: if the section may not build the node, or the constructor refuses it.
    """
    section = SECTIONS.get(path) or SECTIONS[path.partition(".")[0]]
    checked = dict(node)
    allowed = check_node(checked, section, path)
    prepared = _without_own_arguments(checked, section, path)
    partial = prepared.pop("_partial_", False) or partial
    try:
        return instantiate(
            prepared,
            **build_arguments,
            _partial_=partial,
            _convert_="all",
            _execution_whitelist_=allowed,
        )
    except Exception as error:  # a class of a library or of the user may raise anything
        cause = (error.__cause__ or error) if isinstance(error, InstantiationException) else error
        name = str(node.get(TARGET))
        is_mistake = name.startswith("octopi.") and not isinstance(cause, _REFUSALS | KeyError)
        is_said = isinstance(cause, OctopiError) or exit_code_of(cause) == ExitCode.RESOURCE
        if is_mistake or is_said:
            raise cause from cause.__cause__
        if isinstance(cause, _REFUSALS) and str(cause):
            text = str(cause).partition("\n    full_key")[0]  # that OmegaConf adds
            raise SettingError(f"{path}: {text}") from error
        raise SettingError(f"{path}: {name} cannot be built: {describe_error(cause)}.") from error


def _without_own_arguments(node: Any, section: Section, path: str) -> Any:
    """Return a node as Hydra builds it: functions that are called later are not called."""
    if isinstance(node, Mapping):
        out = {k: _without_own_arguments(v, section, path) for k, v in node.items()}
        if TARGET in node:
            target = import_target(str(node[TARGET]), f"{path}={node[TARGET]}")
            for name in own_arguments(node, target, section):
                del out[name]
            if call_parameters(target, section):
                out["_partial_"] = True
        return out
    if isinstance(node, list | tuple):
        return [_without_own_arguments(item, section, path) for item in node]
    return node


def build_part(
    chosen: Mapping[str, Any], stored: Any, kind: Kind, *, where: str, trust: Collection[str]
) -> tuple[Mapping[str, Any], Any]:
    """Build the part that the user chose or, where only arguments are set, the stored one.

    Args:
        chosen: the node of the user's config; without a `_target_` it changes the stored one.
        stored: the node that a checkpoint or score map holds.
        kind: of the part, whose name is that of the section too.
        where: of the stored node, for errors.
        trust: further classes that it may name.

    Returns:
        The node that was built, and what it describes.
    """
    if TARGET in chosen:
        return chosen, build(chosen, kind.name)
    node = part_node(chosen, stored)
    return node, build_stored(node, kind, where, trust)
