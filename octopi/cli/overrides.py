"""Expand the short forms of a command line: paths, resume, experiment=PATH, -m."""

import dataclasses
import hashlib
import itertools
import os
import re
import shlex
from pathlib import Path

from octopi.cli.repeat import expand_experiment_folder, expand_resume
from octopi.cli.typed_text import check_yaml_texts
from octopi.config.files import CONF_DIR
from octopi.config.overrides import last_value, override_text, shell_override
from octopi.config.settings import SETTINGS_CLASSES
from octopi.errors import SettingError, did_you_mean
from octopi.system.files import read_yaml

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
    "trust=",
)
SEARCHPATH = "hydra.searchpath"
HYDRA_FLAGS = {
    *("--hydra-help", "--version", "--cfg", "-c", "--resolve", "--package", "-p", "--run", "-r"),
    *("--multirun", "-m", "--shell-completion", "-sc", "--config-path", "-cp", "--config-name"),
    *("-cn", "--config-dir", "-cd", "--experimental-rerun", "--info", "-i"),
}
# Options of other programs, copick's too, and what they are called here.
_OPTIONS = {"c": "project.config", "config": "project.config", "run_names": "runs", "run": "runs"}
MULTIRUN = {"-m", "--multirun", "hydra.mode=MULTIRUN"}


def expand_overrides(arguments: list[str], *, verb: str) -> list[str]:
    """Return the command line with every short form replaced by what it stands for."""
    arguments = [expand_home(argument) for argument in arguments]
    is_dry_run = (last_value(arguments, "dry_run") or "").lower() == "true"
    if is_dry_run and MULTIRUN & set(arguments) and verb != "train":
        raise SettingError("dry_run=true describes one job at a time: leave out -m.")
    check_flags(arguments, verb)
    is_auto = last_value(arguments, "resume") == "auto" and not MULTIRUN & set(arguments)
    if is_auto and last_value(arguments, "hydra.run.dir") is None:
        raise SettingError(
            "resume=auto goes on in the folder in which the same command began: name that with "
            "hydra.run.dir=outputs/NAME."
        )
    if verb == "report":
        arguments = expand_paths(arguments)
    if verb == "compare":
        arguments = expand_base(arguments)
    arguments = expand_target(arguments, verb=verb)
    arguments = expand_experiment_folder(expand_resume(arguments, verb=verb), verb=verb)
    return add_folder(expand_experiment_file(arguments, verb=verb), verb=verb)


def expand_home(argument: str) -> str:
    """Replace a `~` that begins a path in an override: shells leave it as it is behind a `=`."""
    return re.sub(
        r"(?<=[=\[,])([\s'\"]*)(~[\w.-]*)(?=/)|(?<==)()(~)$",
        lambda m: (m[1] or "") + os.path.expanduser(m[2] or m[4]),  # noqa: PTH111  ~NAME may be none
        argument,
    )


def check_flags(arguments: list[str], verb: str) -> None:
    """Raise SettingError for an option with dashes that is none of Hydra's; settings have none."""
    for argument, following in zip(arguments, [*arguments, ""][1:], strict=True):
        flag, sign, value = argument.partition("=")
        is_copicks = flag == "-c" and following not in ("job", "hydra", "all")
        if not flag.startswith("-") or (flag in HYDRA_FLAGS and not is_copicks):
            continue
        names = [field.name for field in dataclasses.fields(SETTINGS_CLASSES[verb])]
        name = flag.lstrip("-").replace("-", "_")
        name = _OPTIONS.get(name, name)
        value = value if sign or following.startswith("-") else following
        typed = shell_override(name, [value] if name == "runs" else value or "VALUE")[:200]
        hint = "" if name == "project.config" or name in names else did_you_mean(name, names)
        raise SettingError(
            f"There is no option {flag}: settings are typed without dashes, as in {typed}.{hint} "
            f"octopi {verb} --help lists them."
        )


def expand_paths(arguments: list[str]) -> list[str]:
    """Replace a bare path by `project.config=` if it is a JSON file, else by `folder=`.

    Behind a flag it is the flag's: `--cfg job`.
    """
    out = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        is_setting = "=" in argument and not Path(argument).exists()
        if is_setting or argument.startswith(("-", "+", "~")) or before.startswith("-"):
            out.append(argument)
        else:
            key = "project.config" if argument.endswith(".json") else "folder"
            out.append(override_text(key, argument))
    return out


def expand_base(arguments: list[str]) -> list[str]:
    """Move `experiment=…` of a comparison into its base, whose trainings take it."""
    experiment, base = last_value(arguments, "experiment"), last_value(arguments, "base")
    if experiment is None:
        return arguments
    parts = [f"experiment={shlex.quote(experiment)}", *([base] if base else [])]
    kept = [a for a in arguments if a.partition("=")[0] not in ("experiment", "base")]
    return [*kept, override_text("base", " ".join(parts))]


def expand_target(arguments: list[str], *, verb: str) -> list[str]:
    """Replace `targets.session_id=2`, as it is typed for create_targets, by the whole `target`.

    Likewise name and user_id: so a command that reads targets takes the overrides that made them.
    """
    names = [field.name for field in dataclasses.fields(SETTINGS_CLASSES[verb])]
    keys = [f"targets.{part}" for part in ("name", "user_id", "session_id")]
    typed = {key: text for key in keys if (text := last_value(arguments, key)) is not None}
    if not typed or "target" not in names or last_value(arguments, "target") is not None:
        return arguments
    defaults = read_yaml(CONF_DIR / "targets" / "default.yaml")
    name, user, session = (typed.get(key, defaults[key.partition(".")[2]]) for key in keys)
    kept = [a for a in arguments if a.partition("=")[0] not in typed]
    return [*kept, override_text("target", f"{name}:{user}/{session}")]


def expand_experiment_file(arguments: list[str], *, verb: str) -> list[str]:
    """Replace `experiment=FOLDER/experiment/NAME.yaml` by NAME, with FOLDER searched for it too."""
    path_text = last_value(arguments, "experiment")
    if path_text is None or not path_text.endswith(".yaml"):
        return arguments
    path = Path(path_text).absolute()
    if not path.is_file():
        siblings = [str(p) for p in path.parent.glob("*.yaml")]
        raise SettingError(
            f"There is no experiment {path_text}.{did_you_mean(str(path), siblings)}"
        )
    if path.parent.name != "experiment":
        raise SettingError(
            f"{path_text} must lie in a folder called experiment, as the files of a config group "
            f"do. Move it to {path.parent / 'experiment' / path.name}."
        )
    if any(a.startswith(f"{SEARCHPATH}=") for a in arguments):
        raise SettingError(
            f"experiment={path_text} and {SEARCHPATH}=… exclude each other: add "
            f"file://{path.parents[1]} to the search path and say experiment={path.stem}."
        )
    check_yaml_texts(path, verb)
    check_header(path)
    kept = [a for a in arguments if not a.startswith("experiment=")]
    search = override_text(SEARCHPATH, [f"file://{path.parents[1]}"])
    return [*kept, override_text("experiment", path.stem), search]


def check_header(path: Path) -> None:
    """Raise SettingError unless a file says, as Hydra wants, where its settings belong."""
    text = path.read_text(encoding="utf-8")
    lines = map(str.strip, text.splitlines())
    comments = itertools.takewhile(lambda line: line[:1] in ("#", ""), lines)
    if not any(re.match(r"#\s*@package\s", line) for line in comments):
        no_mark = ", and save it as UTF-8 without BOM" if text[:1] == "\ufeff" else ""
        raise SettingError(
            f"{path} does not say where its settings belong. Make its first line "
            f"`# @package _global_`{no_mark}."
        )


def add_folder(arguments: list[str], *, verb: str) -> list[str]:
    """Give a sweep or a comparison the same folder each time, unless another is named."""
    is_sweep = bool(MULTIRUN & set(arguments))
    key = "hydra.sweep.dir" if is_sweep else "hydra.run.dir"
    if not (is_sweep or verb == "compare") or last_value(arguments, key):
        return arguments
    overrides = sorted(a for a in arguments if not a.startswith(OVERRIDES_THAT_CHANGE_NO_RESULT))
    name = (last_value(arguments, "search") or "sweep") if is_sweep else "comparison"
    digest = hashlib.sha256("\n".join(overrides).encode()).hexdigest()[:6]
    return [*arguments, override_text(key, f"outputs/{verb}/{name}-{digest}")]
