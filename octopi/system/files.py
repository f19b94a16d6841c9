"""Read and write files, complete or not at all."""

import contextlib
import ctypes
import dataclasses
import enum
import errno
import functools
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml

from octopi.arguments import fit
from octopi.errors import DISK_FULL, DataError, SettingError
from octopi.system.resources import format_bytes, free_space

Record = TypeVar("Record")

_PREFIX = ".octopi-stage-"  # of files that are being written
_WEEK = 7 * 24 * 3600.0  # seconds; no write takes as long
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux's renameat2
_LIBC: Any = ctypes.CDLL(None)

_MAX_DEPTH, _MAX_VALUES = 50, 1_000_000  # of a YAML file

_SQLITE = "sqlite:///"


def write_text(path: Path, text: str) -> None:
    """Write a text file, or leave it as it was if that fails."""
    with staged(path) as stage:
        stage.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, or leave it as it was if that fails."""
    write_text(path, json.dumps(content, indent=1, default=str))


def write_yaml(path: Path, content: Any) -> None:
    """Write a YAML file, or leave it as it was if that fails; see `to_builtin_types`."""
    content = to_builtin_types(content)
    write_text(path, yaml.dump(content, Dumper=YamlDumper, sort_keys=False, allow_unicode=True))


class YamlDumper(yaml.SafeDumper):
    """Write YAML in which text stays text for OmegaConf too, which takes 1e3 for a number."""


YamlDumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?\.?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?"),
    list("-+.0123456789"),
)


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(read_bytes(path).decode("utf-8-sig"))  # Windows editors mark UTF-8 so


def read_yaml(path: Path) -> Any:
    """Read a YAML file; run nothing in it."""
    root = compose_yaml(path)
    return None if root is None else yaml.SafeLoader("").construct_document(root)


def compose_yaml(path: Path) -> yaml.Node | None:
    """Parse a YAML file; return its nodes, None where it is empty.

    Raises:
        yaml.YAMLError: it is no YAML, nested too deeply, or huge with its aliases written out.
        UnicodeDecodeError: it is no text.
    """
    try:
        root = yaml.compose(read_bytes(path).decode("utf-8-sig"), yaml.SafeLoader)
        depth, number = (0, 0) if root is None else _measure(root, {})
    except RecursionError:
        depth, number = sys.maxsize, 0
    if depth > _MAX_DEPTH or number > _MAX_VALUES:
        raise yaml.YAMLError(
            f"it is nested more than {_MAX_DEPTH} deep, or holds more than {_MAX_VALUES} values"
        )
    return root


def _measure(node: yaml.Node, measured: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Return how deep a YAML node is nested, and how many values it holds, aliases followed."""
    if id(node) not in measured:
        measured[id(node)] = (sys.maxsize, 0)  # of a node that holds itself
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in parts for part in pair]
        inner = [_measure(part, measured) for part in parts]
        depth = 1 + max((depth for depth, _ in inner), default=0)
        measured[id(node)] = (depth, 1 + sum(number for _, number in inner))
    return measured[id(node)]


def read_mapping(path: Path, *, cure: str = "") -> dict[str, Any]:
    """Read a JSON or YAML file that holds a mapping.

    Args:
        path: of the file, which ends with `.json` if it is JSON.
        cure: what the user can do if it is damaged, for the error.

    Raises:
        DataError: the file is damaged.
    """
    try:
        content = to_builtin_types(read_json(path) if path.suffix == ".json" else read_yaml(path))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise damaged(path, describe_yaml_error(error).removesuffix("."), cure=cure) from error
    if not isinstance(content, dict):
        raise damaged(path, f"it holds {type(content).__name__}, not a mapping", cure=cure)
    return content


def read_record(path: Path, kind: type[Record], *, cure: str) -> Record:
    """Read a JSON or YAML file that holds the fields of a dataclass, perhaps beside others.

    Args:
        path: of the file.
        kind: the dataclass.
        cure: what the user can do if it is damaged, for the error.

    Raises:
        DataError: the file is damaged, or a value does not fit its field.
    """
    content = read_mapping(path, cure=cure)
    try:
        hints = get_type_hints(kind)
        return kind(**{name: fit(content.get(name), hint, name) for name, hint in hints.items()})
    except SettingError as error:
        raise damaged(path, str(error).removesuffix("."), cure=cure) from error


def describe_yaml_error(error: Exception) -> str:
    """Say where a YAML file is wrong, and what to do about tabs and signs."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return (str(error).splitlines() or [type(error).__name__])[0]
    mark = error.problem_mark
    is_no_token = "cannot start any token" in str(error.problem)
    advice = " Indent with blanks, not tabs; quote text that begins with % @ or `."
    name = "" if mark.name.startswith("<") else f"{mark.name}, "
    return f"{name}line {mark.line + 1}: {error.problem}.{advice if is_no_token else ''}"


def damaged(path: Path, reason: object, *, cure: str = "") -> DataError:
    """Return the error for a damaged file, which names it and what the user can do."""
    return DataError(f"{path} is damaged: {reason}. {cure}".rstrip())


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


def absolute_sqlite_url(url: str) -> str:
    """Return the URL of a SQLite file with an absolute path; any other URL as it is."""
    path = sqlite_path(url)
    return url if path is None else f"{_SQLITE}{path}"


def sqlite_path(url: str) -> Path | None:
    """Return the absolute path of a SQLite file from its URL; None for any other URL."""
    return Path(url.removeprefix(_SQLITE)).absolute() if url.startswith(_SQLITE) else None


@contextlib.contextmanager
def staged(target: Path, *, fsync: bool = False) -> Iterator[Path]:
    """Yield a path beside the target; move it there if the block ends without an error.

    Args:
        target: file or folder, of which readers only ever meet the old or the new content.
        fsync: wait until the file is on the disk, so that it also survives a power failure.

    Raises:
        OSError: with the file, the bytes needed and those free, where the disk is full.
        FileExistsError: the target is a device or a pipe, such as /dev/null.
    """
    check_no_pipe(target)
    stage = _stage_path(target.parent)
    old = stage.with_name(f"{stage.name}-old")
    try:
        with explain_full_disk(target, stage):
            yield stage
            if fsync:
                with stage.open("rb") as file:
                    os.fsync(file.fileno())
            if not stage.is_dir() or not _exchange(stage, target):
                if stage.is_dir() and os.path.lexists(target):
                    target.rename(old)  # a folder cannot be renamed onto another
                stage.replace(target)
    finally:
        _remove(stage)
        _remove(old)


def check_no_pipe(path: Path) -> None:
    """Raise FileExistsError for a device or a pipe: the administrator may rename a file over it."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise _no_file(path)


def read_bytes(path: Path) -> bytes:
    """Read a file; raise FileExistsError for a device or a pipe, and wait for none."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise _no_file(path)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _no_file(path: Path) -> FileExistsError:
    return FileExistsError(errno.EEXIST, "This is no file", str(path))


@contextlib.contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Make a folder below another for the block; of a killed process the next writer removes it."""
    path = _stage_path(parent)
    try:
        path.mkdir(mode=0o700)
        yield path
    finally:
        _remove(path)


@functools.cache
def _sweep_once(folder: Path) -> None:
    """Remove what killed writers left in a folder, once: a sweep lists all that is in it."""
    sweep_leftovers(folder)


def _stage_path(folder: Path) -> Path:
    """Return a new path in a folder, which is made and swept of what killed writers left.

    The name is hidden and has no ending, so that copick never lists it, and nobody can guess it to
    put a link in its place.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _sweep_once(folder.absolute())
    return folder / f"{_PREFIX}{_digest(socket.gethostname())}-{os.getpid()}-{uuid.uuid4().hex}"


def write_figure(path: Path, figure: Any) -> None:
    """Write a Matplotlib figure as PNG, or leave the file as it was if that fails."""
    with staged(path) as stage:
        figure.savefig(stage, dpi=110, format="png")


@contextlib.contextmanager
def explain_full_disk(target: Path, stage: Path) -> Iterator[None]:
    """Add file, need and free space to the error of a disk that has become full.

    Args:
        target: the file or folder to be written, which is named.
        stage: where it is written meanwhile.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch.save hides the cause in a RuntimeError
        cause: BaseException | None = error
        while cause is not None and getattr(cause, "errno", None) not in DISK_FULL:
            cause = cause.__cause__ or cause.__context__
        if not isinstance(cause, OSError):
            raise
        need = format_bytes(max(_size(stage), _size(target)))
        free = format_bytes(free_space(target.parent))
        limit = "This file may not be larger (ulimit -f)" if cause.errno == errno.EFBIG else ""
        disk = os.statvfs(target.parent)
        if disk.f_files and not disk.f_favail:  # some disks count none
            limit = "The disk takes no further file, for it has too many (df -i)"
        message = f"{limit or 'No space left'}: at least {need} are needed, {free} are free"
        raise OSError(cause.errno, message, str(target)) from error


def _size(path: Path) -> int:
    """Count the bytes of a file or of all files in a folder; 0 where there is none."""
    paths = path.rglob("*") if path.is_dir() else [path]
    return sum(path.stat().st_size for path in paths if path.is_file())


def _exchange(stage: Path, target: Path) -> bool:
    """Let two folders change places at once; return whether the system and the disk can."""
    if not target.is_dir() or target.is_symlink() or not hasattr(_LIBC, "renameat2"):
        return False
    paths = os.fsencode(stage.absolute()), os.fsencode(target.absolute())
    return _LIBC.renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0


def sweep_leftovers(folder: Path, pattern: str = "") -> None:
    """Remove what killed writers left behind: those of this machine, of any after a week.

    Args:
        folder: to be swept.
        pattern: of the folders below it that are swept instead, such as "*/*/".
    """
    for leftover in folder.glob(f"{pattern}{_PREFIX}*"):
        parts = leftover.name.removeprefix(_PREFIX).split("-")
        if len(parts) < 3 or not parts[1].isdigit():
            continue
        with contextlib.suppress(OSError):  # another writer's sweep was quicker
            is_old = time.time() - leftover.lstat().st_mtime > _WEEK
            is_local = parts[0] == _digest(socket.gethostname())
            if is_old or (is_local and not is_running(int(parts[1]))):
                _remove(leftover)


def is_running(pid: int) -> bool:
    """Return whether this machine runs a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's process
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
