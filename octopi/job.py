"""How a command runs: compose, settle, work, and leave with an exit code that tells the truth.

0 done, 1 our mistake, 2 usage or config, 3 data, 4 resources, 5 diverged, 6 a sweep without a
usable result, 7 a folder in use, 130 Ctrl-C, 143 terminated after a checkpoint.
"""

import errno
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from octopi import machine, words
from octopi.config import CONF_DIR, settle, without_null_groups
from octopi.errors import OctopiError, SettingError, did_you_mean
from octopi.help import choices, wants_help, write_help
from octopi.importing import quick_imports
from octopi.settings import ROOTS

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


class Stopped(BaseException):
    """A signal ended the work after everything worth keeping was written."""

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Job:
    """Where a command works.

    Args:
        folder: its own, for config, log and results.
        words: the command line, without Hydra's own words.
    """

    folder: Path
    words: list[str]


def command(
    verb: str,
    work: Callable[[Any, Job], Any],
    *,
    plugins: Sequence[type] = (),
    meanwhile: Callable[[Any], None] | None = None,
) -> Callable[[], NoReturn]:
    """The program behind `python -m octopi.VERB` and `octopi VERB`.

    Args:
        verb: its name.
        work: what it does with its settings, in its job.
        plugins: Hydra plugins of its own.
        meanwhile: given the settings, starts what can be done while libraries are imported.
    """

    def main() -> NoReturn:
        if wants_help(sys.argv[1:]):
            write_help(verb)
            sys.exit(0)
        sys.exit(_run(verb, work, plugins, meanwhile))

    return main


def hydra_job() -> Job:
    """The job that Hydra is running."""
    from hydra.core.hydra_config import HydraConfig  # noqa: PLC0415  keeps `import octopi.job` quick

    hydra = HydraConfig.get()
    typed = list(hydra.overrides.task)
    folder = hydra.sweep.dir if words.is_dry(typed) else hydra.runtime.output_dir
    return Job(Path(folder).absolute(), typed)


def tell(verb: str, lines: Iterable[str]) -> None:
    """The log says what a command would do, as `dry_run=true` asks."""
    logger.info("Dry run of %s: nothing is written.\n%s", verb, "\n".join(lines))


def search_flags() -> list[str]:
    """Hydra's own words that a command started from this one needs to find the same configs."""
    from hydra.core.hydra_config import HydraConfig  # noqa: PLC0415

    hydra = HydraConfig.get()
    flags = []
    for source in hydra.runtime.config_sources:
        if source.provider == "command-line":
            flags += ["--config-dir", str(source.path)]
    return flags + [word for word in hydra.overrides.hydra if word.startswith("hydra.searchpath=")]


def _run(
    verb: str,
    work: Callable[[Any, Job], Any],
    plugins: Sequence[type],
    meanwhile: Callable[[Any], None] | None,
) -> int:
    import hydra  # noqa: PLC0415
    from hydra.core.hydra_config import HydraConfig  # noqa: PLC0415
    from hydra.core.plugins import Plugins  # noqa: PLC0415
    from hydra.types import RunMode  # noqa: PLC0415

    failed: list[Exception] = []
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a user's own network lies beside the user
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us as they are, in single and multiruns

    @hydra.main(config_path=str(CONF_DIR), config_name=verb)
    def task(cfg: Any) -> Any:
        try:
            job = hydra_job()
            with quick_imports():
                settings = settle(cfg, ROOTS[verb], overrides=job.words, meanwhile=meanwhile)
            if getattr(settings, "dry_run", False):
                _check_rehearsal(settings, job)
            return work(settings, job)
        except Exception as error:
            _log_traceback()
            if HydraConfig.get().mode is not RunMode.RUN:
                raise
            failed.append(error)  # past Hydra, which would print the command line before our text

    try:
        sys.argv[1:] = words.expanded(without_null_groups(sys.argv[1:], verb), verb=verb)
        for plugin in plugins:
            Plugins.instance().register(plugin)
        task()
        if failed:
            raise failed[0]
    except BaseException as error:  # noqa: BLE001  the last line before a bare traceback
        return _outcome(error)
    return 0


def _check_rehearsal(settings: Any, job: Job) -> None:
    """Raise what would end the job at once; a synthetic project that is not there is not made."""
    if not words.is_dry(job.words):
        raise SettingError("dry_run=true belongs on the command line, not into a file.")
    machine.check_writable(job.folder, "Choose another folder with hydra.run.dir=…")
    config = getattr(settings, "project", {}).get("config")
    if isinstance(config, Mapping) and not Path(config["directory"]).exists():
        raise Stopped(
            0,
            f"Dry run: nothing is written. The synthetic project {config['directory']} would be "
            "made first; what follows is known when it is there.",
        )


def _outcome(error: BaseException) -> int:
    """What the person at the screen is told, and the exit code."""
    code = exit_code_of(error)
    if code != 1:
        return _report(_text(error), code)
    first = str(error).strip().splitlines()[:1]
    return _report(
        f"{type(error).__name__}: {first[0] if first else ''}\n"
        "This looks like a mistake in octopi. The traceback is in the job's log file; "
        "please report it.",
        1,
    )


def exit_code_of(error: BaseException) -> int:
    """The exit code an error stands for."""
    from hydra.errors import HydraException  # noqa: PLC0415
    from omegaconf.errors import OmegaConfBaseException  # noqa: PLC0415

    code = 1
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 2
    elif isinstance(error, OctopiError | Stopped):
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
    """The traceback goes to the job's log file, not to the screen."""
    record = logger.makeRecord(
        logger.name, logging.ERROR, __file__, 0, "The job failed.", (), sys.exc_info()
    )
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def _report(message: str, exit_code: int) -> int:
    lines = [line.rstrip() for line in message.strip().splitlines() if line.strip()]
    sys.stderr.write(
        "\n".join(["octopi: " + lines[0] if lines else "octopi: failed", *lines[1:20]])
    )
    sys.stderr.write("\n")
    return exit_code
