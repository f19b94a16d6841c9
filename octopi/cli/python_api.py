"""Call a command from Python: arguments become the overrides of a command line, and it works here.

The published functions (`workflows`, `entry_points`, `pytorch`) translate with what is in this
file and do nothing else: what they do, the same overrides do in a shell.
"""

import contextlib
import dataclasses
import functools
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import open_dict

from octopi.cli.compose import check_one_worker
from octopi.cli.error_report import explain_hydra_error
from octopi.cli.job_log import ScreenHandler, masking_formatter, write_overrides
from octopi.config.check import check_settings
from octopi.config.files import choices
from octopi.config.overrides import compose_config
from octopi.config.settings import SETTINGS_CLASSES
from octopi.errors import (
    ExitCode,
    ResourceError,
    SettingError,
    StoppedBySignal,
    did_you_mean,
    exit_code_of,
)
from octopi.system.files import to_builtin_types
from octopi.system.job_folder import Job

logger = logging.getLogger(__name__)

Config = str | Path | Mapping[str, str | Path] | Sequence[str | Path]
OneOrMoreNames = str | Sequence[str] | None
QueryTriple = Sequence[Any]


def config_paths(config: Config) -> list[Path]:
    """Return the copick configs of an argument: one path, a list of them, or {name: path}."""
    values = to_builtin_types(config.values() if isinstance(config, Mapping) else config)
    paths = values if isinstance(values, list) else [values]
    if not paths or not all(isinstance(path, str) for path in paths):
        raise SettingError(
            "config is the path of a copick config, or {name: path} for several, "
            f"not {config!r:.100}."
        )
    return [Path(path).expanduser().absolute() for path in paths]


def query_text(triple: QueryTriple, argument: str) -> str:
    """Write a triple of the published functions as settings do: `name:user/session`."""
    parts = to_builtin_types(triple)
    fits = isinstance(parts, list) and all(isinstance(part, str | int) for part in parts)
    if not fits or len(parts) != 3:
        raise SettingError(
            f"{argument} is (name, user_id, session_id), as in ('ribosome', 'data-portal', '1'), "
            f"not {triple!r}."
        )
    name, user_id, session_id = parts
    return f"{name}:{user_id}/{session_id}"


def as_name_list(name_or_names: OneOrMoreNames) -> list[str] | None:
    """Return one or more names as a list; None, which stands for all, stays None."""
    return [name_or_names] if isinstance(name_or_names, str) else to_builtin_types(name_or_names)


def resolve_choice(group: str, name: str, argument: str) -> str:
    """Return the file of a config group that a name stands for, as `UNet` stands for `unet`."""
    choice_names = {_normalised_name(choice): choice for choice in choices(group)}
    if not isinstance(name, str) or _normalised_name(name) not in choice_names:
        hint = did_you_mean(str(name).lower(), choice_names.values())
        raise SettingError(
            f"There is no {argument} {name!r}.{hint} Choices: {', '.join(choice_names.values())}."
        )
    return choice_names[_normalised_name(name)]


def _normalised_name(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def compose(verb: str, overrides: Sequence[str]) -> tuple[Any, Path]:
    """Compose the settings of a command; return them and its default folder."""
    try:
        cfg = compose_config(verb, overrides)
    except HydraException as error:
        raise SettingError(explain_hydra_error(error)) from error
    folder = Path(cfg.hydra.run.dir)
    with open_dict(cfg):
        del cfg["hydra"]
    settings = check_settings(cfg, SETTINGS_CLASSES[verb], overrides=overrides)
    check_one_worker(settings)
    return settings, folder


def compose_and_run(
    verb: str, command: Callable[..., Any], overrides: list[str], folder: str | Path | None = None
) -> Path:
    """Run a command with these overrides; return its folder, by default its own."""
    settings, default_folder = compose(verb, overrides)
    job = Job(Path(folder or default_folder).absolute(), overrides)
    run_in_folder(verb, command, settings, job)
    return job.folder


def run_in_folder(
    verb: str, command: Callable[..., Any], settings: Any, job: Job, **extra_arguments: Any
) -> Any:
    """Run a command in a folder: keep its overrides and its log there, return its result.

    Args:
        verb: the command's name.
        command: the command.
        settings: of the command.
        job: where it works; a training opens the folder itself, the others find it open.
        **extra_arguments: more for the command.
    """
    with contextlib.ExitStack() as stack, warnings.catch_warnings():
        job = dataclasses.replace(
            job, open_folder=functools.partial(_open_folder, stack, job, f"{verb}.log")
        )
        if verb != "train":
            job.open_folder()
        try:
            return command(settings, job, **extra_arguments)
        except StoppedBySignal as stopped:
            raise KeyboardInterrupt(str(stopped)) from stopped
        except (OSError, MemoryError, RuntimeError) as error:
            if exit_code_of(error) != ExitCode.RESOURCE or isinstance(error, ResourceError):
                raise
            raise ResourceError(f"{job.folder}: {error}") from error


def _open_folder(stack: contextlib.ExitStack, job: Job, log: str) -> None:
    """Make the folder of a job, keep its overrides there, and log into it from now on."""
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
        write_overrides(job.folder / ".hydra", job.overrides)
        stack.enter_context(_logging_to(job.folder / log))
    except OSError as error:
        raise ResourceError(f"{job.folder} cannot be written: {error.strerror}.") from error


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Log to the file, and to the screen unless the program configured logging itself."""
    octopi_logger = logging.getLogger("octopi")
    previous_level = octopi_logger.level
    handlers: list[logging.Handler] = [logging.FileHandler(path, encoding="utf-8")]
    if not octopi_logger.hasHandlers():
        handlers.append(ScreenHandler())
    for handler in handlers:
        handler.setFormatter(masking_formatter())
        octopi_logger.addHandler(handler)
    octopi_logger.setLevel(min(octopi_logger.getEffectiveLevel(), logging.INFO))
    try:
        yield
    finally:
        octopi_logger.setLevel(previous_level)
        for handler in handlers:
            octopi_logger.removeHandler(handler)
            handler.close()
