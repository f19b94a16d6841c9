"""What a project holds, and which processes are at work on it; no volume is read."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from octopi.checks.tables import format_rows
from octopi.errors import shorten_list
from octopi.project.run import Run
from octopi.project.work_folder import MAX_TRIES, Listing, WorkFolder, read_failures
from octopi.project.worker import describe_worker
from octopi.system.resources import format_duration
from octopi.system.worker_pool import run_in_threads

NUM_THREADS = 16  # that list runs; on S3 each waits for answers


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


def describe_work(folder: WorkFolder) -> str | None:
    """Say how far the work on an output is, who is at work on which runs, and which have failed.

    Returns:
        Lines of text; None where nobody is at work and nothing has failed the last time.
    """
    listing = folder.list_files()
    now = max(time.time(), *listing.modified.values(), 0.0)
    alive = [worker for worker in listing.workers() if listing.is_alive(worker, now)]
    contents = {worker: folder.read_mapping(f"worker.{worker}") for worker in alive}
    workers = {worker: content for worker, content in contents.items() if content}
    newest = listing.newest_job()
    if not workers and not listing.failed(newest):
        return None
    record = folder.read_mapping(f"job.{newest}") if not workers else {}
    first = next(iter(workers.values()), {**record, "job": newest})
    job, total = int(first.get("job", 0)), int(first.get("num_runs", 0))
    failures = [
        f"failed {failure['tries']} of {MAX_TRIES} tries: {failure.get('message')}"
        for failure in read_failures(folder, listing, job).values()
    ]
    if not workers:
        return "\n  ".join([f"{first.get('output')}: runs failed in the last job", *failures])
    done, left = len(listing.done(job)), ""
    if (seconds := estimate_seconds(listing, job, total - done)) is not None:
        left = f", about {format_duration(seconds)} left"
    lines = [f"{first.get('output')}: {done} of {total} runs done{left}"]
    owners = {run: folder.read(f"claim.{run}.{n}") for run, n in listing.claims().items()}
    for worker, content in workers.items():
        runs = [run for run, owner in owners.items() if owner == worker]
        doing = f"at work on {shorten_list(runs)}" if runs else "waiting"
        lines.append(f"{describe_worker(worker, content)}: {doing}")
    return "\n  ".join([*lines, *failures])


def estimate_seconds(listing: Listing, job: int, num_left: int) -> float | None:
    """Estimate the seconds that a job needs for the runs that are left, from those done so far."""
    start = f"done.{job}."
    times = [when for name, when in listing.modified.items() if name.startswith(start)]
    if len(times) < 2:
        return None
    return (max(times) - min(times)) / (len(times) - 1) * num_left
