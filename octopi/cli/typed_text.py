"""Keep what is typed for a text as it is typed: `session_id=1_0` is a name, not the number 10.

Hydra reads numbers and truth values before anyone knows what a setting wants, and paths with signs
of its grammar not at all. Here the annotation of the setting decides, before Hydra reads: text is
put in quotes.
"""

import functools
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import create_functions
from hydra.core.override_parser.overrides_visitor import HydraErrorListener, HydraOverrideVisitor
from hydra.core.override_parser.types import ChoiceSweep, QuotedString
from hydra.errors import HydraException
from hydra.grammar.gen.OverrideLexer import OverrideLexer
from hydra.grammar.gen.OverrideParser import OverrideParser
from omegaconf import OmegaConf
from omegaconf.vendor.antlr4.CommonTokenStream import CommonTokenStream
from omegaconf.vendor.antlr4.InputStream import InputStream

from octopi.arguments import TARGET, alternatives, argument_annotation, import_target
from octopi.config.files import CONF_DIR
from octopi.config.overrides import (
    Interpolation,
    compose_config,
    hydra_literal,
    override_key,
    shell_override,
    yaml_advice,
)
from octopi.config.sections import SECTIONS, node_at
from octopi.config.settings import SETTINGS_CLASSES
from octopi.errors import SettingError
from octopi.system.files import compose_yaml, describe_yaml_error

_HYDRA_TEXTS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
_TEXTS, _LISTS = {str, Path}, {list, tuple, Sequence}
_NUMBERS = {bool, int, float}


@dataclass(frozen=True)
class _Plain:
    """A number or truth value typed without quotes.

    Args:
        text: as it was typed.
        value: as Hydra reads it.
    """

    text: str
    value: bool | int | float


class _KeepingVisitor(HydraOverrideVisitor):
    """Read a value as Hydra does, but keep the text of numbers and truth values."""

    def _createPrimitive(self, ctx: Any) -> Any:  # noqa: N802  Hydra's name
        value = super()._createPrimitive(ctx)
        if isinstance(value, bool | int | float):
            return _Plain(ctx.getText().strip(), value)
        return value

    def visitFunction(self, ctx: Any) -> Any:  # noqa: N802  Hydra's name
        return HydraOverrideVisitor(self.functions).visitFunction(ctx)


def quote_texts(arguments: Sequence[str], verb: str, *, multirun: bool) -> list[str]:
    """Return a command line with quotes around what its settings want as text.

    Args:
        arguments: overrides and flags.
        verb: the command.
        multirun: whether commas separate values to be tried.

    Raises:
        SettingError: Hydra cannot read an override, or one gives several values to a single run.
    """

    @functools.cache
    def composed() -> Mapping[str, Any]:
        return _compose_choices(arguments, verb)

    return [
        _quote_override(argument, verb, composed, multirun=multirun)
        if "=" in argument and not argument.startswith(("-", "~"))
        else argument
        for argument in arguments
    ]


def _quote_override(
    override: str, verb: str, composed: Callable[[], Mapping[str, Any]], *, multirun: bool
) -> str:
    key, _, typed = override.partition("=")
    find = functools.partial(find_annotation, override_key(override), verb, composed)
    try:
        value = _parse(typed) if typed.strip() else ""
    except HydraException:
        return f"{key}={hydra_literal(_verbatim(typed, key, find()), key)}"
    if isinstance(value, ChoiceSweep) and not multirun:
        if not _takes(find(), _TEXTS) or _takes(find(), _LISTS):
            example = typed if len(typed) < 120 else "A,B"
            raise SettingError(
                f"{override:.200} gives several values. Write a list in brackets, "
                f"{shell_override(key, example.split(','))}; quote one text with a comma, "
                f"{shell_override(key, example)}; or try one after the other with -m."
            )
        return f"{key}={hydra_literal(Interpolation(typed), key)}"
    items = value.list if isinstance(value, ChoiceSweep) and value.simple_form else [value]
    if not any(map(_has_plain, items)):
        return override
    is_choice = (CONF_DIR / override_key(override)).is_dir()  # of a group: the name of a file
    hint = str if is_choice and not any(isinstance(i, list | Mapping) for i in items) else find()
    texts = [_as_wanted(item, hint) for item in items]
    if texts == [_as_wanted(item, Any) for item in items]:
        return override  # nothing is text; a number stays as it was typed: 1e-3, not 0.001
    return f"{key}={','.join(hydra_literal(text, key) for text in texts)}"


def check_yaml_texts(path: Path, verb: str) -> None:
    """Raise SettingError for a damaged YAML file, or text that YAML reads as something else.

    Args:
        path: of an experiment.
        verb: the command, whose own settings are checked.
    """
    try:
        root = compose_yaml(path)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} cannot be read: {describe_yaml_error(error)}") from error
    if not isinstance(root, yaml.MappingNode | None):
        raise SettingError(f"{path} holds no settings: write one a line, as in seed: 1.")
    for setting, annotation, node in _yaml_scalars(root, "", verb):
        is_text = _takes(annotation, _TEXTS) and not _takes(annotation, _NUMBERS)
        kind = node.tag.rpartition(":")[2]
        is_same = kind == "int" and re.fullmatch(r"0|[1-9]\d*", node.value)
        if is_text and kind not in ("str", "null") and not is_same:
            raise SettingError(
                f"{path}, line {node.start_mark.line + 1}: YAML reads {setting} {node.value} as "
                f'{kind}, not as text. Put it in quotes: "{node.value}"'
            )


def _yaml_scalars(node: Any, setting: str, verb: str) -> Iterator[tuple[str, Any, yaml.ScalarNode]]:
    """Yield each value of a YAML file with its setting and the annotation of that."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _yaml_scalars(value, f"{setting}.{key.value}".lstrip("."), verb)
    elif setting:
        hint = find_annotation(setting, verb, dict)
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        item_hint = _item_of(hint, _LISTS)
        for item in items:
            if isinstance(item, yaml.ScalarNode):
                is_listed = item is not node or not _takes(hint, _TEXTS)
                yield setting, item_hint if is_listed else hint, item


def _parse(text: str) -> Any:
    """Parse a value as Hydra does; raise HydraException where Hydra cannot."""
    lexer = OverrideLexer(InputStream(f"key={text}"))
    parser = OverrideParser(CommonTokenStream(lexer))
    for recognizer in (lexer, parser):
        recognizer.removeErrorListeners()
        recognizer.addErrorListener(HydraErrorListener())
    return _KeepingVisitor(create_functions()).visit(parser.override())._value


def _verbatim(typed: str, key: str, annotation: Any) -> Any:
    """Return what Hydra cannot parse as the text, or list of texts, that it must be.

    Raises:
        SettingError: it may also be meant otherwise.
    """
    text, is_list = typed.strip(), _takes(annotation, _LISTS)
    in_brackets = is_list and text[0] == "[" and text[-1] == "]"
    # commas in the brackets of an item are its own: [loss=dice,data.crop_size=[32,64,64]]
    items = re.findall(r"(?:\[[^][]*\]|[^,[])+", text[1:-1]) if in_brackets else [text]
    texts = [Interpolation(item.strip()) for item in items]
    is_certain = not any("\\" in item or item[:1] in ("'", '"', "[", "{") for item in texts)
    if in_brackets and is_certain:
        return texts
    if is_certain and (not is_list or "," not in text) and (is_list or _takes(annotation, _TEXTS)):
        return texts[0]
    raise SettingError(_advice(typed, key, annotation))


def _advice(typed: str, key: str, annotation: Any) -> str:
    """Say how to write a value that Hydra cannot parse."""
    problem = f"{key}={typed:.150} cannot be read"
    is_text, is_list = _takes(annotation, _TEXTS), _takes(annotation, _LISTS)
    if typed.strip().startswith("{") and not is_text:
        return (
            f"{problem}. Write {key}={{NAME: VALUE, …}}, no name in quotes of its own, with quotes "
            f"around the whole for the shell. {yaml_advice(key, typed)}"
        )
    if not re.fullmatch(r"[+\w./@]+", key):
        return f"{problem}. Settings are typed as SETTING=VALUE, as in runs=[TS_01]."
    if (is_list and not is_text) or typed.strip().startswith("["):
        return f"{problem}. Quote each name in the list, as in {shell_override(key, ['A 1', 'B'])}."
    return (
        f"{problem}. Text with blanks, brackets, quotes, commas, = or # needs quotes, and those "
        f"need quotes for the shell: {shell_override(key, typed)[:300]}"
    )


def _takes(annotation: Any, kinds: set[Any]) -> bool:
    return bool({typing.get_origin(a) or a for a in alternatives(annotation)} & kinds)


def _has_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_plain, [*value, *value.values()]))
    return any(map(_has_plain, value)) if isinstance(value, list) else isinstance(value, _Plain)


def _as_wanted(value: Any, annotation: Any) -> Any:
    """Return a parsed value with the typed text wherever the annotation wants text.

    The names in a mapping are always text. What may be a number stays one.
    """
    if isinstance(value, _Plain):
        is_text = _takes(annotation, _TEXTS) or _takes(_item_of(annotation, _LISTS), _TEXTS)
        is_number = _takes(annotation, _NUMBERS) and "_" not in value.text
        return Interpolation(value.text) if is_text and not is_number else value.value
    if isinstance(value, list):
        return [_as_wanted(item, _item_of(annotation, _LISTS)) for item in value]
    if isinstance(value, Mapping):
        item_hint = _item_of(annotation, {dict, Mapping})
        return {
            _name(key, is_text=_takes(annotation, {dict, Mapping})): _as_wanted(item, item_hint)
            for key, item in value.items()
        }
    if isinstance(value, QuotedString):
        return Interpolation(value.text)
    return Interpolation(value) if isinstance(value, str) else value


def _name(key: Any, *, is_text: bool) -> Any:
    if isinstance(key, _Plain):
        return key.text if is_text else key.value
    return key


def _item_of(annotation: Any, kinds: set[Any]) -> Any:
    """Return the annotation of the items of a list or mapping; Any where there is none."""
    for choice in alternatives(annotation):
        if typing.get_origin(choice) in kinds:
            return typing.get_args(choice)[-1]
    return Any


def find_annotation(setting: str, verb: str, composed: Callable[[], Mapping[str, Any]]) -> Any:
    """Return the annotation of a setting; Any where it has none."""
    if setting in _HYDRA_TEXTS:
        return str
    path = setting.split(".")
    hint, keys = SETTINGS_CLASSES[verb], path
    while keys and is_dataclass(hint):
        hint = typing.get_type_hints(hint, include_extras=True).get(keys[0], Any)
        keys = keys[1:]
    if keys and path[0] in {section.partition(".")[0] for section in SECTIONS}:
        hint, keys = _find_argument(path, composed())
    for _ in keys:
        hint = _item_of(hint, {dict, Mapping})
    return hint


def _find_argument(path: list[str], config: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """Return the annotation of the argument in which a setting lies, and the keys inside it."""
    for length in range(len(path) - 1, 0, -1):
        node, argument = node_at(config, ".".join(path[:length])), path[length]
        if isinstance(node, Mapping) and TARGET in node:
            try:
                target = import_target(str(node[TARGET]), f"{path[0]}={node[TARGET]}")
                own_arguments = SECTIONS[path[0]].own_arguments if path[0] in SECTIONS else {}
                hint = own_arguments.get(argument) or argument_annotation(target, argument)
                return hint, path[length + 1 :]
            except (SettingError, ValueError):  # refused later, with its cause
                return Any, []
    section = SECTIONS.get(path[0])
    return (section.limits.get(path[1], Any), path[2:]) if section else (Any, [])


def _compose_choices(arguments: Sequence[str], verb: str) -> Mapping[str, Any]:
    """Compose the groups and classes that a command line chooses, without its other settings."""
    choices = [
        argument
        for argument in arguments
        if (CONF_DIR / (key := override_key(argument))).is_dir()
        or key.endswith(f".{TARGET}")
        or key == "hydra.searchpath"
    ]
    for overrides in (choices, []):  # a choice that cannot be composed is refused later
        try:
            config = compose_config(verb, overrides)
        except HydraException:
            continue
        return typing.cast(dict, OmegaConf.to_container(config, resolve=False))
    return {}
