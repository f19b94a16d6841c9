"""Run a command: compose and check its settings, work, and exit with a code; see `ExitCode`."""

import contextlib
import importlib.util
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from octopi.cli.compose import (
    WORKERS,
    check_one_worker,
    composed_job,
    config_search_arguments,
    multirun_job,
    single_run_overrides,
    slurm_parameters,
    worker_overrides,
)
from octopi.cli.error_report import report_error
from octopi.cli.help import help_text, print_and_exit, wants_help
from octopi.cli.job_log import traceback_in_log, warn_of_repeats
from octopi.cli.overrides import expand_overrides
from octopi.cli.repeat import warn_of_other_project
from octopi.cli.typed_text import quote_texts
from octopi.config.check import check_settings, without_null_groups
from octopi.config.files import CONF_DIR
from octopi.config.overrides import override_key
from octopi.config.settings import SETTINGS_CLASSES
from octopi.errors import WHAT_IS_KEPT, ExitCode, ResourceError, StoppedBySignal
from octopi.signals import handler_after_work, signals_to_handle
from octopi.system import resources
from octopi.system.job_folder import Job
from octopi.system.utf8 import use_utf8

logger = logging.getLogger(__name__)

Work = Callable[[Any, Job], Any]
# Takes the parameters of the launcher, the module and arguments to run, overrides, folder, number.
StartWorkers = Callable[[Mapping[str, Any], Sequence[str], Sequence[str], Path, int], None]


@dataclass(frozen=True)
class Command:
    """The program behind `python -m octopi.VERB` and `octopi VERB`.

    Args:
        verb: its name.
        work: what it does with its settings, in its job.
        plugins: Hydra plugins of its own.
        opens_folder: whether `work` calls `Job.open_folder` itself, after checks of its own.
        start_workers: starts the command on several machines, as `-m workers=N` asks.
    """

    verb: str
    work: Work
    plugins: Sequence[type] = ()
    opens_folder: bool = False
    start_workers: StartWorkers | None = None

    def __call__(self) -> NoReturn:
        """Run the command with the overrides in `sys.argv`: one job, several, or a sweep; exit."""
        with exit_on_error(), stop_on_signals():
            prepare_process(self.verb)
            arguments = without_null_groups(sys.argv[1:], self.verb)
            arguments = sys.argv[1:] = expand_overrides(arguments, verb=self.verb)
            overrides = single_run_overrides(arguments)
            if overrides is not None:
                with self._open_job(overrides) as (settings, job):
                    self.work(settings, job)
            elif self.start_workers and (shared := worker_overrides(arguments)):
                self._run_workers(shared, self.start_workers)
            else:
                self._run_by_hydra(arguments)
        sys.exit(ExitCode.DONE)

    @contextlib.contextmanager
    def _open_job(self, overrides: Sequence[str]) -> Iterator[tuple[Any, Job]]:
        """Compose and check the settings of one job, and open its folder unless it is a dry run."""
        overrides = quote_texts(overrides, self.verb, multirun=False)
        with composed_job(self.verb, overrides) as (job, cfg):
            warn_of_repeats(job.overrides)
            settings = self._check(cfg, job)
            check_one_worker(settings)
            warn_of_other_project(job.overrides, getattr(settings, "project", {}))
            resources.check_writable(job.folder, "Choose another folder with hydra.run.dir=…")
            if settings.dry_run:
                end_dry_run_without_phantom(settings)
            elif not self.opens_folder:
                job.open_folder()
            yield settings, job

    def _check(self, cfg: DictConfig, job: Job) -> Any:
        """Return the settings of a composed config."""
        return check_settings(cfg, SETTINGS_CLASSES[self.verb], overrides=job.overrides)

    def _run_workers(self, overrides: Sequence[str], start_workers: StartWorkers) -> None:
        """Check the settings of the command, and start it as the tasks of a job array."""
        overrides = quote_texts(overrides, self.verb, multirun=False)
        folder_of_sweep = "hydra.run.dir=${hydra.sweep.dir}"
        with composed_job(self.verb, [*overrides, folder_of_sweep]) as (job, cfg):
            settings = self._check(cfg, job)
            parameters = slurm_parameters(settings.workers)
            command = [f"octopi.{self.verb}", *config_search_arguments()]
            shared = [o for o in job.overrides if override_key(o) != WORKERS]
            resources.check_writable(job.folder, "Choose another folder with hydra.sweep.dir=…")
            job.open_folder()
            start_workers(parameters, command, shared, job.folder, settings.workers)

    def _run_by_hydra(self, arguments: Sequence[str]) -> None:
        """Let Hydra run the command: as a multirun, or to show its config."""

        @hydra.main(config_path=str(CONF_DIR), config_name=self.verb, execution_whitelist=[])
        def task(cfg: DictConfig) -> Any:
            with traceback_in_log():
                job = multirun_job()
                return self.work(self._check(cfg, job), job)

        sys.argv[1:] = quote_texts(arguments, self.verb, multirun=True)
        for plugin in self.plugins:
            Plugins.instance().register(plugin)
        task()


def prepare_process(verb: str) -> None:
    """Make this process the command's, however it was started; end it where only help is asked."""
    use_utf8()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as some schedulers do
            stream = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  to the end
            setattr(sys, name, stream)
    logging.raiseExceptions = False  # a log on a full disk is incomplete, without tracebacks
    sys.argv[0] = f"octopi {verb}"  # the name in a usage line
    if wants_help(sys.argv[1:]):
        print_and_exit(help_text(verb))
    # So Lightning starts the other ranks: by `python -m` and the name of the main module.
    sys.modules["__main__"].__spec__ = importlib.util.find_spec(f"octopi.{verb}")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us as they are, also in multiruns
    _add_current_folder()


@contextlib.contextmanager
def exit_on_error() -> Iterator[None]:
    """Turn an error into a message and the exit code of this process."""
    try:
        yield
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001  the last line before a bare traceback
        sys.exit(report_error(error))


def _add_current_folder() -> None:
    """Let modules be imported from the current folder: a user's own network lies there.

    Raises:
        ResourceError: it was deleted.
    """
    try:
        folder = str(Path.cwd())
    except FileNotFoundError as error:
        raise ResourceError(
            "The folder that octopi was started in is not there any more. Change to one that is."
        ) from error
    if folder not in sys.path:
        sys.path.append(folder)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[None]:
    """Let the signals that end a job raise StoppedBySignal, so that all is tidied up on the way.

    A second one ends the process at once. Processes that are forked from this one just end. What
    `nohup` ignores stays ignored.
    """
    pid = os.getpid()

    def stop(number: int, _frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != pid:
            signal.raise_signal(number)
        raise StoppedBySignal(
            128 + number,
            f"Stopped by {signal.Signals(number).name}. {WHAT_IS_KEPT}",
        )

    handlers = {number: signal.getsignal(number) for number in signals_to_handle()}
    for number in handlers:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else stop)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler_after_work(number, handler))


def end_dry_run_without_phantom(settings: Any) -> None:
    """End a dry run whose synthetic project does not exist: making it would write files."""
    config = getattr(settings, "project", {}).get("config")
    if isinstance(config, Mapping) and not Path(config["directory"]).exists():
        raise StoppedBySignal(
            ExitCode.DONE,
            f"Dry run: nothing is written. The synthetic project {config['directory']} would be "
            "made first; what follows is known when it exists.",
        )


def log_dry_run(verb: str, lines: Iterable[str]) -> None:
    """Log what a command would do, as `dry_run=true` asks."""
    logger.info("Dry run of %s: nothing is written.\n%s", verb, "\n".join(lines))
