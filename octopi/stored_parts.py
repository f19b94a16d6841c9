"""Build what a file describes: the network, predictor or localizer of a checkpoint or score map.

A file is data. It chooses among the classes that its reader offers and those that the user trusts,
and passes them numbers, text and lists of these. No name in a file is imported before it is known
to be allowed, and no file goes to Hydra, which follows `_target_` and `${…}` anywhere.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from octopi.arguments import TARGET, check_arguments, check_finite, import_target, missing_arguments
from octopi.errors import SettingError
from octopi.ranges import LARGEST

Part = TypeVar("Part")


@dataclass(frozen=True)
class Kind:
    """What may be built for one purpose.

    Args:
        name: of the section in a checkpoint: net, predictor or localizer.
        base: class that all of the kind derive from.
        allowed: dotted names of the classes that a file may choose from.
    """

    name: str
    base: type
    allowed: Collection[str]


def dotted_name(target: Any) -> str:
    """Return the dotted name of a class or function, as a `_target_` gives it."""
    return f"{target.__module__}.{target.__qualname__}"


def names_of(*classes: type) -> tuple[str, ...]:
    """Return the dotted names of classes; see `dotted_name`."""
    return tuple(map(dotted_name, classes))


def build_stored(node: Any, kind: Kind, where: str, trust: Collection[str] = ()) -> Any:
    """Build what a stored node describes, after a check of the node.

    Args:
        node: `_target_` and arguments.
        kind: of what it describes.
        where: where it is stored, as the subject of an error: "The score map of run TS_01".
        trust: dotted names of further classes, from the user's command line.

    Raises:
        SettingError: if the node names another class, or if its arguments are not plain, or do
            not fit the class, or it refuses them.
    """
    subject = f"{where}: its {kind.name}"
    if not isinstance(node, Mapping) or not isinstance(node.get(TARGET), str):
        raise SettingError(f"{subject} has no {TARGET} that names a class. Write the file again.")
    name = node[TARGET]
    if name not in kind.allowed and name not in trust:
        raise SettingError(
            f"{subject} is {name[:200]!r}, which octopi does not build for a file. It builds "
            f"{', '.join(sorted(kind.allowed))}. If you trust the author of {name[:200]}, "
            f"say so: 'trust=[{name[:200]}]'."
        )
    cls = import_target(name, f"{subject} is {name}, which")
    if not (isinstance(cls, type) and issubclass(cls, kind.base)):
        raise SettingError(
            f"{subject} is {name}, which is not a subclass of {', '.join(names_of(kind.base))}."
        )
    for key, value in node.items():
        if key != TARGET:
            _check_plain(value, f"{subject}, {key},", key)
    check_arguments(cls, node, f"{where}: {kind.name}")
    if missing := missing_arguments(cls, node):
        raise SettingError(f"{subject} lacks {', '.join(missing)}. Write the file again.")
    try:
        return cls(**{key: value for key, value in node.items() if key != TARGET})
    except (TypeError, ValueError, KeyError, IndexError, ArithmeticError, AssertionError,
            AttributeError, RuntimeError) as error:  # fmt: skip
        raise SettingError(f"{where}: {kind.name}: {error}") from error


def part_node(chosen: Mapping[str, Any], stored: Any) -> Any:
    """Return the stored node with the arguments that the user set in place of its own.

    A stored node that is no mapping is returned as it is, for `build_stored` to refuse.
    """
    changes = {key: value for key, value in chosen.items() if value is not None}
    return {**stored, **changes} if isinstance(stored, Mapping) else stored


def _check_plain(value: Any, subject: str, key: Any) -> None:
    """Raise SettingError unless the value is numbers and text, or lists and mappings of them."""
    if not isinstance(key, str) or key.startswith("_"):
        raise SettingError(f"{subject} has the name {key!r}, which no argument has.")
    if isinstance(value, Mapping):
        for inner, item in value.items():
            _check_plain(item, subject, inner)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_plain(item, subject, key)
    else:
        _check_scalar(value, subject)


def _check_scalar(value: Any, subject: str) -> None:
    """Raise SettingError unless the value is None, a finite number that is not huge, or a text."""
    check_finite(value, subject)
    if isinstance(value, int | float) and abs(value) > LARGEST:
        raise SettingError(f"{subject} is {value:g}: it must lie within ±{LARGEST}.")
    if isinstance(value, str) and "${" in value:
        raise SettingError(f"{subject} is {value[:80]!r}: a file may not refer to other settings.")
    if not (value is None or isinstance(value, str | int | float | bool)):
        raise SettingError(f"{subject} is a {type(value).__name__}, not a number or text.")
