"""Share the runs of an output among the processes that run the same command, on any machines.

Processes with the same settings that are at work at the same time are one job: each takes the next
run that is neither done nor claimed. One with other settings is refused. See `work_folder`.
"""

import dataclasses
import hashlib
import itertools
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from octopi.errors import LockedError, ResourceError, shorten, shorten_list
from octopi.project import work_folder
from octopi.project.run import Run
from octopi.project.work_folder import Claim, WorkFolder, file_name, lost_error
from octopi.system.files import differing_values, to_builtin_types

Item = TypeVar("Item")
logger = logging.getLogger(__name__)
# Settings that say where and how a process works, not what it writes.
_ABOUT_THE_PROCESS = {
    *("project", "runs", "dry_run", "trust", "accelerator", "devices", "num_workers"),
}
POLLING = (0.5, 10.0)  # seconds between looks at the work of others, from and to


class Worker:
    """This process, among those that write one output in one overlay.

    Args:
        folder: of the output.
        settings: what makes the output; processes with the same share the work.
        output: in words, such as `picks octopi/1`.
    """

    def __init__(self, folder: WorkFolder, settings: Mapping[str, Any], output: str) -> None:
        self.folder = folder
        self.id = work_folder.new_worker_id()
        self.job = 0
        self.has_company = False
        self._content = {
            "output": output,
            "settings": json.loads(json.dumps(to_builtin_types(settings))),
            "since": time.strftime("%F %T"),
            "slurm_job": _task(),
            "job": 0,
            "num_runs": 0,
        }
        self._owners: dict[tuple[str, int], str] = {}
        self._stop = threading.Event()
        self._shown = _clock()
        self._is_lost = False

    def join(self) -> None:
        """Take part in the job that is at work, or begin one.

        Raises:
            LockedError: processes with other settings are at work.
        """
        self.folder.fs.makedirs(self.folder.path, exist_ok=True)
        self.show_life()
        try:
            self._choose_job()
        except BaseException:
            self.folder.remove(f"worker.{self.id}")
            raise
        self.show_life(job=self.job)
        threading.Thread(target=self._keep_showing_life, daemon=True).start()

    def show_life(self, **changes: int) -> None:
        """Write this worker's file again, with changes to what it says."""
        self._content |= changes
        began = _clock()
        self.folder.write_mapping(f"worker.{self.id}", self._content)
        self._is_lost |= began - self._shown > work_folder.LEASE
        self._shown = began

    def _keep_showing_life(self) -> None:
        while not self._stop.wait(work_folder.BEAT):
            with suppress(ResourceError):  # tried again; after LEASE seconds the worker is lost
                self.show_life()

    def _choose_job(self) -> None:
        """Choose the job; each process has shown life by now, so that of two one sees the other."""
        self.look()
        others = {worker: self.folder.read_mapping(f"worker.{worker}") for worker in self._others()}
        for worker, content in others.items():
            self._check_same_settings(worker, content)
        self.has_company = bool(others)
        newest = self._listing.newest_job()
        record = self.folder.read_mapping(f"job.{newest}") if newest else {}
        is_at_work = record.get("worker") in others or newest in (
            content.get("job") for content in others.values()
        )
        if newest and (is_at_work or self._is_of_this_array(newest, record)):
            self.job = newest
            return
        self.job = newest + 1
        content = {"worker": self.id, "settings": self._content["settings"], "array": _array()}
        if self.folder.create(f"job.{self.job}", json.dumps(content)):
            self._remove_jobs(range(self.job))

    def _check_same_settings(self, worker: str, content: Mapping[str, Any]) -> None:
        """Raise LockedError if another worker has other settings."""
        theirs = content.get("settings", self._content["settings"])  # it may have just left
        if different := differing_values(theirs, self._content["settings"]):
            listed = shorten_list(
                f"{key} is {shorten(old, 60)} there, {shorten(new, 60)} here"
                for key, (old, new) in different.items()
            )
            raise LockedError(
                f"Another process is writing {self._content['output']} with other settings: "
                f"{listed} ({describe_worker(worker, content)}). Wait until it has ended, use its "
                "settings, or write under another session_id."
            )

    def _is_of_this_array(self, job: int, record: Mapping[str, Any]) -> bool:
        """Return whether other tasks of this array of SLURM did a job, before this one came."""
        return (
            _array() is not None
            and record.get("array") == _array()
            and record.get("settings") == self._content["settings"]
            and f"left.{job}.{_task()}" not in self._listing.modified
        )

    def look(self) -> None:
        """List what the other workers do."""
        self._listing = self.folder.list_files()
        self._done, self._claims = self._listing.done(self.job), self._listing.claims()
        self._looked = _clock()

    def look_again(self) -> None:
        """List what the other workers do, if the last list is old."""
        if _clock() - self._looked > work_folder.BEAT:
            self.look()

    def claim(self, run_name: str) -> Claim | bool:
        """Claim a run.

        Returns:
            The claim; or whether the run is done, where it is that or another worker's.

        Raises:
            LockedError: this worker was silent for so long that others may have its runs.
        """
        if self._is_lost or _clock() - self._shown > work_folder.LEASE:
            raise lost_error()
        run = file_name(run_name)
        if run in self._done:
            return True
        number = self._claims.get(run, 0)
        if number and self._has_owner(run, number):
            return False
        claim = Claim(self.folder, run, number + 1, self.id, self.job)
        if not self.folder.create(claim.file(claim.number), self.id):
            return False
        if self.folder.read(f"done.{self.job}.{run}") is not None:
            claim.drop()
            return True
        return claim

    def _has_owner(self, run: str, number: int) -> bool:
        """Return whether the worker that claimed a run is alive."""
        key = (run, number)
        owner = self._owners.get(key) or self.folder.read(f"claim.{run}.{number}")
        if owner is None:
            return True  # it was dropped just now
        self._owners[key] = owner
        if owner in self._listing.workers():
            return self._listing.is_alive(owner, self._now())
        age = self._now() - self._listing.modified[f"claim.{run}.{number}"]
        return age < work_folder.BEAT  # the worker's file may be too new to be listed

    def _now(self) -> float:
        """Return the time of the storage's clock, as far as this worker's own file shows it."""
        return self._listing.modified.get(f"worker.{self.id}", 0) + _clock() - self._shown

    def _others(self) -> list[str]:
        """List the other workers that are alive."""
        now = self._now()
        return [
            worker
            for worker in self._listing.workers()
            if worker != self.id and self._listing.is_alive(worker, now)
        ]

    def leave(self) -> None:
        """Drop the claims that are left, and the worker's file; the last one removes the job's."""
        self._stop.set()
        with suppress(ResourceError):  # what cannot be removed expires
            self._clean_up()

    def _clean_up(self) -> None:
        self.look()
        for run, number in self._claims.items():
            if self.folder.read(f"claim.{run}.{number}") == self.id:
                Claim(self.folder, run, number, self.id, self.job).drop()
        if _array() is not None:
            self.folder.create(f"left.{self.job}.{_task()}", self.id)
        self.folder.remove(f"worker.{self.id}")
        now = self._now()
        self.look()
        if any(self._listing.is_alive(worker, now) for worker in self._listing.workers()):
            return
        self.folder.remove(*(f"worker.{worker}" for worker in self._listing.workers()))
        self._remove_jobs(range(self.job + (_array() is None)))

    def _remove_jobs(self, numbers: range) -> None:
        """Remove the files of jobs that have ended; workers that have died are left to `leave`."""
        ended = []
        for name in self._listing.modified:
            kind, _, rest = name.partition(".")
            number = rest.partition(".")[0]
            if kind in ("job", "done", "left") and number.isdecimal() and int(number) in numbers:
                ended.append(name)
        self.folder.remove(*ended)


class SharedWork:
    """The work of this process on an output, in one overlay or several.

    Args:
        workers: overlay root of copick -> this process there; none where nothing is written.
    """

    def __init__(self, workers: Mapping[Any, Worker]) -> None:
        self._workers = workers
        self.num_elsewhere = 0

    def rounds(
        self, items: Sequence[Item], run_of: Callable[[Item], Run]
    ) -> Iterator[Iterator[Item]]:
        """Yield iterators over the items whose runs are free, until every run is done.

        Each claims a run when it yields its item, and ends when no run is free. What it yielded
        must be finished by `finish` before the next iterator is taken, which may wait for the
        runs of other workers.
        """
        waiting = dict(enumerate(self._rotated(items)))
        for worker in self._workers.values():
            worker.show_life(num_runs=len(items))
        delay, longest = POLLING
        while waiting:
            before = len(waiting)
            yield self._take_free(waiting, run_of)
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
                "%d of %d runs were done by other processes.", self.num_elsewhere, len(items)
            )

    def one_by_one(self, items: Sequence[Item], run_of: Callable[[Item], Run]) -> Iterator[Item]:
        """Yield the items whose runs are free; each is finished when the next one is asked for."""
        for item in itertools.chain.from_iterable(self.rounds(items, run_of)):
            yield item
            finish(run_of(item))

    def _take_free(self, waiting: dict[int, Item], run_of: Callable[[Item], Run]) -> Iterator[Item]:
        for worker in self._workers.values():
            worker.look()
        for key, item in list(waiting.items()):
            run = run_of(item)
            worker = self._workers.get(run.copick_root)
            if worker is None:
                del waiting[key]
                yield item
                continue
            worker.look_again()
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


def output_settings(settings: Any, **changes: Any) -> dict[str, Any]:
    """Return the settings of a command that decide what it writes.

    Args:
        settings: of the command, a dataclass.
        changes: in place of those that differ from machine to machine, such as a checkpoint's path.
    """
    values = dataclasses.asdict(settings) | changes
    return {key: value for key, value in values.items() if key not in _ABOUT_THE_PROCESS}


def finish(run: Run) -> None:
    """Note that a run is done, so that no other process does it again."""
    if run.claim is not None:
        run.claim.finish()
        run.claim = None


def describe_worker(worker: str, content: Mapping[str, Any]) -> str:
    """Say which process a worker is, and since when it is at work."""
    place, pid, _ = worker.rsplit("-", 2)
    job = f", SLURM job {content['slurm_job']}" if content.get("slurm_job") else ""
    return f"process {pid} on {place.rpartition('-')[0]}{job}, since {content.get('since', '?')}"


def _array() -> str | None:
    """Return the id of the SLURM array that this process is a task of."""
    return os.environ.get("SLURM_ARRAY_JOB_ID")


def _task() -> str | None:
    """Return the id of the SLURM job, or of the array's task, that this process is in."""
    return os.environ.get("SLURM_JOB_ID")


def _clock() -> float:
    """Return seconds that go on while the machine sleeps, where the system counts them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
