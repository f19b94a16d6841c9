"""The log of a job: on the screen at once, in files from when the job's folder is opened."""

import contextlib
import copy
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hydra.core.utils import configure_log
from omegaconf import DictConfig, open_dict, read_write
from tqdm import tqdm

from octopi.config.files import CONF_DIR
from octopi.config.overrides import repeated_overrides, typed_overrides
from octopi.errors import ResourceError, SettingError, shorten_list
from octopi.system.files import read_yaml, sweep_leftovers, write_yaml
from octopi.system.job_folder import OTHER_OUTPUTS, OVERRIDES_FILE, check_holds_no_others
from octopi.system.passwords import MaskingFormatter, mask_passwords

logger = logging.getLogger(__name__)


class ScreenHandler(logging.StreamHandler):
    """Writes records to stderr, each on a line of its own where progress bars are shown too."""

    def __init__(self, stream: Any = None) -> None:
        super().__init__(stream)
        self._pid = os.getpid()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record above the progress bars; in a file, below what it has of them.

        A forked process writes without their lock: the parent may have held it, and a child that
        is killed would hold it for ever.
        """
        bars = getattr(tqdm, "_instances", None)
        if not bars or os.getpid() != self._pid:
            super().emit(record)
            return
        try:
            with tqdm.external_write_mode(file=self.stream):
                if any(bar.fp == self.stream for bar in bars) and not self.stream.isatty():
                    self.stream.write("\n")
                super().emit(record)
        except (OSError, ValueError):  # a full disk, a closed file
            self.handleError(record)


def warn_of_repeats(overrides: Iterable[str]) -> None:
    """Warn of settings that a command line gives several values."""
    for key, several in repeated_overrides(overrides).items():
        listed = shorten_list(several, item_length=150)
        logger.warning("%s is typed more than once, and the last counts: %s.", key, listed)


def masking_formatter() -> logging.Formatter:
    """Make the formatter of every log, for programs whose logs Hydra does not configure."""
    base = read_yaml(CONF_DIR / "base.yaml")
    layout = base["hydra"]["job_logging"]["formatters"]["simple"]
    return MaskingFormatter(logging.Formatter(layout["format"], layout["datefmt"]))


def adapt_handlers() -> None:
    """Have what Hydra configured hide passwords, and keep off the lines of progress bars."""
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if not isinstance(handler.formatter, MaskingFormatter):
            handler.setFormatter(MaskingFormatter(handler.formatter or logging.Formatter()))
        if type(handler) is logging.StreamHandler:
            screen = ScreenHandler(handler.stream)
            screen.setLevel(handler.level)
            screen.setFormatter(handler.formatter)
            root.handlers[root.handlers.index(handler)] = screen


def log_to_screen(config: DictConfig) -> None:
    """Log as Hydra's `job_logging` says, but into no file yet."""
    node = copy.deepcopy(config).hydra.job_logging
    with read_write(node), open_dict(node):
        files = [name for name, handler in (node.handlers or {}).items() if "filename" in handler]
        for name in files:
            del node.handlers[name]
        for part in (node.root, *(node.get("loggers") or {}).values()):
            if part and part.get("handlers"):
                part.handlers = [name for name in part.handlers if name not in files]
    _configure_log(node, config.hydra.verbose)


def open_job_folder(config: DictConfig) -> None:
    """Make the folder of a job, keep its overrides there, and log into it from now on."""
    hydra = config.hydra
    folder = Path(hydra.runtime.output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep_leftovers(folder)
        # of the jobs before, in outputs/NAME/TIME or, of SLURM's, outputs/NAME/TIME/JOB
        for parent, job_folders in ((folder.parent, "*/"), (folder.parent.parent, "*/*/")):
            if parent.name == hydra.job.name:
                sweep_leftovers(parent, job_folders)
                sweep_leftovers(parent, f"{job_folders}.hydra/")
        if hydra.output_subdir is not None:
            write_overrides(folder / hydra.output_subdir, typed_overrides(hydra.overrides.task))
        _configure_log(hydra.job_logging, hydra.verbose)
    except OSError as error:
        raise ResourceError(
            f"The job's folder {folder} cannot be written: {error.strerror}. "
            "Choose another with hydra.run.dir=…"
        ) from error


def _configure_log(node: DictConfig, verbose: Any) -> None:
    """Configure logging with Python's own handlers; an experiment's YAML may name no other code."""
    try:
        configure_log(node, verbose, execution_whitelist=[])
        adapt_handlers()
    except ValueError as error:
        cause = error.__cause__  # of the one handler that Python could not make
        if isinstance(cause, OSError):
            raise cause from error
        raise SettingError(f"hydra.job_logging: {error}") from error


def write_overrides(folder: Path, overrides: Iterable[str]) -> None:
    """Keep the overrides that a job began with, for people to read; a resumed one keeps its own.

    Raises:
        SettingError: the folder above is no job's and has files that a job would replace.
    """
    path = folder / OVERRIDES_FILE
    if not path.exists():
        check_holds_no_others(folder.parent, OTHER_OUTPUTS)
        folder.mkdir(parents=True, exist_ok=True)
        write_yaml(path, mask_passwords(list(overrides)))


@contextlib.contextmanager
def traceback_in_log() -> Iterator[None]:
    """Write the traceback of an error into the job's log file, if that is open, and raise it on."""
    try:
        yield
    except Exception:  # foreseen or not
        record = logger.makeRecord(
            logger.name, logging.ERROR, __file__, 0, "The job failed.", (), sys.exc_info()
        )
        for handler in log_files():
            handler.handle(record)
        raise


def log_files() -> list[logging.FileHandler]:
    """Return the handlers that write the log into files."""
    handlers = logging.getLogger().handlers
    return [handler for handler in handlers if isinstance(handler, logging.FileHandler)]
