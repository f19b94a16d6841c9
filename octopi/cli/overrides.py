"""Short forms of the command line (resume, experiment=PATH, -m); how a value is written."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from octopi.config.files import CONF_DIR
from octopi.config.overrides import Interpolation, compose_config, override_key, override_text
from octopi.config.settings import SETTINGS_CLASSES
from octopi.errors import SettingError, did_you_mean
from octopi.system.job_folder import best_trial_folder, read_training_config

# Overrides that change how a sweep is run, not what it is.
OVERRIDES_THAT_CHANGE_NO_RESULT = (
    "-m",
    "--multirun",
    "hydra.sweeper.n_trials=",
    "hydra.sweeper.n_jobs=",
    "hydra/launcher=",
    "hydra.launcher.",
    "logger=",
    "logger.",
    "trainer.enable_progress_bar=",
    "dry_run=",
)
SEARCHPATH = "hydra.searchpath="
MULTIRUN = {"-m", "--multirun", "hydra.mode=MULTIRUN"}
SWEEP_TAGS = ("mlflow.parentRunId", "trial", "fold")  # that a sweep gives the runs of its trials


def expand_overrides(arguments: list[str], *, verb: str) -> list[str]:
    """Return the command line with every short form replaced by what it stands for."""
    if asks_dry_run(arguments) and MULTIRUN & set(arguments) and verb != "train":
        raise SettingError("dry_run=true tells of one job at a time: leave out -m.")
    arguments = expand_experiment_folder(expand_resume(arguments, verb=verb), verb=verb)
    return add_sweep_folder(expand_experiment_file(arguments), verb=verb)


def expand_resume(arguments: list[str], *, verb: str = "train") -> list[str]:
    """Replace `resume=FOLDER` by the settings in its config.yaml; what is typed beside it wins."""
    path = _last_value(arguments, "resume")
    if path is None:
        return arguments
    folder = Path(path).absolute()
    typed = [a for a in arguments if not a.startswith("resume=")]
    stored = read_training_config(folder)
    for key in ("resume", "dry_run"):
        stored.pop(key, None)
    return [
        *setting_overrides(stored, typed, verb=verb),
        *typed,
        override_text("resume", folder),
        override_text("hydra.run.dir", folder),
    ]


def expand_experiment_folder(arguments: list[str], *, verb: str) -> list[str]:
    """Replace `experiment=FOLDER` by the settings of the training in it; what is typed wins.

    `experiment=SWEEP/best` is the best training of a search.
    """
    path = _last_value(arguments, "experiment")
    if path is None or "/" not in path or path.endswith(".yaml"):
        return arguments
    folder = Path(path).absolute()
    if folder.name == "best" and not folder.exists():
        folder = best_trial_folder(folder.parent)
    typed = [a for a in arguments if not a.startswith("experiment=")]
    stored = _without_sweep(read_training_config(folder))
    return [*setting_overrides(stored, typed, verb=verb), *typed]


def _without_sweep(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a training without those of one run of it, or of its sweep."""
    kept = {k: v for k, v in config.items() if k not in ("resume", "dry_run", "pruner")}
    callbacks, tracker = (dict(kept.get(key) or {}) for key in ("callbacks", "logger"))
    callbacks.pop("pruning", None)
    if "run_name" in tracker:
        tracker["run_name"] = Interpolation("${hydra:job.name}")
    if tracker.get("tags"):
        tags = {k: v for k, v in tracker["tags"].items() if k not in SWEEP_TAGS}
        tracker["tags"] = tags or None
    trainer = {**kept.get("trainer", {}), "enable_progress_bar": True}
    return {**kept, "callbacks": callbacks, "logger": tracker, "trainer": trainer}


def expand_experiment_file(arguments: list[str]) -> list[str]:
    """Replace `experiment=FOLDER/experiment/NAME.yaml` by NAME, with FOLDER searched for it too."""
    path_text = _last_value(arguments, "experiment")
    if path_text is None or not path_text.endswith(".yaml"):
        return arguments
    path = Path(path_text).absolute()
    if not path.is_file():
        beside = [str(p) for p in path.parent.glob("*.yaml")]
        raise SettingError(f"There is no experiment {path_text}.{did_you_mean(str(path), beside)}")
    if path.parent.name != "experiment":
        raise SettingError(
            f"{path_text} must lie in a folder called experiment, as the files of a config group "
            f"do. Move it to {path.parent / 'experiment' / path.name}."
        )
    if any(a.startswith(SEARCHPATH) for a in arguments):
        raise SettingError(
            f"experiment={path_text} and {SEARCHPATH}… exclude each other: add "
            f"file://{path.parents[1]} to the search path and say experiment={path.stem}."
        )
    kept = [a for a in arguments if not a.startswith("experiment=")]
    search = override_text(SEARCHPATH.removesuffix("="), [f"file://{path.parents[1]}"])
    return [*kept, override_text("experiment", path.stem), search]


def asks_dry_run(arguments: Iterable[str]) -> bool:
    """Return whether the command line asks only what would be done."""
    return (_last_value(arguments, "dry_run") or "").lower() == "true"


def setting_overrides(
    config: Mapping[str, Any], typed: Iterable[str], *, verb: str = "train"
) -> list[str]:
    """Return the overrides that make a command's settings those of a config.

    A setting that refers to another one in our own YAML does so again, where the config agrees:
    `fold=1` typed beside them is the fold of the data too.

    Args:
        config: resolved settings, as `config.yaml` holds them.
        typed: overrides that follow; a setting or group that they give as a whole is left out.
        verb: the command.
    """
    typed_keys = {override_key(override) for override in typed}
    names = {f.name for f in fields(SETTINGS_CLASSES[verb])}
    from omegaconf import OmegaConf  # noqa: PLC0415  slow to import

    whole = OmegaConf.create(_escaped(config))
    default = OmegaConf.to_container(compose_config(verb, []))  # references unresolved
    stored = _with_references(config, default, whole)
    out = []
    for key, value in stored.items():
        if key not in names or key in typed_keys:
            continue
        if (CONF_DIR / key).is_dir():  # a group: the whole choice is replaced, not merged with
            out += [f"~{key}", override_text(f"+{key}", value or {})]
        else:
            out.append(override_text(key, value))
    return out


def _with_references(value: Any, default: Any, config: Any) -> Any:
    """Return the value with `${…}` wherever the default has it and it stands for the same.

    Args:
        value: a part of the config.
        default: the same part of the defaults.
        config: the whole config, for what the references stand for.
    """
    if isinstance(value, Mapping):
        parts = default if isinstance(default, Mapping) else {}
        return {k: _with_references(v, parts.get(k), config) for k, v in value.items()}
    if isinstance(value, list):
        parts = default if isinstance(default, list) and len(default) == len(value) else value
        return [_with_references(v, d, config) for v, d in zip(value, parts, strict=True)]
    refers = isinstance(default, str) and "${" in default
    # a reference to the environment or to Hydra's job stands for something else tomorrow
    if refers and not re.search(r"\$\{(oc\.(?!select:)|hydra:)", default):
        from omegaconf import OmegaConf  # noqa: PLC0415  slow to import
        from omegaconf.errors import OmegaConfBaseException  # noqa: PLC0415

        try:
            merged: Any = OmegaConf.merge(config, {"_reference": default})
            if merged["_reference"] == value:
                return Interpolation(default)
        except OmegaConfBaseException:  # refers to what this config does not have
            return value
    return value


def _escaped(node: Any) -> Any:
    """Return the node with text that looks like a reference made plain."""
    if isinstance(node, Mapping):
        return {key: _escaped(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_escaped(value) for value in node]
    return node.replace("${", r"\${") if isinstance(node, str) else node


def add_sweep_folder(arguments: list[str], *, verb: str) -> list[str]:
    """Give a sweep the same folder each time it is started, unless another is named."""
    if not MULTIRUN & set(arguments) or _last_value(arguments, "hydra.sweep.dir"):
        return arguments
    words = sorted(a for a in arguments if not a.startswith(OVERRIDES_THAT_CHANGE_NO_RESULT))
    name = _last_value(arguments, "search") or "sweep"
    digest = hashlib.sha256("\n".join(words).encode()).hexdigest()[:6]
    return [*arguments, override_text("hydra.sweep.dir", f"outputs/{verb}/{name}-{digest}")]


def _last_value(arguments: Iterable[str], key: str) -> str | None:
    """Return the text that a setting is last given, without its quotes; None where it is null.

    A path may be typed as it is, also with signs that Hydra would want quoted.
    """
    texts = [a.split("=", 1)[1] for a in arguments if a.startswith(f"{key}=")]
    if not texts or texts[-1] in ("null", ""):
        return None
    text = texts[-1]
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        quote = text[0]
        text = re.sub(rf"(\\*)\\{quote}", lambda m: m[1][: len(m[1]) // 2] + quote, text[1:-1])
        text = re.sub(r"\\+$", lambda m: m[0][: len(m[0]) // 2], text)
    return text
