"""What a project holds, and which processes are at work on it; no volume is read."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from octopi.checks.tables import format_rows
from octopi.errors import shorten_list
from octopi.project import Project
from octopi.project.run import Run
from octopi.project.work_folder import MAX_TRIES, Listing, WorkFolder, read_failures
from octopi.project.worker import describe_worker
from octopi.system.resources import format_duration
from octopi.system.worker_pool import run_in_threads

NUM_THREADS = 16  # that list runs; on S3 each waits for answers


@dataclass(frozen=True)
class Work:
    """What is being written to an output.

    Args:
        output: in words.
        job: its number.
        workers: the processes at work -> what they say of themselves.
        claims: run, as in the names of files -> the process that works on it.
        done: how many runs are done.
        total: how many there are to do.
        failures: why runs failed that are not done, a line for each.
        seconds_left: estimated from the runs that are done; None where too few are.
    """

    output: str
    workers: Mapping[str, Mapping[str, object]]
    claims: Mapping[str, str]
    done: int
    total: int
    failures: Sequence[str]
    seconds_left: float | None


def list_contents(runs: Sequence[Run]) -> dict[str, set[str]]:
    """List what is stored of each run: its tomograms, picks, label volumes and score maps."""
    with_names = run_in_threads(
        lambda run: (run.name, run.item_names()), runs, num_threads=NUM_THREADS
    )
    return dict(sorted(with_names))


def format_contents(contents: Mapping[str, set[str]]) -> str:
    """Format how many runs have what, and what the first of those lack that lack something."""
    counts = Counter(name for names in contents.values() for name in names)
    total = len(contents)
    rows = [[name, str(number)] for name, number in sorted(counts.items())]
    lacking = {
        run: [name for name in counts if name not in names]
        for run, names in contents.items()
        if len(names) < len(counts)
    }
    text = format_rows(["there is", "in runs"], rows, [f"all {total}", ""])
    if not lacking:
        return text
    lines = [[run, shorten_list(sorted(names))] for run, names in lacking.items()]
    return f"{text}\n\n{format_rows(['run', 'lacks'], lines, [f'{len(lines)} runs', ''])}"


def find_work(project: Project) -> list[Work]:
    """Find what processes are writing now, on any machine, and which runs have failed."""
    works = [read_work(folder) for folder in project.work_folders()]
    return [work for work in works if work is not None]


def read_work(folder: WorkFolder) -> Work | None:
    """Read what is being written to an output, or failed the last time; return None without."""
    listing = folder.list_files()
    now = max(time.time(), *listing.modified.values(), 0.0)
    alive = [worker for worker in listing.workers() if listing.is_alive(worker, now)]
    contents = {worker: folder.read_mapping(f"worker.{worker}") for worker in alive}
    workers = {worker: content for worker, content in contents.items() if content}
    newest = listing.newest_job()
    if not workers and not listing.failed(newest):
        return None
    claims = {
        run: folder.read(f"claim.{run}.{number}") or "" for run, number in listing.claims().items()
    }
    record = folder.read_mapping(f"job.{newest}") if not workers else {}
    first = next(iter(workers.values()), {**record, "job": newest})
    job, total = int(first.get("job", 0)), int(first.get("num_runs", 0))
    done = len(listing.done(job))
    failures = read_failures(folder, listing, job)
    return Work(
        output=str(first.get("output")),
        workers=workers,
        claims={run: worker for run, worker in claims.items() if worker in workers},
        done=done,
        total=total,
        failures=[
            f"failed {failure['tries']} of {MAX_TRIES} tries: {failure.get('message')}"
            for failure in failures.values()
        ],
        seconds_left=estimate_seconds(listing, job, total - done),
    )


def estimate_seconds(listing: Listing, job: int, num_left: int) -> float | None:
    """Estimate the seconds that a job needs for the runs that are left, from those done so far."""
    start = f"done.{job}."
    times = [when for name, when in listing.modified.items() if name.startswith(start)]
    if len(times) < 2:
        return None
    return (max(times) - min(times)) / (len(times) - 1) * num_left


def format_work(work: Work) -> str:
    """Format what is at work: how far it is, and on which runs, by which processes."""
    if not work.workers:
        return "\n  ".join([f"{work.output}: runs failed in the last job", *work.failures])
    left = ""
    if work.seconds_left is not None:
        left = f", about {format_duration(work.seconds_left)} left"
    lines = [f"{work.output}: {work.done} of {work.total} runs done{left}"]
    for worker, content in work.workers.items():
        runs = [run for run, owner in work.claims.items() if owner == worker]
        doing = f"at work on {shorten_list(runs)}" if runs else "waiting"
        lines.append(f"{describe_worker(worker, content)}: {doing}")
    return "\n  ".join([*lines, *work.failures])
