"""Read and write text files, complete or not at all."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from octopi.errors import DataError


def write_text(path: Path, text: str) -> None:
    """The file holds the text, complete."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """The file holds the content, complete."""
    write_text(path, json.dumps(content, indent=1, default=str))


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """The file holds the content, complete."""
    write_text(path, yaml.safe_dump(to_builtin_types(content), sort_keys=False))


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; nothing in it is run."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a JSON or YAML file that holds a mapping; raise DataError that names a damaged file."""
    try:
        content = read_json(path) if path.suffix == ".json" else read_yaml(path)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {(str(error).splitlines() or [''])[0]}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is damaged: it holds {type(content).__name__}, not a mapping.")
    return content


def to_builtin_types(content: Any) -> Any:
    """The content as YAML and JSON know it: dictionaries, lists, numbers and text."""
    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        content = dataclasses.asdict(content)
    if isinstance(content, Mapping):
        return {str(key): to_builtin_types(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [to_builtin_types(value) for value in content]
    return content


def differing_keys(before: Any, now: Any, path: str = "") -> list[str]:
    """The dotted keys under which two configs differ."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = [*before, *(key for key in now if key not in before)]
        return [
            found
            for key in keys
            for found in differing_keys(
                before.get(key), now.get(key), f"{path}.{key}" if path else str(key)
            )
        ]
    return [] if before == now else [path]
