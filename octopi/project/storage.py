"""Storage below copick: files and folders appear whole or not at all; failures have a reason."""

import contextlib
import errno
import hashlib
import logging
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError
from fsspec.implementations.local import LocalFileSystem

from octopi.errors import DataError, ResourceError
from octopi.machine import check_writable

# What local disks, ssh and S3 raise when storage fails; s3fs lets botocore's own errors through.
STORAGE_ERRORS = (OSError, BotoCoreError)
WAITS = (1.0, 4.0, 16.0)  # seconds before remote storage is asked again

Result = TypeVar("Result")
logger = logging.getLogger(__name__)


@contextlib.contextmanager
def reading(where: str) -> Iterator[None]:
    """Storage that fails inside the block is a DataError that says what was being read."""
    try:
        yield
    except STORAGE_ERRORS as error:
        raise DataError(
            f"{where} cannot be read: {error}. Check that its storage is there and try again."
        ) from error


def patiently(fetch: Callable[[], Result], fs: Any) -> Result:
    """What `fetch` gives; where remote storage fails it is asked again a few times, ever later.

    Args:
        fetch: reads something.
        fs: the filesystem it reads from.
    """
    for wait in () if is_local(fs) else WAITS:
        try:
            return fetch()
        except (FileNotFoundError, PermissionError):
            raise
        except STORAGE_ERRORS as error:
            logger.warning("Storage failed (%s); trying again in %g s.", error, wait)
            time.sleep(wait)
    return fetch()


@contextlib.contextmanager
def writing(where: str, path: str) -> Iterator[None]:
    """Storage that fails inside the block is a ResourceError that says what to do about it."""
    try:
        yield
    except STORAGE_ERRORS as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        cure = "Make room there" if full else "Make it writable"
        raise ResourceError(
            f"{where} cannot be written to {path}: {error}. "
            f"{cure}, or point overlay_root in the copick config elsewhere."
        ) from error


def check_overlay(root: Any, config_path: str, *, touch: bool) -> None:
    """A project's overlay accepts files: one was written there and removed.

    Without `touch` nothing is written, and only a local overlay can be judged.
    """
    overlay = getattr(root.config, "overlay_root", None)
    if overlay is None:
        raise ResourceError(
            f"{config_path} has no overlay_root, so nothing can be written. "
            "Add one that points at a folder of yours."
        )
    folder = root.fs_overlay._strip_protocol(overlay).rstrip("/")
    probe = f"{folder}/.octopi-probe-{uuid.uuid4().hex[:8]}"
    if not touch:
        if is_local(root.fs_overlay):
            check_writable(folder, "Point overlay_root in the copick config elsewhere.")
        return
    with writing("Results", overlay):
        root.fs_overlay.makedirs(folder, exist_ok=True)
        root.fs_overlay.pipe_file(probe, b"")
        root.fs_overlay.rm_file(probe)


def is_local(fs: Any) -> bool:
    """Whether paths of the filesystem are paths of this machine."""
    return isinstance(getattr(fs, "_fs", fs), LocalFileSystem)


def write_file(fs: Any, path: str, content: bytes) -> None:
    """The file holds the content; a reader meets the old or the new one, never a part."""
    if is_local(fs):
        with staged(Path(path)) as stage:
            stage.write_bytes(content)
        return
    # copick's wrapper inherits fsspec's general mv; the filesystem inside has a better one.
    backend = getattr(fs, "_fs", fs)
    stage = f"{path}.{uuid.uuid4().hex[:8]}.partial"
    backend.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    backend.pipe_file(stage, content)
    backend.mv(stage, path)


@contextlib.contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A path beside the target that takes its place, whole, if the block ends without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # Hidden and without the target's ending, so that copick never lists it.
    mine = f".octopi-{_digest(target.name)}-{_digest(socket.gethostname())}"
    _sweep(target.parent, mine)
    stage = target.parent / f"{mine}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    old = stage.with_name(f"{stage.name}-old")
    try:
        yield stage
        if stage.is_dir() and target.exists():
            target.rename(old)  # a folder cannot be renamed onto another
        stage.replace(target)
    finally:
        _remove(stage)
        _remove(old)


def _sweep(folder: Path, mine: str) -> None:
    """What killed writers of the same target left behind on this machine is gone."""
    for left in folder.glob(f"{mine}-*"):
        pid = int(left.name.removeprefix(f"{mine}-").split("-")[0])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            _remove(left)
        except PermissionError:
            continue  # alive, and somebody else's


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
