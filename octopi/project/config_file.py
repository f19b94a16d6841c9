"""A copick config: check its file and open its root, with errors that name what to correct."""

import json
import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from octopi.errors import ResourceError, SettingError, did_you_mean, shorten, shorten_list
from octopi.project.copick_api import open_root
from octopi.project.storage import storage_errors_as_data_error


def check_config(path: Path) -> None:
    """Raise SettingError unless the path is a file that holds a JSON object."""
    if path.is_dir():
        choices = shorten_list(sorted(p.name for p in path.glob("*.json"))) or "none"
        raise SettingError(
            f"{path} is a folder, not a copick config. Name a JSON file; in it are: {choices}."
        )
    if os.path.lexists(path) and not path.is_file():
        raise SettingError(
            f"{path} is no copick config but a link that leads nowhere, or no file. Set "
            "OCTOPI_PROJECT or project.config to a JSON file."
        )
    if not path.is_file():
        choices = [str(p) for p in path.parent.glob("*.json")] if path.parent.is_dir() else []
        raise SettingError(
            f"There is no copick config {path}.{did_you_mean(str(path), choices)} "
            "Set OCTOPI_PROJECT or project.config to one that exists."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise SettingError(f"{path} is not valid JSON: {error}. Correct it there.") from error
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}.") from error
    if not isinstance(content, dict):
        raise SettingError(f"{path} is not a copick config: it holds no JSON object.")


def open_config_root(path: Path) -> Any:
    """Open the copick root of a config.

    Raises:
        SettingError: it is not a config that copick can open.
        ResourceError: it has no overlay_root.
    """
    with storage_errors_as_data_error(f"The project of {path}"):
        try:
            return open_root(path)
        except ValidationError as error:
            faults = error.errors()
            if ("overlay_root",) in [fault["loc"] for fault in faults]:
                raise ResourceError(
                    f"{path} has no usable overlay_root, so nothing can be written. "
                    "Add one that points at a folder of yours."
                ) from error
            described = (_describe_fault(fault, path) for fault in faults)
            listed = shorten_list(described, "; ", item_length=200)
            raise SettingError(
                f"{path} is not a valid copick config: {listed}. Correct it there."
            ) from error
        except TypeError as error:
            function = traceback.extract_tb(error.__traceback__)[-1].name
            if function.startswith("validate_"):  # copick's, of the key that it is named after
                key = function.removeprefix("validate_")
                raise SettingError(
                    f"{path} is not a valid copick config: {key} of an object: {error}. Correct it "
                    "there."
                ) from error
            raise refused_options(path, error) from error
        except (ValueError, ImportError) as error:
            reason = str(error).rstrip(".")
            raise SettingError(f"copick cannot open {path}: {reason}. Correct it there.") from error


def _describe_fault(fault: Mapping[str, Any], path: Path) -> str:
    """Say where a copick config is wrong, and of which object; it may hold keys to its storage."""
    key, message = ".".join(map(str, fault["loc"])), str(fault["msg"]).rstrip(".")
    if fault["loc"][0] != "pickable_objects" or len(fault["loc"]) < 3:
        return f"{key}: {message}"
    entry = json.loads(path.read_text(encoding="utf-8"))["pickable_objects"][fault["loc"][1]]
    name = entry.get("name", "") if isinstance(entry, dict) else entry
    return f"{key} of {shorten(name)!r}: {message}, but it is {shorten(repr(fault['input']))}"


def refused_options(path: str | Path, error: TypeError) -> SettingError:
    """Return the error of a storage that refuses its options in a config."""
    return SettingError(
        f"The storage of {path} cannot be opened: {error}. Correct overlay_fs_args or "
        "static_fs_args there."
    )
