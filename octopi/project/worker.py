"""A process among those that write the same output, on any machines; see `work_folder`."""

import json
import math
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from octopi.errors import LockedError, ResourceError, shorten, shorten_list
from octopi.project import work_folder
from octopi.project.work_folder import (
    MAX_TRIES,
    Claim,
    WorkFolder,
    file_name,
    lost_error,
    read_failures,
)
from octopi.system.files import differing_values, to_builtin_types

PROCESS = "process"  # a setting that no other process has: of what one alone may write


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
        self.folder.make()
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
                self.folder.check_there()  # writing would make it anew
                self.show_life()

    def _choose_job(self) -> None:
        """Choose the job; each process has shown life by now, so that of two one sees the other."""
        self.look()
        now = self._now()
        alive = [w for w in self._listing.workers() if self._listing.is_alive(w, now)]
        others = {w: self.folder.read_mapping(f"worker.{w}") for w in alive if w != self.id}
        for worker, content in others.items():
            self._check_same_settings(worker, content)
        self.has_company = bool(others)
        newest = self._listing.newest_job()
        record = self.folder.read_mapping(f"job.{newest}") if newest else {}
        # One that is being made says nothing yet; one that is absent was removed for a newer one.
        is_new = (
            newest > 0
            and not record
            and self.folder.read(f"job.{newest}") is not None
            and self._age(f"job.{newest}") < work_folder.BEAT
        )
        is_at_work = (
            is_new
            or record.get("worker") in others
            or newest in (content.get("job") for content in others.values())
        )
        if newest and (is_at_work or self._is_of_this_array(newest, record)):
            self.job = newest
            return
        self.job = newest + 1
        content = {**self._content, "worker": self.id, "array": _array()}
        if self.folder.create(f"job.{self.job}", json.dumps(content)):
            self._remove_jobs(range(self.job))
            self._remove_claims()

    def _check_same_settings(self, worker: str, content: Mapping[str, Any]) -> None:
        """Raise LockedError if another worker has other settings."""
        theirs = content.get("settings", self._content["settings"])  # it may have just left
        if different := differing_values(theirs, self._content["settings"]):
            who = describe_worker(worker, content)
            if PROCESS in different:
                raise LockedError(
                    f"Another process is writing {self._content['output']} ({who}), which one "
                    "alone may do. Wait until it has ended, and start this command again."
                )
            listed = shorten_list(
                f"{key} is {shorten(old, 60)} there, {shorten(new, 60)} here"
                for key, (old, new) in different.items()
            )
            raise LockedError(
                f"Another process is writing {self._content['output']} with other settings: "
                f"{listed} ({who}). Wait until it has ended, use its "
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
        """List what the other workers do.

        Raises:
            ResourceError: the overlay is gone.
        """
        self.folder.check_there()
        self._listing = self.folder.list_files()
        self._done, self._claims = self._listing.done(self.job), self._listing.claims()
        self._failed = self._listing.failed(self.job)
        self._shared = self._listing.shared(self.job)
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
        number = self._number(run)
        if number and self._has_owner(run, number):
            return False
        claim = Claim(self.folder, run, number + 1, self.id, self.job)
        if not self.folder.create(claim.file(claim.number), self.id):
            return False
        if self.folder.read(f"done.{self.job}.{run}") is not None:
            claim.drop()
            return True
        return claim

    def has_shared(self, run_name: str) -> bool:
        """Return whether a worker of the job has shared something of a run; look before."""
        return file_name(run_name) in self._shared

    def read_shared(self, run_name: str) -> dict[str, Any]:
        """Read what a worker of the job has shared of a run; {} where nothing is."""
        return self.folder.read_mapping(f"shared.{self.job}.{file_name(run_name)}")

    def is_given_up(self, run_name: str) -> bool:
        """Return whether a run was tried often enough; note it where workers were lost by it."""
        run = file_name(run_name)
        number = self._number(run)
        if run in self._done or number < MAX_TRIES or self._has_owner(run, number):
            return False
        if not self._has_failed(run, number):
            lost = f"{describe_worker(self._owners[run, number], {})} was lost at work on it"
            Claim(self.folder, run, number, self.id, self.job).fail(ResourceError(lost))
        return True

    def failures(self) -> dict[str, dict[str, Any]]:
        """Read why runs, by their names in files, have failed; look before."""
        return read_failures(self.folder, self._listing, self.job)

    def _has_failed(self, run: str, number: int) -> bool:
        return number <= self._failed.get(run, 0)

    def _number(self, run: str) -> int:
        """Return how often a run was tried in this job."""
        return max(self._claims.get(run, 0), self._failed.get(run, 0))

    def _has_owner(self, run: str, number: int) -> bool:
        """Return whether the worker that claimed a run is alive, and has not failed."""
        if self._has_failed(run, number):
            return False
        key = (run, number)
        owner = self._owners.get(key) or self.folder.read(f"claim.{run}.{number}")
        if owner is None:
            return True  # it was dropped just now
        self._owners[key] = owner
        if owner in self._listing.workers():
            return self._listing.is_alive(owner, self._now())
        # the worker's file may be too new to be listed
        return self._age(f"claim.{run}.{number}") < work_folder.BEAT

    def _age(self, name: str) -> float:
        """Return how long ago a file was written, in seconds; very long without one."""
        return self._now() - self._listing.modified.get(name, -math.inf)

    def _now(self) -> float:
        """Return the time of the storage's clock, as far as this worker's own file shows it."""
        return self._listing.modified.get(f"worker.{self.id}", 0) + _clock() - self._shown

    def leave(self, error: Exception | None = None) -> None:
        """Drop the claims that are left, and the worker's file; the last one removes the job's.

        Args:
            error: that ended the work, which counts as a failure of the runs that were in work.
        """
        self._stop.set()
        with suppress(ResourceError):  # what cannot be removed expires
            self._clean_up(error)

    def _clean_up(self, error: Exception | None) -> None:
        self.look()
        for run, number in self._claims.items():
            claim = Claim(self.folder, run, number, self.id, self.job)
            if (
                not self._has_failed(run, number)
                and self.folder.read(claim.file(number)) == self.id
            ):
                claim.fail(error) if error else self.folder.remove(claim.file(number))
        if _array() is not None:
            self.folder.create(f"left.{self.job}.{_task()}", self.id)
        self.folder.remove(f"worker.{self.id}")
        now = self._now()
        self.look()
        if any(self._listing.is_alive(worker, now) for worker in self._listing.workers()):
            return
        self.folder.remove(*(f"worker.{worker}" for worker in self._listing.workers()))
        self._remove_claims()
        # What an array has done counts for its late tasks; what failed is shown by `status`.
        is_kept = _array() is not None or self._failed
        self._remove_jobs(range(self.job + (not is_kept)))

    def _remove_claims(self) -> None:
        """Remove the claims of workers that have ended."""
        self.folder.remove(*(name for name in self._listing.modified if name.startswith("claim.")))

    def _remove_jobs(self, numbers: range) -> None:
        """Remove the files of jobs that have ended; workers that have died are left to `leave`."""
        ended = []
        for name in self._listing.modified:
            kind, _, rest = name.partition(".")
            number = rest.partition(".")[0]
            is_of_job = kind in ("job", "shared", "done", "failed", "left") and number.isdecimal()
            if is_of_job and int(number) in numbers:
                ended.append(name)
        self.folder.remove(*ended)


def describe_worker(worker: str, content: Mapping[str, Any]) -> str:
    """Say which process a worker is and, by the content of its file, since when it is at work."""
    machine, pid, _ = worker.rsplit("-", 2)
    job = f", SLURM job {content['slurm_job']}" if content.get("slurm_job") else ""
    since = f", since {content['since']}" if "since" in content else ""
    return f"process {pid} on {machine.rpartition('-')[0]}{job}{since}"


def _array() -> str | None:
    """Return the id of the SLURM array that this process is a task of."""
    return os.environ.get("SLURM_ARRAY_JOB_ID")


def _task() -> str | None:
    """Return the id of the SLURM job, or of the array's task, that this process is in."""
    return os.environ.get("SLURM_JOB_ID")


def _clock() -> float:
    """Return seconds that go on while the machine sleeps, where the system counts them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
