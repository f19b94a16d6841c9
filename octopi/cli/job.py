"""How a command runs: compose, settle, work, and leave with an exit code that tells the truth.

0 done, 1 our mistake, 2 usage or config, 3 data, 4 resources, 5 diverged, 6 a sweep without a
usable result, 7 a folder in use, 130 Ctrl-C, 143 terminated after a checkpoint.
"""

import contextlib
import copy
import errno
import functools
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from octopi.cli.help import wants_help, write_help
from octopi.cli.overrides import MULTIRUN, SEARCHPATH, expand_overrides
from octopi.config.check import check_settings, without_null_groups
from octopi.config.files import CONF_DIR, choices
from octopi.config.overrides import compose_config, override_text, to_builtin_types
from octopi.config.settings import SETTINGS_CLASSES
from octopi.errors import OctopiError, SettingError, StoppedBySignal, did_you_mean
from octopi.system import resources
from octopi.system.job_folder import OVERRIDES_FILE, Job
from octopi.system.utf8 import use_utf8

logger = logging.getLogger(__name__)

_RESOURCE_ERRNOS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOMEM,
    errno.EMFILE,
}


Work = Callable[[Any, Job], Any]


def command(
    verb: str, run: Work, *, plugins: Sequence[type] = (), opens_folder: bool = False
) -> Callable[[], NoReturn]:
    """Return the program behind `python -m octopi.VERB` and `octopi VERB`.

    Args:
        verb: its name.
        run: what it does with its settings, in its job.
        plugins: Hydra plugins of its own.
        opens_folder: whether `work` calls `Job.open_folder` itself, after checks of its own.
    """
    return functools.partial(run_command, verb, run, plugins=plugins, opens_folder=opens_folder)


def run_command(verb: str, work: Work, *, plugins: Sequence[type], opens_folder: bool) -> NoReturn:
    """Run a command with the overrides in `sys.argv` and exit; see `command`."""
    use_utf8()
    sys.argv[0] = f"octopi {verb}"  # the name in a usage line, however the command was started
    if wants_help(sys.argv[1:]):
        write_help(verb)
        sys.exit(0)
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a user's own network lies beside the user
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us as they are, in single and multiruns
    try:
        sys.argv[1:] = expand_overrides(without_null_groups(sys.argv[1:], verb), verb=verb)
        overrides = _plain_overrides(sys.argv[1:])
        if overrides is None:
            _run_by_hydra(verb, work, plugins)
            sys.exit(0)
        with _composed_job(verb, overrides) as (job, cfg):
            settings = check_settings(cfg, SETTINGS_CLASSES[verb], overrides=job.overrides)
            if getattr(settings, "dry_run", False):
                _check_dry_run(settings, job)
            elif not opens_folder:
                job.open_folder()
            work(settings, job)
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001  the last line before a bare traceback
        sys.exit(_report_error(error))
    sys.exit(0)


def _plain_overrides(arguments: list[str]) -> list[str] | None:
    """Return the overrides of a single run; None where Hydra must do what is asked.

    That is a multirun, or a flag by which Hydra shows what it would compose.
    """
    if MULTIRUN & set(arguments):
        return None
    overrides, folders = [], []
    rest = iter(arguments)
    for argument in rest:
        flag, _, value = argument.partition("=")
        if flag in ("--config-dir", "-cd"):
            folder = Path(value or next(rest, "")).absolute()
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
    from hydra.core.override_parser.overrides_parser import OverridesParser  # noqa: PLC0415

    typed = [word for word in overrides if word.startswith(SEARCHPATH)]
    for override in OverridesParser.create().parse_overrides(typed):
        folders += to_builtin_types(override.value())
    kept = [word for word in overrides if word not in typed]
    return [*kept, override_text(SEARCHPATH.removesuffix("="), folders)]


@contextlib.contextmanager
def _composed_job(verb: str, overrides: Sequence[str]) -> Iterator[tuple[Job, Any]]:
    """Compose the config of a single run, log to the screen, and yield its job and settings."""
    from hydra.core.hydra_config import HydraConfig  # noqa: PLC0415  keeps `import octopi.cli.job` quick
    from hydra.core.utils import configure_log  # noqa: PLC0415
    from omegaconf import open_dict, read_write  # noqa: PLC0415

    cfg = compose_config(verb, overrides)
    folder = Path(cfg.hydra.run.dir).absolute()
    with read_write(cfg.hydra.runtime), open_dict(cfg.hydra.runtime):
        cfg.hydra.runtime.output_dir = str(folder)
    hydra = copy.deepcopy(cfg)
    with read_write(cfg), open_dict(cfg):
        del cfg["hydra"]
    instance = HydraConfig.instance()
    previous = instance.cfg
    instance.set_config(hydra)  # for interpolations, and for Lightning's other ranks
    job = Job(folder, list(hydra.hydra.overrides.task), functools.partial(_open_folder, hydra))
    try:
        os.environ.update(hydra.hydra.job.env_set)
        configure_log(_without_files(hydra), hydra.hydra.verbose)
        yield job, cfg
    except Exception:
        _log_traceback()
        raise
    finally:
        instance.cfg = previous


def _open_folder(config: Any) -> None:
    """Make the folder of a job, keep its overrides there, and log into it from now on."""
    from hydra.core.utils import configure_log  # noqa: PLC0415  slow to import

    hydra = config.hydra
    folder = Path(hydra.runtime.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if hydra.output_subdir is not None:
        write_overrides(folder / hydra.output_subdir, hydra.overrides.task)
    configure_log(hydra.job_logging, hydra.verbose)


def write_overrides(folder: Path, overrides: Iterable[str]) -> None:
    """Keep the overrides that a job began with, for people to read; a resumed one keeps its own."""
    path = folder / OVERRIDES_FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(list(overrides)), encoding="utf-8")


def _without_files(config: Any) -> Any:
    """Return Hydra's `job_logging` without the handlers that write files."""
    from omegaconf import open_dict, read_write  # noqa: PLC0415  slow to import

    node = copy.deepcopy(config).hydra.job_logging
    with read_write(node), open_dict(node):
        files = [name for name, handler in (node.handlers or {}).items() if "filename" in handler]
        for name in files:
            del node.handlers[name]
        for part in (node.root, *(node.get("loggers") or {}).values()):
            if part and part.get("handlers"):
                part.handlers = [name for name in part.handlers if name not in files]
    return node


def _run_by_hydra(verb: str, work: Work, plugins: Sequence[type]) -> None:
    """Let Hydra run the command: as a multirun, or to show its config."""
    import hydra  # noqa: PLC0415  slow to import
    from hydra.core.plugins import Plugins  # noqa: PLC0415

    @hydra.main(config_path=str(CONF_DIR), config_name=verb)
    def task(cfg: Any) -> Any:
        try:
            job = current_job()
            settings = check_settings(cfg, SETTINGS_CLASSES[verb], overrides=job.overrides)
            if getattr(settings, "dry_run", False):
                raise SettingError("dry_run=true tells of one job at a time: leave out -m.")
            return work(settings, job)
        except Exception:
            _log_traceback()
            raise

    for plugin in plugins:
        Plugins.instance().register(plugin)
    task()


def current_job() -> Job:
    """Return the job of a multirun that Hydra is running; it has made the folder and the log."""
    from hydra.core.hydra_config import HydraConfig  # noqa: PLC0415  keeps `import octopi.cli.job` quick

    hydra = HydraConfig.get()
    return Job(Path(hydra.runtime.output_dir).absolute(), list(hydra.overrides.task))


def log_dry_run(verb: str, lines: Iterable[str]) -> None:
    """The log says what a command would do, as `dry_run=true` asks."""
    logger.info("Dry run of %s: nothing is written.\n%s", verb, "\n".join(lines))


def config_search_arguments() -> list[str]:
    """Return Hydra's own arguments that a command started from this one needs for its configs."""
    from hydra.core.hydra_config import HydraConfig  # noqa: PLC0415

    hydra = HydraConfig.get()
    flags = []
    for source in hydra.runtime.config_sources:
        if source.provider == "command-line":
            flags += ["--config-dir", str(source.path)]
    return flags + [word for word in hydra.overrides.hydra if word.startswith("hydra.searchpath=")]


def _check_dry_run(settings: Any, job: Job) -> None:
    """Raise what would end the job at once; a synthetic project that is not there is not made."""
    resources.check_writable(job.folder, "Choose another folder with hydra.run.dir=…")
    config = getattr(settings, "project", {}).get("config")
    if isinstance(config, Mapping) and not Path(config["directory"]).exists():
        raise StoppedBySignal(
            0,
            f"Dry run: nothing is written. The synthetic project {config['directory']} would be "
            "made first; what follows is known when it is there.",
        )


def _report_error(error: BaseException) -> int:
    """What the person at the screen is told, and the exit code."""
    code = exit_code_of(error)
    if code != 1:
        return _report(_text(error), code)
    first = str(error).strip().splitlines()[:1]
    where = "The traceback is in the job's log file; please report it."
    if not _log_files():
        traceback.print_exception(error)
        where = "Please report it with the traceback above."
    return _report(
        f"{type(error).__name__}: {first[0] if first else ''}\n"
        f"This looks like a mistake in octopi. {where}",
        1,
    )


def exit_code_of(error: BaseException) -> int:
    """The exit code an error stands for."""
    from hydra.errors import HydraException  # noqa: PLC0415
    from omegaconf.errors import OmegaConfBaseException  # noqa: PLC0415

    code = 1
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 2
    elif isinstance(error, OctopiError | StoppedBySignal):
        code = error.exit_code
    elif isinstance(error, HydraException | OmegaConfBaseException):
        code = 2
    elif isinstance(error, KeyboardInterrupt):
        code = 130
    elif (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno in _RESOURCE_ERRNOS)
        or "out of memory" in str(error).lower()
    ):
        code = 4
    return code


def _text(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename or ''}"
    text = str(error).strip() or type(error).__name__
    if not type(error).__module__.startswith("hydra"):
        return text
    if error.__cause__ is not None:
        text = f"{text}\n{error.__cause__}"
    return with_hint(text)


def with_hint(text: str) -> str:
    """What Hydra says of an unknown choice, with close matches and without its search path."""
    text = text.split("Config search path", maxsplit=1)[0].strip()
    missing = re.search(r"Could not find '([^']+)/([^'/]+)'", text)
    if missing:
        hint = did_you_mean(missing[2], choices(missing[1]))
        return f"There is no {missing[1]} {missing[2]}.{hint} Choices: " + ", ".join(
            choices(missing[1])
        )
    unknown = re.search(r"Could not override '([^'.]+)'", text)
    if unknown and "Did you mean" not in text:
        groups = [path.name for path in CONF_DIR.iterdir() if path.is_dir()]
        return f"There is no setting or group {unknown[1]}.{did_you_mean(unknown[1], groups)}"
    return text


def _log_traceback() -> None:
    """Write the traceback into the job's log file, if it has been opened, not to the screen."""
    record = logger.makeRecord(
        logger.name, logging.ERROR, __file__, 0, "The job failed.", (), sys.exc_info()
    )
    for handler in _log_files():
        handler.handle(record)


def _log_files() -> list[logging.FileHandler]:
    """Return what writes the log into files."""
    handlers = logging.getLogger().handlers
    return [handler for handler in handlers if isinstance(handler, logging.FileHandler)]


def _report(message: str, exit_code: int) -> int:
    lines = [line.rstrip() for line in message.strip().splitlines() if line.strip()]
    sys.stderr.write(
        "\n".join(["octopi: " + lines[0] if lines else "octopi: failed", *lines[1:20]])
    )
    sys.stderr.write("\n")
    return exit_code
