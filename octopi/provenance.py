"""What a job writes down so that it can be understood, and repeated, later."""

import contextlib
import dataclasses
import fcntl
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

PACKAGES = ("octopi", "torch", "pytorch-lightning", "monai", "copick", "hydra-core", "numpy")
SQLITE = "sqlite:///"
ARTIFACTS = {".pth", ".yaml", ".json", ".png", ".log"}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }


def git_commit() -> str | None:
    """The commit this code is at, with a '+' where it has been changed; None outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        described = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """The file holds the content, complete."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(content, indent=1, default=str), encoding="utf-8")
    part.replace(path)


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """The file holds the content, complete."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(yaml.safe_dump(plain(content), sort_keys=False), encoding="utf-8")
    part.replace(path)


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; nothing in it is run."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def plain(content: Any) -> Any:
    """The content as YAML and JSON know it: dictionaries, lists, numbers and text."""
    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        content = dataclasses.asdict(content)
    if isinstance(content, Mapping):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    return content


def differences(before: Any, now: Any, path: str = "") -> list[str]:
    """The dotted keys under which two configs differ."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = [*before, *(key for key in now if key not in before)]
        return [
            found
            for key in keys
            for found in differences(
                before.get(key), now.get(key), f"{path}.{key}" if path else str(key)
            )
        ]
    return [] if before == now else [path]


def absolute_store(node: Mapping[str, Any]) -> dict[str, Any]:
    """A tracker's config whose local paths stay the same wherever the job is run from."""
    out = dict(node)
    for key in ("tracking_uri", "artifact_location"):
        value = out.get(key)
        if isinstance(value, str) and value.startswith(SQLITE):
            out[key] = SQLITE + str(Path(value.removeprefix(SQLITE)).absolute())
        elif isinstance(value, str) and "://" not in value:
            out[key] = Path(value).absolute().as_uri()
    return out


@contextlib.contextmanager
def alone(node: Mapping[str, Any]) -> Iterator[None]:
    """Nobody else on this machine makes the same local tracking store meanwhile.

    A fresh SQLite store takes MLflow ten seconds of migrations, which two jobs must not share.
    """
    uri = str(node.get("tracking_uri", ""))
    if not uri.startswith(SQLITE):
        yield
        return
    path = Path(uri.removeprefix(SQLITE))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def tracked(tracker: Any, folder: Path, settings: Any) -> Iterator[None]:
    """The tracker knows the settings at the start, and at the end what became of the job.

    Args:
        tracker: a Lightning logger, or None.
        folder: the job's folder, whose files are its artifacts.
        settings: the command's dataclass.
    """
    client = getattr(tracker, "experiment", None)
    run_id = getattr(tracker, "run_id", None)
    if tracker is not None:
        tracker.log_hyperparams(plain(settings))
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) or getattr(error, "exit_code", 1) > 128:
            status = "KILLED"
        raise
    finally:
        if run_id is not None and client is not None:
            for path in sorted(folder.iterdir()):
                if path.is_file() and path.suffix in ARTIFACTS:
                    client.log_artifact(run_id, str(path))
            client.set_terminated(run_id, status)
