"""Read and write files, complete or not at all."""

import contextlib
import dataclasses
import enum
import hashlib
import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from octopi.errors import DataError


def write_text(path: Path, text: str) -> None:
    """Write a text file, or leave it as it was if that fails."""
    with staged(path) as stage:
        stage.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, or leave it as it was if that fails."""
    write_text(path, json.dumps(content, indent=1, default=str))


def write_yaml(path: Path, content: Any) -> None:
    """Write a YAML file, or leave it as it was if that fails; see `to_builtin_types`."""
    write_text(path, yaml.safe_dump(to_builtin_types(content), sort_keys=False))


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_yaml(path: Path) -> Any:
    """Read a YAML file; run nothing in it."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a JSON or YAML file that holds a mapping; raise DataError that names a damaged file."""
    try:
        content = to_builtin_types(read_json(path) if path.suffix == ".json" else read_yaml(path))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {(str(error).splitlines() or [''])[0]}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is damaged: it holds {type(content).__name__}, not a mapping.")
    return content


def to_builtin_types(value: Any) -> Any:
    """Return the value as the types of YAML where it has such a form; else the value itself."""
    if hasattr(value, "tolist"):  # of NumPy and torch
        value = value.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): to_builtin_types(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [to_builtin_types(item) for item in value]
    return value


def differing_values(before: Any, now: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    """Return both values of each dotted key under which two configs differ."""
    if not (isinstance(before, Mapping) and isinstance(now, Mapping)):
        return {} if before == now else {path: (before, now)}
    values = {}
    for key in dict.fromkeys([*before, *now]):
        part = f"{path}.{key}" if path else str(key)
        values |= differing_values(before.get(key), now.get(key), part)
    return values


def differing_keys(before: Any, now: Any) -> list[str]:
    """List the dotted keys under which two configs differ."""
    return list(differing_values(before, now))


@contextlib.contextmanager
def staged(target: Path, *, fsync: bool = False) -> Iterator[Path]:
    """Yield a path beside the target; move it there if the block ends without an error.

    Args:
        target: file or folder, of which readers only ever meet the old or the new content.
        fsync: wait until the file is on the disk, so that it also survives a power failure.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # Hidden and without the target's ending, so that copick never lists it.
    prefix = f".octopi-{_digest(target.name)}-{_digest(socket.gethostname())}"
    _remove_leftovers(target.parent, prefix)
    stage = target.parent / f"{prefix}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    old = stage.with_name(f"{stage.name}-old")
    try:
        yield stage
        if fsync:
            with stage.open("rb") as file:
                os.fsync(file.fileno())
        if stage.is_dir() and target.exists():
            target.rename(old)  # a folder cannot be renamed onto another
        stage.replace(target)
    finally:
        _remove(stage)
        _remove(old)


def _remove_leftovers(folder: Path, prefix: str) -> None:
    """Remove what killed writers of the same target left behind on this machine."""
    for leftover in folder.glob(f"{prefix}-*"):
        pid = int(leftover.name.removeprefix(f"{prefix}-").split("-")[0])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            _remove(leftover)
        except PermissionError:
            continue  # another user's process, still running


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
