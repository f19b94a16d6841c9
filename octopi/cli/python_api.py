"""A command called from Python: arguments become the words of a command line, and it works here.

The published functions (`workflows`, `entry_points`, `pytorch`) translate with what is in this
file and do nothing else: what they do, the same words do in a shell.
"""

import contextlib
import dataclasses
import functools
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from octopi.cli.job import exit_code_of, with_hint, write_overrides
from octopi.config.check import check_settings
from octopi.config.files import choices
from octopi.config.overrides import compose_config, override_text, to_builtin_types
from octopi.config.settings import SETTINGS_CLASSES
from octopi.errors import ResourceError, SettingError, StoppedBySignal, did_you_mean
from octopi.system.job_folder import Job

if TYPE_CHECKING:
    pass

logger = logging.getLogger(__name__)

Config = str | Path | Mapping[str, str | Path] | Sequence[str | Path]
OneOrMoreNames = str | Sequence[str] | None
QueryTriple = Sequence[Any]


def project_override(config: Config) -> str:
    """The setting that names the copick configs."""
    return override_text("project.config", config_paths(config))


def config_paths(config: Config) -> list[Path]:
    """The copick configs given: one path, a list of them, or {name: path}."""
    config_values = to_builtin_types(config.values() if isinstance(config, Mapping) else config)
    paths = config_values if isinstance(config_values, list) else [config_values]
    if not paths or not all(isinstance(path, str) for path in paths):
        raise SettingError(
            "config is the path of a copick config, or {name: path} for several, "
            f"not {config!r:.100}."
        )
    return [Path(path).expanduser().absolute() for path in paths]


def query_text(triple: QueryTriple, argument: str) -> str:
    """`name:user/session`, as settings write what the published functions take as a triple."""
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
    """The names as a list; None stays None: all there are."""
    return [name_or_names] if isinstance(name_or_names, str) else to_builtin_types(name_or_names)


def resolve_choice(group: str, name: str, argument: str) -> str:
    """The file of a config group that a name stands for: `UNet` and `swin-unetr` are as good."""
    known = {_normalised_name(choice_name): choice_name for choice_name in choices(group)}
    if not isinstance(name, str) or _normalised_name(name) not in known:
        hint = did_you_mean(str(name).lower(), known.values())
        raise SettingError(
            f"There is no {argument} {name!r}.{hint} Choices: {', '.join(known.values())}."
        )
    return known[_normalised_name(name)]


def _normalised_name(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def compose(verb: str, words: Sequence[str]) -> tuple[Any, Path]:
    """Compose the settings of a command; return them and its folder unless told otherwise."""
    from hydra.errors import HydraException  # noqa: PLC0415  slow to import
    from omegaconf import open_dict  # noqa: PLC0415

    try:
        cfg = compose_config(verb, words)
    except HydraException as error:
        raise SettingError(with_hint(f"{error}\n{error.__cause__ or ''}")) from error
    folder = Path(cfg.hydra.run.dir)
    with open_dict(cfg):
        del cfg["hydra"]
    return check_settings(cfg, SETTINGS_CLASSES[verb], overrides=words), folder


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
            if exit_code_of(error) != ResourceError.exit_code or isinstance(error, ResourceError):
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
    octopi_logger, before = logging.getLogger("octopi"), logging.getLogger("octopi").level
    handlers: list[logging.Handler] = [logging.FileHandler(path, encoding="utf-8")]
    if not octopi_logger.hasHandlers():
        handlers.append(logging.StreamHandler())
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        octopi_logger.addHandler(handler)
    octopi_logger.setLevel(min(octopi_logger.getEffectiveLevel(), logging.INFO))
    try:
        yield
    finally:
        octopi_logger.setLevel(before)
        for handler in handlers:
            octopi_logger.removeHandler(handler)
            handler.close()


def run_command(
    verb: str, do: Callable[..., Any], words: list[str], folder: str | Path | None
) -> Any:
    """What the command returns, and the folder it worked in: its own unless one is given."""
    settings, default_folder = compose(verb, words)
    job = Job(Path(folder or default_folder).absolute(), words)
    return run_in_folder(verb, do, settings, job), job.folder
