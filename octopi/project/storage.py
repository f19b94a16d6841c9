"""Storage below copick: atomic writes, retries, and errors that say what to do."""

import contextlib
import errno
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import botocore.exceptions
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from octopi.errors import (
    DISK_FULL,
    PATH_ERRNOS,
    WHAT_IS_KEPT,
    DataError,
    NoAnswerError,
    ResourceError,
    SettingError,
    describe_error,
    shorten,
)
from octopi.system.files import read_bytes, staged, sweep_leftovers, temporary_folder
from octopi.system.resources import check_writable

# Signs of a pattern: copick lists files by patterns, and quotes none of these.
PATTERN_SIGNS = frozenset("*?[")
# What local disks, ssh and S3 raise when storage fails; s3fs lets botocore's own errors through.
STORAGE_ERRORS = (OSError, BotoCoreError)
# That a server does not answer, or not now (503); EREMOTEIO is s3fs's for 500.
NO_ANSWER = (ConnectionError, TimeoutError, HTTPClientError, botocore.exceptions.ConnectionError)
OUTAGES = frozenset(
    {
        errno.EBUSY,
        errno.EREMOTEIO,
        errno.ETIMEDOUT,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.EPIPE,
    }
)
# That S3 accepts no keys of this process; they are looked for when the first request is made.
_KEY_CODES = frozenset(
    {
        *("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidSecurity"),
        *("ExpiredToken", "InvalidToken", "TokenRefreshRequired"),
    }
)
_KEY_ERRORS = (
    *(botocore.exceptions.NoCredentialsError, botocore.exceptions.PartialCredentialsError),
    *(botocore.exceptions.CredentialRetrievalError, botocore.exceptions.ProfileNotFound),
    *(botocore.exceptions.SSOError, botocore.exceptions.TokenRetrievalError),
)
_CURE_OF_KEYS = (
    "Correct or renew the keys of S3: in overlay_fs_args or static_fs_args of the copick config, "
    "or in AWS_… variables or ~/.aws of this machine"
)
# What clients of servers raise beside OSError; a project that needs them imports them.
_CLIENT_ERRORS = (
    ("gql.transport.exceptions", "TransportError"),
    ("requests.exceptions", "RequestException"),
    ("aiohttp", "ClientError"),
    ("asyncssh", "Error"),
)
RETRY_DELAYS = (1.0, 4.0, 16.0)  # seconds between tries on remote storage

Result = TypeVar("Result")
logger = logging.getLogger(__name__)


@contextlib.contextmanager
def storage_errors_as_data_error(where: str) -> Iterator[None]:
    """Turn storage errors inside the block into a DataError that says what was being read.

    Where a server does not answer it is a NoAnswerError: nothing else would be read either.
    """
    try:
        yield
    except (*STORAGE_ERRORS, *_client_errors()) as error:
        if is_outage(error):
            raise NoAnswerError(
                f"{where} cannot be read: the server does not answer, or fails "
                f"({shorten(describe_error(error), 200)}). Check the network of this machine, or "
                f"copy the data to a disk that it reaches. {WHAT_IS_KEPT}"
            ) from error
        reason = str(error).rstrip(".")
        if is_refused_key(error):
            raise NoAnswerError(
                f"{where} cannot be read: {reason}. {_CURE_OF_KEYS}. {WHAT_IS_KEPT}"
            ) from error
        cure = "Check that its storage is there and try again."
        if getattr(error, "errno", None) in PATH_ERRNOS:
            cure = "Put the file that belongs there in its place."
        elif isinstance(error, PermissionError):
            cure = "Make it readable."
        raise DataError(f"{where} cannot be read: {reason}. {cure}") from error


def is_refused_key(error: BaseException) -> bool:
    """Return whether S3 takes this process for nobody it knows, or knows no longer."""
    response = getattr(error.__cause__, "response", {})
    return isinstance(error, _KEY_ERRORS) or response.get("Error", {}).get("Code") in _KEY_CODES


def is_outage(error: BaseException) -> bool:
    """Return whether a server does not answer or fails, so that no file is to blame."""
    if isinstance(error, (*NO_ANSWER, *_client_errors())):
        return True
    number = getattr(error, "errno", None)
    # s3fs takes codes that it does not know for an I/O error
    return number in OUTAGES or (number == errno.EIO and isinstance(error.__cause__, ClientError))


def _client_errors() -> tuple[type[BaseException], ...]:
    """Return the errors of those clients that are imported."""
    modules = [(sys.modules.get(module), name) for module, name in _CLIENT_ERRORS]
    return tuple(getattr(module, name) for module, name in modules if module)


def with_retries(fetch: Callable[[], Result], fs: Any) -> Result:
    """Call `fetch` and return its result; retry after errors of remote storage.

    Args:
        fetch: reads something.
        fs: the filesystem it reads from.
    """
    delays = () if is_local(fs) else RETRY_DELAYS
    for delay in delays:
        try:
            return fetch()
        except (FileNotFoundError, PermissionError, *_KEY_ERRORS):
            raise
        except (*STORAGE_ERRORS, *_client_errors()) as error:
            logger.warning("Storage failed (%s); trying again in %g s.", error, delay)
            time.sleep(delay)
    return fetch()


@contextlib.contextmanager
def storage_errors_as_resource_error(where: str, path: str) -> Iterator[None]:
    """Turn storage errors inside the block into a ResourceError with a cure."""
    try:
        yield
    except (*STORAGE_ERRORS, *_client_errors()) as error:
        is_full = getattr(error, "errno", None) in DISK_FULL
        cure = "Make room there" if is_full else "Make it writable"
        if is_outage(error):
            cure = f"{WHAT_IS_KEPT} Wait until the server answers"
        if is_refused_key(error):
            cure = f"{WHAT_IS_KEPT} {_CURE_OF_KEYS}"
        reason = getattr(error, "strerror", None) or shorten(error, 200)
        raise ResourceError(
            f"{where} cannot be written to {shorten(path, 200)}: {reason.rstrip('.')}. "
            f"{cure}, or point overlay_root in the copick config elsewhere."
        ) from error


def check_overlay(root: Any, *, touch: bool) -> None:
    """Raise ResourceError unless a project's overlay accepts files.

    Args:
        root: copick's root.
        touch: write and remove a file to try; else check permissions, which only a local disk has.
    """
    folder = root_folder(root, "overlay_root")
    if is_local(root.fs_overlay):
        check_writable(folder, "Point overlay_root in the copick config elsewhere.")
    if not touch:
        return
    with storage_errors_as_resource_error("Results", root.config.overlay_root):
        if is_local(root.fs_overlay):
            with temporary_folder(Path(folder)):
                sweep_leftovers(Path(folder), "ExperimentRuns/*/*/")
            return
        probe = f"{folder}/.octopi-probe"  # of one name, so that none of a killed process stays
        make_folder(root.fs_overlay, folder)
        root.fs_overlay.pipe_file(probe, b"")
        with contextlib.suppress(FileNotFoundError):  # another process has removed it
            root.fs_overlay.rm_file(probe)


def check_roots(root: Any, config_path: str) -> None:
    """Raise SettingError if copick would take the path of a project for a pattern or another path.

    Args:
        root: copick's root.
        config_path: of its config, for the message.
    """
    for key in ("overlay_root", "static_root"):
        folder = getattr(root.config, key, None)
        if folder and PATTERN_SIGNS & set(folder):
            raise SettingError(
                f"{key} in {config_path} is {shorten(folder)}: copick reads the signs * ? [ as a "
                "pattern and finds nothing there. Rename the folder."
            )
        if folder and "$" in folder and is_absent(root, key):
            raise SettingError(
                f"{key} in {config_path} is {shorten(folder)}, which is not there: copick replaces "
                "no variables. Write the path itself."
            )


def check_overlays_differ(roots: Mapping[str, Any]) -> None:
    """Raise SettingError if configs of different data have one overlay; warn of copies of a config.

    Each would list the other's runs, and results of runs of one name would replace each other.
    Configs of the data portal list the portal's runs alone, whose names are unique.

    Args:
        roots: copick's root of each config, by the config's path.
    """
    first_with: dict[tuple[str, str], tuple[str, Any]] = {}
    for path, root in roots.items():
        if root.config.config_type != "filesystem":
            continue
        overlay = (str(root.config.overlay_root), str(root.config.overlay_fs_args))
        if is_local(root.fs_overlay):
            overlay = (str(Path(root_folder(root, "overlay_root")).resolve()), "")
        static = root.config.static_root
        first, first_static = first_with.setdefault(overlay, (path, static))
        both = f"{shorten(first, 150)} and {shorten(path, 150)}"
        if first != path and static == first_static:
            logger.warning("%s are one project: each of its runs counts twice.", both)
        elif first != path:
            raise SettingError(
                f"{both} have the same overlay_root: its runs would count twice, and results of "
                "runs of one name would replace each other. Give one of these configs, or each an "
                "overlay_root of its own."
            )


def root_folders(root: Any) -> list[str]:
    """List the paths of a copick root's overlay and read-only data on their filesystems."""
    keys = [key for key in ("overlay_root", "static_root") if getattr(root.config, key, None)]
    return list(dict.fromkeys(root_folder(root, key) for key in keys))


def is_absent(root: Any, key: str) -> bool:
    """Return whether a folder of a project, such as its `static_root`, is not on this machine.

    What another machine stores is not looked at, and what the config does not name is not absent.
    """
    if not getattr(root.config, key, None):
        return False
    is_here = is_local(getattr(root, f"fs_{key.removesuffix('_root')}"))
    return is_here and not Path(root_folder(root, key)).exists()


def root_folder(root: Any, key: str) -> str:
    """Return the path of a folder of a copick root, such as `overlay_root`, on its filesystem."""
    fs = getattr(root, f"fs_{key.removesuffix('_root')}")
    return str(fs._strip_protocol(getattr(root.config, key))).rstrip("/")


def filesystem_inside(fs: Any) -> Any:
    """Return the filesystem inside of copick's wrapper, which inherits fsspec's general methods."""
    return getattr(fs, "_fs", fs)


def can_rename(fs: Any) -> bool:
    """Return whether a filesystem, without copick's wrapper, renames files; no object store can."""
    return hasattr(fs, "_mv") or type(fs).mv is not AbstractFileSystem.mv


def make_folder(fs: Any, path: str) -> None:
    """Make a folder; an object store has none, and would make a bucket of a mistyped name."""
    if can_rename(filesystem_inside(fs)):
        fs.makedirs(path, exist_ok=True)


def is_local(fs: Any) -> bool:
    """Return whether paths of the filesystem are paths of this machine."""
    return isinstance(filesystem_inside(fs), LocalFileSystem)


def read_file(fs: Any, path: str) -> bytes:
    """Read a file; raise FileNotFoundError where there is none."""
    if is_local(fs):
        return read_bytes(Path(path))
    # s3fs would first ask for the size, and list where there is none
    options = {"max_concurrency": 1} if hasattr(filesystem_inside(fs), "max_concurrency") else {}
    content: bytes = fs.cat_file(path, **options)
    return content


def write_file(fs: Any, path: str, content: bytes) -> None:
    """Write a file; a reader meets the old or the new content, never a part."""
    if is_local(fs):
        with staged(Path(path)) as stage:
            stage.write_bytes(content)
        return
    backend = filesystem_inside(fs)
    if can_rename(backend):
        backend.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        stage = f"{path}.partial"  # of one name, so that the next writer replaces a killed one's
        backend.pipe_file(stage, content)
        backend.mv(stage, path)
    else:  # an object store cannot rename, but writes an object whole or not at all
        backend.pipe_file(path, content)
