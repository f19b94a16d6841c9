"""The small files by which processes on any machines share the runs that an output is written to.

Each output has a folder `.octopi/work/OUTPUT` in the overlay, which copick does not list. In it are

- `worker.ID`, rewritten every BEAT seconds by each process at work, with its settings;
- `job.N`, made by the first of the processes that work together;
- `left.N.TASK`, made as a task of a SLURM array ends: tasks that come later still join job N;
- `claim.RUN.G`, made by the process that works on a run; G counts how often it was taken over;
- `shared.N.RUN`, what the others need of a run, perhaps before it is done;
- `done.N.RUN`, when the run is done, or `failed.N.RUN.G`, with the cause: G counts tries, too.

Files that must have one owner are made exclusively: `O_EXCL` on disks and over ssh, a conditional
put on S3. Ages are compared by the clock of the storage alone.
"""

import contextlib
import hashlib
import json
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, unquote

from fsspec.implementations.local import LocalFileSystem

from octopi.errors import (
    LockedError,
    OctopiError,
    ResourceError,
    describe_error,
    exit_code_of,
    shorten,
)
from octopi.project.storage import (
    can_rename,
    filesystem_inside,
    is_local,
    make_folder,
    read_file,
    root_folder,
    storage_errors_as_resource_error,
    write_file,
)
from octopi.system.files import is_running

BEAT = 30.0  # seconds between two signs of life of a worker
LEASE = 300.0  # seconds without one, after which another may take over its runs
MAX_TRIES = 3  # of a run by the workers of a job, failed or lost
_MODIFIED = ("mtime", "LastModified", "created")  # keys of different filesystems
_MAX_NAME = 100  # characters of a run's name in the name of a file


@dataclass(frozen=True)
class WorkFolder:
    """The folder of an output's small files.

    Args:
        fs: the filesystem of the overlay.
        path: of the folder there.
    """

    fs: Any
    path: str

    @classmethod
    def for_output(cls, root: Any, output: str) -> Self:
        """Return the folder of an output, such as `picks octopi/1`, in a copick root's overlay."""
        fs = filesystem_inside(root.fs_overlay)
        if is_local(fs):
            fs = LocalFileSystem(auto_mkdir=False)  # an overlay that vanishes is not made anew
        return cls(fs, f"{_all_work(root)}/{file_name(output)}")

    @classmethod
    def list_all(cls, root: Any) -> list[Self]:
        """Return the folders of all outputs that were ever written to a copick root's overlay."""
        fs = filesystem_inside(root.fs_overlay)
        try:
            entries = fs.ls(_all_work(root), detail=False)
        except FileNotFoundError:
            return []
        return [cls(fs, str(entry).rstrip("/")) for entry in entries]

    def make(self) -> None:
        """Make the folder."""
        with self._storage_errors():
            make_folder(self.fs, self.path)

    def create(self, name: str, content: str) -> bool:
        """Make a file; return False where another process has made it."""
        path = f"{self.path}/{name}"
        for tries_left in (2, 1, 0):
            try:
                if can_rename(self.fs):
                    with self.fs.open(path, "xb") as file:
                        file.write(content.encode())
                else:  # one conditional put; `open` would look first
                    self.fs.pipe_file(path, content.encode(), mode="create")
                return True
            except FileExistsError:
                break
            except Exception as error:  # over ssh asyncssh's own, which does not say why
                self.check_there()
                if self.read(name) is not None:
                    break
                if not tries_left:  # else it may have been there for a moment
                    raise ResourceError(
                        f"{shorten(path, 200)} cannot be made: {shorten(error, 200)}. Make the "
                        "overlay of the project writable, and room in it."
                    ) from error
        return self.read(name) == content  # ours, if only the answer to a first try was lost

    def check_there(self) -> None:
        """Raise ResourceError where the folder is gone from a disk, and the overlay with it."""
        if is_local(self.fs) and not Path(self.path).is_dir():
            raise ResourceError(
                f"{shorten(self.path, 200)} is not there any more: the overlay of the project was "
                "moved, unmounted or emptied while octopi worked. Bring it back, then start the "
                "same command again; what was finished there is kept."
            )

    def read(self, name: str) -> str | None:
        """Read a file; return None where there is none."""
        with self._storage_errors():
            try:
                return read_file(self.fs, f"{self.path}/{name}").decode(errors="replace")
            except FileNotFoundError:
                return None

    def read_mapping(self, name: str) -> dict[str, Any]:
        """Read a JSON file that holds a mapping; return {} where there is none, or half of one."""
        try:
            content = json.loads(self.read(name) or "{}")
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}

    def write_mapping(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a mapping as a JSON file, whole."""
        with self._storage_errors():
            write_file(self.fs, f"{self.path}/{name}", json.dumps(content).encode())

    def remove(self, *names: str) -> None:
        """Remove files, those that are there."""
        with self._storage_errors():
            if len(names) > 1 and not can_rename(self.fs):
                self.fs.rm([f"{self.path}/{name}" for name in names])  # a thousand in one request
                return
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    self.fs.rm_file(f"{self.path}/{name}")

    def list_files(self) -> "Listing":
        """List the folder, afresh."""
        with self._storage_errors():
            try:
                entries = self.fs.ls(self.path, detail=True, refresh=True)
            except FileNotFoundError:
                entries = []
        return Listing({entry["name"].rpartition("/")[2]: _modified(entry) for entry in entries})

    def describe_sharing(self) -> tuple[bool, str]:
        """Try whether only one process can make a file; return that, and what follows from it."""
        if not self.is_exclusive():
            return False, (
                "this storage lets two processes make the same file, so that they are not kept "
                "apart. Start one at a time, or each with other runs=[…]."
            )
        means = "exclusive files (O_EXCL)" if can_rename(self.fs) else "conditional puts"
        return True, f"{means}; any number of processes share the runs"

    def _storage_errors(self) -> contextlib.AbstractContextManager[None]:
        return storage_errors_as_resource_error("What processes are at work on", self.path)

    def is_exclusive(self) -> bool:
        """Return whether the storage lets only one of two processes make a file."""
        probe = f"probe.{uuid.uuid4().hex}"
        self.make()
        try:
            return self.create(probe, "1") and not self.create(probe, "2")
        finally:
            self.remove(probe)


@dataclass(frozen=True)
class Listing:
    """The files of a work folder at one moment.

    Args:
        modified: name of each file -> when it was written, seconds by the storage's clock.
    """

    modified: Mapping[str, float]

    def workers(self) -> list[str]:
        """List the ids of the workers, dead ones too."""
        return self._named("worker.")

    def newest_job(self) -> int:
        """Return the number of the newest job; 0 where there was none."""
        return max((int(n) for n in self._named("job.") if n.isdecimal()), default=0)

    def done(self, job: int) -> set[str]:
        """Return the names, as in files, of the runs that are done in a job."""
        return set(self._named(f"done.{job}."))

    def shared(self, job: int) -> set[str]:
        """Return the names, as in files, of the runs of which a job has shared something."""
        return set(self._named(f"shared.{job}."))

    def claims(self) -> dict[str, int]:
        """Return the newest claim on each run, by its name in files."""
        return self._newest("claim.")

    def failed(self, job: int) -> dict[str, int]:
        """Return the last failed try of each run of a job that failed, by its name in files."""
        return self._newest(f"failed.{job}.")

    def _newest(self, start: str) -> dict[str, int]:
        newest: dict[str, int] = {}
        for rest in self._named(start):
            run, _, number = rest.rpartition(".")
            if number.isdecimal():
                newest[run] = max(newest.get(run, 0), int(number))
        return newest

    def _named(self, start: str) -> list[str]:
        """Return the rest of the names that begin so."""
        return [name.removeprefix(start) for name in self.modified if name.startswith(start)]

    def is_alive(self, worker: str, now: float) -> bool:
        """Return whether a worker is at work; one of this machine without a process is not.

        Args:
            worker: its id.
            now: seconds, by the storage's clock.
        """
        machine, pid, _ = worker.rsplit("-", 2)
        if machine == _machine() and not (pid.isdecimal() and is_running(int(pid))):
            return False
        return now - self.modified.get(f"worker.{worker}", 0) < LEASE


@dataclass(frozen=True)
class Claim:
    """A run that one worker writes to.

    Args:
        folder: of the output.
        run: its name in files.
        number: 1, or more if others have lost it or failed.
        worker: the id of the worker.
        job: that the worker takes part in.
    """

    folder: WorkFolder
    run: str
    number: int
    worker: str
    job: int

    def file(self, number: int) -> str:
        """Return the name of the file of the run's claim of a number."""
        return f"claim.{self.run}.{number}"

    def check(self) -> None:
        """Raise LockedError if another worker has taken the run over; call it before each write."""
        self.folder.check_there()
        is_ours = self.folder.read(self.file(self.number)) == self.worker
        if not is_ours or self.folder.read(self.file(self.number + 1)) is not None:
            raise lost_error()

    def share(self, content: Mapping[str, Any]) -> None:
        """Give the other workers of the job what they need of the run."""
        self.folder.write_mapping(f"shared.{self.job}.{self.run}", content)

    def finish(self) -> None:
        """Note that the run is done, and drop the claim."""
        self.folder.create(f"done.{self.job}.{self.run}", self.worker)
        self.drop()

    def fail(self, error: BaseException) -> None:
        """Note that the run failed, and why; the claim stays, so that tries are counted."""
        message = str(error) if isinstance(error, OctopiError) else describe_error(error)
        if not message.startswith("Run "):
            message = f"Run {unquote(self.run)}: {message}"
        content = {"message": shorten(message, 400), "code": exit_code_of(error)}
        self.folder.create(f"failed.{self.job}.{self.run}.{self.number}", json.dumps(content))

    def drop(self) -> None:
        """Drop the claim, and those of the workers that it was taken from."""
        self.folder.remove(*map(self.file, range(1, self.number + 1)))


def read_failures(folder: WorkFolder, listing: Listing, job: int) -> dict[str, dict[str, Any]]:
    """Read how often runs, by their names in files, have failed in a job and are not done, and why.

    Args:
        folder: of the output.
        listing: of the folder.
        job: the number of the job.
    """
    done = listing.done(job)
    return {
        run: {"tries": number, **folder.read_mapping(f"failed.{job}.{run}.{number}")}
        for run, number in listing.failed(job).items()
        if run not in done
    }


def _all_work(root: Any) -> str:
    return f"{root_folder(root, 'overlay_root')}/.octopi/work"


def lost_error() -> LockedError:
    """Return the error of a worker that was silent for so long that it was given up."""
    return LockedError(
        f"This process could write nothing for {LEASE / 60:g} minutes, so that others may have "
        "taken over its runs. What it has finished is kept; start the same command again."
    )


def new_worker_id() -> str:
    """Return an id for this process, of which no other has the same."""
    return f"{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _machine() -> str:
    """Return what names this machine; of a container, which counts processes by itself, that."""
    space = Path("/proc/self/ns/pid")
    number = "".join(filter(str.isdecimal, str(space.readlink()))) if space.is_symlink() else ""
    return f"{file_name(socket.gethostname())}-{number}"


def file_name(text: str) -> str:
    """Return the name of a file that stands for a text: the text itself if it can be one."""
    name = quote(text, safe=" @+=,")
    if len(name) <= _MAX_NAME:
        return name.replace(" ", "_")
    return f"{name[:_MAX_NAME]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _modified(entry: Mapping[str, Any]) -> float:
    value = next((entry[key] for key in _MODIFIED if key in entry), 0.0)
    return value.timestamp() if isinstance(value, datetime) else float(value)
