"""Repeat a training: `resume=FOLDER` and `experiment=FOLDER` as the overrides they stand for."""

import dataclasses
import logging
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from octopi.arguments import TARGET
from octopi.config.files import CONF_DIR, groups_of
from octopi.config.overrides import (
    Interpolation,
    compose_config,
    last_value,
    override_key,
    override_text,
    shell_override,
    trusted_names,
)
from octopi.config.sections import LIBRARIES
from octopi.config.settings import SETTINGS_CLASSES
from octopi.errors import SettingError, shorten
from octopi.system.job_folder import CONFIG_FILE, best_trial_folder, read_training_config
from octopi.system.passwords import TRACKER_ADDRESSES, mask_passwords, with_passwords
from octopi.tracking import mlflow

logger = logging.getLogger(__name__)

SWEEP_TAGS = ("mlflow.parentRunId", "trial", "fold")  # that a sweep gives the runs of its trials


def expand_resume(arguments: list[str], *, verb: str) -> list[str]:
    """Replace `resume=FOLDER` by the settings in its config.yaml; what is typed beside it wins.

    `resume=auto` stays: its command line is the one that began the training.
    """
    path = last_value(arguments, "resume")
    if path in (None, "auto"):
        return arguments
    folder = Path(path).absolute()
    typed = [a for a in arguments if not a.startswith("resume=")]
    stored = read_training_config(folder)
    for key in ("resume", "dry_run"):
        stored.pop(key, None)
    return [
        *setting_overrides(stored, typed, trust=None, verb=verb),
        *typed,
        override_text("resume", folder),
        override_text("hydra.run.dir", folder),
    ]


def warn_of_other_project(overrides: Iterable[str], project: Mapping[str, Any]) -> None:
    """Warn that a training which is repeated has another project than OCTOPI_PROJECT names."""
    overrides, named = list(overrides), os.environ.get("OCTOPI_PROJECT")
    config = project.get("config")
    is_stored = any(override.startswith("+project=") for override in overrides)
    if not (named and is_stored and isinstance(config, str)):
        return
    is_typed = last_value(overrides, "project.config") is not None
    if not is_typed and Path(named).expanduser().resolve() != Path(config).resolve():
        logger.warning(
            "The project is %s, as in the training that is repeated, and not that of "
            "OCTOPI_PROJECT. To take that, type %s.",
            shorten(config, 160),
            shell_override("project.config", named),
        )


def _is_project_there(node: Any) -> bool:
    """Return whether what a stored project names exists: its configs, or the synthetic project."""
    config = node.get("config") if isinstance(node, Mapping) else None
    if isinstance(config, Mapping):
        config = config.get("directory")
    paths = config if isinstance(config, list) else [config]
    return all(isinstance(path, str) and Path(path).exists() for path in paths)


def expand_experiment_folder(arguments: list[str], *, verb: str) -> list[str]:
    """Replace `experiment=FOLDER` by the settings of the training in it; what is typed wins.

    `experiment=SWEEP/best` is the best training of a search.
    """
    path = last_value(arguments, "experiment")
    if path is None or "/" not in path or path.endswith(".yaml"):
        return arguments
    folder = Path(path).absolute()
    if folder.name == "best" and not folder.exists():
        folder = best_trial_folder(folder.parent)
    typed = [a for a in arguments if not a.startswith("experiment=")]
    stored = _without_sweep(read_training_config(folder), folder / CONFIG_FILE)
    return [*setting_overrides(stored, typed, trust=trusted_names(typed), verb=verb), *typed]


def _without_sweep(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the settings of a training without those of one run of it, or of its sweep.

    Args:
        config: the settings.
        path: their file, for errors.
    """
    callbacks, tracker, trainer = (
        _mapping_at(config, key, path) for key in ("callbacks", "logger", "trainer")
    )
    callbacks.pop("pruning", None)
    if "run_name" in tracker:
        tracker["run_name"] = Interpolation("${hydra:job.name}")
    if "tags" in tracker:
        tags = _mapping_at(tracker, "tags", path)
        tracker["tags"] = {k: v for k, v in tags.items() if k not in SWEEP_TAGS} or None
    kept = {k: v for k, v in config.items() if k not in ("resume", "dry_run", "pruner")}
    trainer["enable_progress_bar"] = True
    return {**kept, "callbacks": callbacks, "logger": tracker, "trainer": trainer}


def _mapping_at(config: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    part = config.get(key) or {}
    if not isinstance(part, dict):
        raise SettingError(f"{path} is damaged: {key} must be a mapping, not {part!r:.100}.")
    return dict(part)


def setting_overrides(
    config: Mapping[str, Any],
    typed: Iterable[str],
    *,
    trust: Collection[str] | None,
    verb: str = "train",
) -> list[str]:
    """Return the overrides that make a command's settings those of a config.

    A setting that refers to another one in our own YAML does so again, where the config agrees:
    `fold=1` typed beside them is the fold of the data too. Keys that are no settings of the
    command, such as Hydra's, are left out; so is a project that does not exist where it was:
    OCTOPI_PROJECT or what is typed says where it is now, and a file has no synthetic one made.

    Args:
        config: resolved settings, as `config.yaml` holds them.
        typed: overrides that follow; a setting or group that they replace is left out.
        trust: classes that the config may name beside those of libraries; None = any, and any
            tracker: a training that is resumed is the user's own.
        verb: the command.

    Raises:
        SettingError: the config names another class or tracker.
    """
    typed = list(typed)
    typed_keys = {override_key(override) for override in typed}
    config = with_passwords(config, typed_keys, CONFIG_FILE)
    is_own = trust is None
    if not is_own and "logger" not in typed_keys and isinstance(config.get("logger"), Mapping):
        config = {**config, "logger": _own_tracker(config["logger"], typed_keys)}
    names = {f.name for f in dataclasses.fields(SETTINGS_CLASSES[verb])} - {"trust"} - typed_keys
    if not _is_project_there(config.get("project")):
        names -= {"project"}
    # references unresolved
    default: Any = OmegaConf.to_container(compose_config(verb, []))
    stored = _with_references(config, default, OmegaConf.create(_escaped(config)))
    groups, out = groups_of(verb), []
    for key, value in stored.items():
        if key not in names:
            continue
        if trust is not None:
            _check_targets(value, key, trust)
        if key in groups:  # the whole choice is replaced, not merged with
            out += [f"~{key}", override_text(f"+{key}", value or {})]
        elif (CONF_DIR / key).is_dir():  # a command that needs a few settings of the group
            kept = default[key].keys() & (value or {}).keys()
            out += [override_text(f"{key}.{name}", value[name]) for name in sorted(kept)]
        else:
            out.append(override_text(key, value))
    return out


def _own_tracker(tracker: Mapping[str, Any], typed_keys: Collection[str]) -> dict[str, Any]:
    """Return the stored `logger`, which writes into the job's folder or to an address of the user.

    Raises:
        SettingError: only the file names the address.
    """
    is_own = mlflow.own_address(tracker) is not None
    stored = mlflow.resolve_local_paths(tracker)
    for key in TRACKER_ADDRESSES:
        address = stored.get(key)
        is_known = is_own if key == "tracking_uri" else address == mlflow.default_address(key)
        if address and not is_known and f"logger.{key}" not in typed_keys:
            raise SettingError(
                f"logger.{key} is {shorten(mask_passwords(tracker[key]))} in the {CONFIG_FILE} to "
                f"repeat, and no file chooses where octopi writes. Type it too: logger.{key}=… "
                f"Or choose another logger, as in logger=csv."
            )
    folder = Interpolation("${hydra:runtime.output_dir}")
    return {**tracker, **({"save_dir": folder} if "save_dir" in tracker else {})}


def _with_references(value: Any, default: Any, config: Any) -> Any:
    """Return the value with `${…}` wherever the default has it and it stands for the same.

    Args:
        value: a part of the config.
        default: the same part of the defaults.
        config: all settings, for what the references stand for.
    """
    if isinstance(value, Mapping):
        parts = default if isinstance(default, Mapping) else {}
        return {k: _with_references(v, parts.get(k), config) for k, v in value.items()}
    if isinstance(value, list):
        parts = default if isinstance(default, list) and len(default) == len(value) else value
        return [_with_references(v, d, config) for v, d in zip(value, parts, strict=True)]
    is_reference = isinstance(default, str) and "${" in default
    # a reference to the environment or to Hydra's job stands for something else tomorrow
    if not is_reference or re.search(r"\$\{(oc\.(?!select:)|hydra:)", default):
        return value
    try:
        merged: Any = OmegaConf.merge(config, {"_reference": default})
        return Interpolation(default) if merged["_reference"] == value else value
    except OmegaConfBaseException:  # refers to what this config does not have
        return value


def _escaped(node: Any) -> Any:
    """Return the node with text that looks like a reference made plain."""
    if isinstance(node, Mapping):
        return {key: _escaped(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_escaped(value) for value in node]
    return node.replace("${", r"\${") if isinstance(node, str) else node


def _check_targets(node: Any, path: str, trust: Collection[str]) -> None:
    """Raise SettingError if a node of a file would have a module imported that nobody trusts."""
    if isinstance(node, list):
        for item in node:
            _check_targets(item, path, trust)
    if not isinstance(node, Mapping):
        return
    name = str(node.get(TARGET, LIBRARIES[0]))
    if name.partition(".")[0] not in LIBRARIES and name not in trust:
        raise SettingError(
            f"{path} in the {CONFIG_FILE} to repeat is {name[:100]!r}, which is imported only if "
            f"you trust its author. If you do, say so: 'trust=[{name[:100]}]'. Else choose "
            f"another: {path.partition('.')[0]}=…"
        )
    for key, item in node.items():
        _check_targets(item, f"{path}.{key}", trust)
