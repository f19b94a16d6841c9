"""Compose the job of a command, or of several that share its runs: config, folder and log."""

import contextlib
import copy
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, open_dict, read_write

from octopi.cli.job_log import adapt_handlers, log_to_screen, open_job_folder, traceback_in_log
from octopi.cli.overrides import MULTIRUN, SEARCHPATH
from octopi.config.overrides import (
    compose_config,
    override_key,
    override_text,
    typed_overrides,
    without_references,
)
from octopi.errors import SettingError
from octopi.system.files import to_builtin_types
from octopi.system.job_folder import Job

WORKERS = "workers"  # the setting


def single_run_overrides(arguments: list[str]) -> list[str] | None:
    """Return the overrides of a single run; None where Hydra must do what is asked.

    That is a multirun, or a flag by which Hydra shows what it would compose.
    """
    if MULTIRUN & set(arguments):
        return None
    overrides, folders = [], []
    remaining = iter(arguments)
    for argument in remaining:
        flag, _, value = argument.partition("=")
        if flag in ("--config-dir", "-cd"):
            folder = Path(value or next(remaining, "")).absolute()
            if not folder.is_dir():
                raise SettingError(f"{flag}: there is no folder {folder}.")
            folders.append(f"file://{folder}")
        elif argument.startswith("-") and argument not in ("--run", "-r"):
            return None
        elif not argument.startswith("-"):
            overrides.append(argument)
    return _with_search_folders(overrides, folders) if folders else overrides


def _with_search_folders(overrides: list[str], folders: list[str]) -> list[str]:
    """Add folders to those in which Hydra looks for configs."""
    typed = [override for override in overrides if override.startswith(f"{SEARCHPATH}=")]
    for override in OverridesParser.create().parse_overrides(typed):
        folders += to_builtin_types(override.value())
    kept = [override for override in overrides if override not in typed]
    return [*kept, override_text(SEARCHPATH, folders)]


@contextlib.contextmanager
def composed_job(verb: str, overrides: Sequence[str]) -> Iterator[tuple[Job, DictConfig]]:
    """Compose the config of a single run, log to the screen, and yield its job and settings."""
    cfg = compose_config(verb, overrides)
    if not cfg.hydra.run.dir:
        raise SettingError("hydra.run.dir= is empty: name the job's folder, or leave it out.")
    folder = Path(cfg.hydra.run.dir).absolute()
    with read_write(cfg.hydra.runtime), open_dict(cfg.hydra.runtime):
        cfg.hydra.runtime.output_dir = without_references(str(folder))
    full = copy.deepcopy(cfg)
    with read_write(cfg), open_dict(cfg):
        del cfg["hydra"]
    instance = HydraConfig.instance()
    previous = instance.cfg
    instance.set_config(full)  # for interpolations, and for Lightning's other ranks
    job = Job(
        folder, typed_overrides(full.hydra.overrides.task), functools.partial(open_job_folder, full)
    )
    try:
        os.environ.update(full.hydra.job.env_set)
        log_to_screen(full)
        with traceback_in_log():
            yield job, cfg
    finally:
        instance.cfg = previous


def multirun_job() -> Job:
    """Return the job of a multirun that Hydra is running; it has made the folder and the log."""
    adapt_handlers()
    hydra = HydraConfig.get()
    return Job(Path(hydra.runtime.output_dir).absolute(), typed_overrides(hydra.overrides.task))


def config_search_arguments() -> list[str]:
    """Return the arguments by which a command started from this one finds the same configs."""
    hydra = HydraConfig.get()
    arguments = []
    for source in hydra.runtime.config_sources:
        if source.provider == "command-line":
            arguments += ["--config-dir", str(source.path)]
    typed = [
        text for text in typed_overrides(hydra.overrides.hydra) if text.startswith(f"{SEARCHPATH}=")
    ]
    return arguments + typed


def worker_overrides(arguments: Sequence[str]) -> list[str] | None:
    """Return the overrides of a command that several jobs shall share; None where it is another.

    Raises:
        SettingError: a setting has several values.
    """
    if not MULTIRUN & set(arguments) or WORKERS not in map(override_key, arguments):
        return None
    overrides = single_run_overrides([a for a in arguments if a not in MULTIRUN])
    if overrides is None:  # Hydra shall show the config
        return None
    for override in OverridesParser.create().parse_overrides(overrides):
        if override.is_sweep_override():
            raise SettingError(
                f"{override.input_line}: with workers=N all jobs have the same settings. Give "
                f"{override.get_key_element()} one value, and start a command for each."
            )
    return overrides


def slurm_parameters(number: int) -> Mapping[str, Any]:
    """Return the parameters of Hydra's launcher of the command that is composed.

    Raises:
        SettingError: it is not that of SLURM.
    """
    config = HydraConfig.get()
    if not str(config.launcher._target_).endswith("SlurmLauncher"):
        choice = config.runtime.choices["hydra/launcher"]
        raise SettingError(
            f"workers={number} needs hydra/launcher=submitit_slurm, not {choice}. On this machine "
            "one process is enough: leave out -m and workers."
        )
    parameters = to_builtin_types(config.launcher)
    return {key: value for key, value in parameters.items() if key != "_target_"}


def check_one_worker(settings: Any) -> None:
    """Raise SettingError where a command is one process and `workers` asks for several."""
    number = getattr(settings, WORKERS, 1)
    if number > 1:
        raise SettingError(
            f"workers={number} is for jobs of SLURM: type -m hydra/launcher=submitit_slurm "
            f"workers={number}. On this machine one process is enough: leave out workers."
        )
