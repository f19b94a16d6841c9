"""Check plain values, from YAML or from a file, against the annotations of what takes them."""

import functools
import importlib
import inspect
import json
import math
import types
import typing
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from octopi.errors import SettingError, did_you_mean, shorten, shorten_list
from octopi.ranges import library_ranges

TARGET = "_target_"
_NAMES = {type(None): "null", bool: "true or false", dict: "mapping", list: "list", tuple: "list"}


def check_arguments(target: Any, node: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return the node with each argument as the class or function it names wants it.

    Args:
        target: the class or function.
        node: its dotted name as `_target_` and its arguments.
        path: where the node is from, for errors.

    Raises:
        SettingError: if an argument is unknown, of the wrong type or out of its range.
    """
    parameters, ranges = parameters_of(target), library_ranges(target)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    out = dict(node)
    for key, value in node.items():
        if key in parameters:
            parameter = parameters[key]
            # what a target inside the value builds is checked where it is built
            if _holds_target(value):
                continue
            if key in ranges:
                out[key] = fit(value, ranges[key], f"{path}.{key}")
            if not _same(value, parameter.default):
                out[key] = fit(out[key], _annotation(parameter), f"{path}.{key}")
        elif key != TARGET and (not open_ended or key.startswith("_")):
            raise SettingError(
                f"{node[TARGET]} has no parameter {key} ({path}.{key})."
                f"{did_you_mean(key, parameters)} "
                f"It has: {shorten_list(parameters, closest_to=key)}."
            )
    return out


def argument_annotation(target: Any, argument: str) -> Any:
    """Return the annotation of an argument of a class or function; Any where it has none."""
    parameter = parameters_of(target).get(argument)
    return library_ranges(target).get(argument, _annotation(parameter) if parameter else Any)


def _annotation(parameter: inspect.Parameter) -> Any:
    return Any if parameter.annotation is parameter.empty else parameter.annotation


def missing_arguments(
    target: Any, node: Mapping[str, Any], passed_at_build: Collection[str] = ()
) -> list[str]:
    """Return the parameters that a target needs and that are neither in the node nor passed.

    Args:
        target: the class or function.
        node: its arguments.
        passed_at_build: names of further arguments; "*" stands for all.
    """
    if "*" in passed_at_build:
        return []
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [
        name
        for name, parameter in parameters_of(target).items()
        if parameter.default is parameter.empty
        and parameter.kind in by_name
        and name not in {*node, *passed_at_build}
    ]


def parameters_of(target: Any) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a class or function, without annotations that only checkers know."""
    try:
        return inspect.signature(target, eval_str=True).parameters
    except (NameError, TypeError, AttributeError, SyntaxError):  # types imported for checkers only
        parameters = inspect.signature(target).parameters
    return {
        name: p.replace(annotation=p.empty) if isinstance(p.annotation, str) else p
        for name, p in parameters.items()
    }


def import_target(name: str, subject: str) -> Any:
    """Import the class or function that a dotted name stands for.

    Args:
        name: dotted.
        subject: of an error: where the name is from.

    Raises:
        SettingError: it cannot be imported.
    """
    module_name, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        absent = str(getattr(error, "name", "")).partition(".")[0]
        is_absent = isinstance(error, ModuleNotFoundError) and not name.startswith(f"{absent}.")
        advice = f" Install it: pip install {absent}" if is_absent else ""
        raise SettingError(f"{subject} cannot be imported: {error}.{advice}") from error


def _holds_target(value: Any) -> bool:
    if isinstance(value, Mapping):
        return TARGET in value or any(map(_holds_target, value.values()))
    return isinstance(value, list | tuple) and any(map(_holds_target, value))


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def fit(value: Any, annotation: Any, path: str) -> Any:
    """Return the value as its annotation demands it: `runs=TS_01` is a list of one.

    A whole number is text where the annotation is text, as in `session_id=1`. Nothing else is
    converted: a word is no number, and 1 is not true.

    Args:
        value: of numbers, text, lists and mappings, as YAML knows them.
        annotation: a type as in a dataclass or a signature, perhaps with an interval.
        path: of the setting, for errors.

    Raises:
        SettingError: if the value does not fit the annotation, or is not finite.
    """
    kinds = {typing.get_origin(choice) or choice for choice in alternatives(annotation)}
    if {Any, Collection, Hashable} & kinds:  # pydantic knows no list as one of the latter
        check_finite(value, path)
        return value
    value = _converted(value, annotation)
    try:
        content = json.dumps(value, allow_nan=isinstance(value, Mapping))
        make = make_adapter if _is_hashable(annotation) else make_adapter.__wrapped__
        # JSON is what YAML can say: a list may become a tuple there, text may not become a number
        make(annotation).validate_json(content, strict=True)
    except (PydanticUserError, NameError):
        pass  # an annotation that only type checkers understand
    except ValueError as error:  # pydantic's, or of a number that JSON does not know
        if value is None:
            raise SettingError(f"{path} must be set: {_described(annotation)}.") from error
        text = shorten(repr(value), 200)
        raise SettingError(f"{path} must be {_described(annotation)}, not {text}.") from error
    check_finite(value, path)
    return value


@functools.cache
def make_adapter(annotation: Any) -> TypeAdapter[Any]:
    """Make pydantic's validator of an annotation, which takes far longer than to validate."""
    return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))


def _is_hashable(annotation: Any) -> bool:
    try:
        hash(annotation)
    except TypeError:  # it names a list, as in Annotated[str, ["a note"]]
        return False
    return True


def check_finite(value: Any, path: str) -> None:
    """Raise SettingError if a number in the value is infinite or not a number."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            check_finite(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            check_finite(item, f"{path}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise SettingError(f"{path} must be finite, not {value}.")


def _converted(value: Any, annotation: Any) -> Any:
    choices = alternatives(annotation)
    kinds = {typing.get_origin(choice) or choice for choice in choices}
    if value == {} and type(None) in kinds and not {dict, Mapping, Any} & kinds:
        return None  # a group's file `none` is an empty mapping
    items = next((c for c in choices if typing.get_origin(c) in (list, Sequence)), None)
    item = typing.get_args(items)[0] if items is not None else None
    if isinstance(value, list):
        return value if item is None else [_converted(each, item) for each in value]
    if isinstance(value, Mapping) and any(not isinstance(key, str) for key in value):
        return {str(key): each for key, each in value.items()}
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if str in choices:
        return str(value) if is_whole and not {int, float} & set(choices) else value
    if item is str and (isinstance(value, str) or is_whole):
        return [str(value)]
    return value


def alternatives(annotation: Any) -> list[Any]:
    """List the alternatives of a type, without the intervals that narrow them."""
    if typing.get_origin(annotation) is typing.Annotated:
        return alternatives(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [choice for part in typing.get_args(annotation) for choice in alternatives(part)]
    return [annotation]


def _described(annotation: Any) -> str:
    """Describe what an annotation allows, as in `int of 1 or more, or null`."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return " ".join([_described(args[0]), *map(_interval, args[1:])]).strip()
    if origin in (typing.Union, types.UnionType):
        simple = [_described(a) for a in args if typing.get_origin(a) or a in _PLAIN]
        return (", or " if any(" " in part for part in simple) else " or ").join(simple)
    if origin is typing.Literal:
        return " or ".join(map(str, args))
    if origin in (list, tuple, Sequence):
        return f"a list of {_described(args[0])}" if args else "a list"
    if origin in (dict, Mapping):
        return f"a mapping of names to {_described(args[1])}"
    return _NAMES.get(annotation) or getattr(annotation, "__name__", str(annotation))


_BOUNDS = {
    "ge": "of {} or more",
    "gt": "above {}",
    "le": "at most {}",
    "lt": "below {}",
    "min_length": "with {} items or more",
    "max_length": "with {} items or less",
}
_PLAIN = {bool, int, float, str, *_NAMES}


def _interval(field: Any) -> str:
    """Describe what a pydantic field allows: its description, or the interval of a number."""
    if not isinstance(field, FieldInfo):
        return ""
    if field.description:
        return field.description
    bounds = {key: getattr(m, key) for m in field.metadata for key in _BOUNDS if hasattr(m, key)}
    if {"ge", "le"} <= bounds.keys():
        return f"of {bounds['ge']} … {bounds['le']}"
    if "min_length" in bounds and bounds["min_length"] == bounds.get("max_length"):
        return f"with {bounds['min_length']} items"
    return " and ".join(_BOUNDS[key].format(bound) for key, bound in bounds.items())
