"""Share the runs of an output among the processes that run the same command, on any machines.

Processes with the same settings that are at work at the same time are one job: each takes the next
run that is neither done nor claimed. One with other settings is refused. See `work_folder`.
"""

import dataclasses
import hashlib
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from octopi.errors import DataError, ExitCode, OctopiError, shorten_list
from octopi.project.run import Run
from octopi.project.work_folder import Claim
from octopi.project.worker import Worker
from octopi.system.progress import ProgressBar

Item = TypeVar("Item")
logger = logging.getLogger(__name__)
# Settings that say where and how a process works, not what it writes.
_ABOUT_THE_PROCESS = {
    *("project", "runs", "dry_run", "trust"),
    *("accelerator", "devices", "num_workers", "workers"),
}
POLLING = (0.5, 10.0)  # seconds between looks at the work of others, from and to


class SharedWork:
    """The work of this process on an output, in one overlay or several.

    Args:
        workers: overlay root of copick -> this process there; none where nothing is written.
    """

    def __init__(self, workers: Mapping[Any, Worker]) -> None:
        self._workers = workers
        self.num_runs = 0
        self.num_elsewhere = 0

    def rounds(
        self, items: Sequence[Item], run_of: Callable[[Item], Run], *, until_shared: bool = False
    ) -> Iterator[Iterator[Item]]:
        """Yield iterators over the items whose runs are free, until every run is done.

        Each claims a run when it yields its item, and ends when no run is free. What it yielded
        must be finished by `finish` before the next iterator is taken, which may wait for the
        runs of other workers.

        Args:
            items: of the work.
            run_of: returns the run of an item.
            until_shared: whether a run of which something is shared, see `share`, is as good as
                done; what was yielded need not be finished then.
        """
        self.num_runs = max(self.num_runs, len(items))
        waiting = dict(enumerate(self._rotated(items)))
        for worker in self._workers.values():
            worker.show_life(num_runs=self.num_runs)
        delay, longest = POLLING
        while waiting:
            before = len(waiting)
            yield self._take_free(waiting, run_of, until_shared=until_shared)
            if not waiting or len(waiting) < before:
                delay = POLLING[0]
                continue
            if delay == POLLING[0]:
                names = shorten_list(run_of(item).name for item in waiting.values())
                logger.info("Waiting for other processes, which are at work on %s.", names)
            time.sleep(delay)
            delay = min(2 * delay, longest)
        if self.num_elsewhere:
            logger.info(
                "%d of %d runs were done by other processes.", self.num_elsewhere, self.num_runs
            )

    def one_by_one(
        self, items: Sequence[Item], run_of: Callable[[Item], Run], *, desc: str = "runs"
    ) -> Iterator[Item]:
        """Yield the items whose runs are free; each is finished when the next one is asked for.

        Work on it within `failing_alone`. A progress bar is called `desc`.
        """
        free = itertools.chain.from_iterable(self.rounds(items, run_of))
        for item in ProgressBar(free, desc=desc, unit="run", total=len(items)):
            yield item
            finish(run_of(item))

    def check_failures(self) -> None:
        """Raise RunsFailedError if runs have failed, here or in other processes."""
        failed = {}
        for worker in self._workers.values():
            worker.look()
            failed |= worker.failures()
        if failed:
            raise RunsFailedError(list(failed.values()), self.num_runs)

    def read_shared(self, run: Run) -> dict[str, Any]:
        """Read what another process has shared of a run, see `share`; {} where none has."""
        worker = self._workers.get(run.copick_run.root)
        return worker.read_shared(run.stored_name) if worker else {}

    def _take_free(
        self, waiting: dict[int, Item], run_of: Callable[[Item], Run], *, until_shared: bool
    ) -> Iterator[Item]:
        for worker in self._workers.values():
            worker.look()
        for key, item in list(waiting.items()):
            run = run_of(item)
            worker = self._workers.get(run.copick_run.root)
            if worker is None:
                del waiting[key]
                yield item
                continue
            worker.look_again()
            is_shared = until_shared and worker.has_shared(run.stored_name)
            if is_shared or worker.is_given_up(run.stored_name):
                del waiting[key]
                continue
            claim = worker.claim(run.stored_name)
            if isinstance(claim, Claim) or claim:
                del waiting[key]
            if isinstance(claim, Claim):
                run.claim = claim
                yield item
            else:
                self.num_elsewhere += claim

    def _rotated(self, items: Sequence[Item]) -> list[Item]:
        """Return the items; beside other workers beginning at another one, to meet less often."""
        ids = [worker.id for worker in self._workers.values() if worker.has_company]
        digest = hashlib.sha256("".join(ids).encode()).digest()
        start = int.from_bytes(digest[:4]) % len(items) if ids and items else 0
        return [*items[start:], *items[:start]]


class RunsFailedError(OctopiError):
    """Runs that failed where others are done.

    Args:
        failures: what the claims have noted, see `Claim.fail`.
        num_runs: that there were to do.
    """

    def __init__(self, failures: Sequence[Mapping[str, Any]], num_runs: int) -> None:
        causes = [f"{str(failure.get('message')).rstrip('.')}." for failure in failures]
        counted = "" if num_runs == 1 else f" {len(failures)} of {num_runs} runs failed."
        if len(failures) < num_runs:
            counted += " The others are done; the same command tries these again."
        super().__init__(f"{shorten_list(causes, ' ', item_length=350)}{counted}")
        codes = {failure.get("code", ExitCode.PARTS) for failure in failures}
        self.exit_code = codes.pop() if len(codes) == 1 else ExitCode.PARTS


@contextmanager
def failing_alone(run: Run) -> Iterator[None]:
    """Note a DataError that the block raises as the run's failure; the other runs go on.

    At most MAX_TRIES processes try it; `SharedWork.check_failures` reports it in the end.
    """
    try:
        yield
    except DataError as error:
        if run.claim is None:  # of a dry run, or with nobody to share with
            raise
        logger.warning("%s The other runs go on.", error)
        run.claim.fail(error)
        run.claim = None


def output_settings(settings: Any, **changes: Any) -> dict[str, Any]:
    """Return the settings of a command that decide what it writes.

    Args:
        settings: of the command, a dataclass.
        changes: in place of those that differ from machine to machine, such as a checkpoint's path.
    """
    values = dataclasses.asdict(settings) | changes
    return {key: value for key, value in values.items() if key not in _ABOUT_THE_PROCESS}


def share(run: Run, content: Mapping[str, Any]) -> None:
    """Give the other processes what they need of a run, as JSON; `SharedWork.read_shared` reads it.

    It is kept as long as processes of the same job are at work.
    """
    if run.claim is not None:
        run.claim.share(content)


def finish(run: Run) -> None:
    """Note that a run is done, so that no other process does it again."""
    if run.claim is not None:
        run.claim.finish()
        run.claim = None
