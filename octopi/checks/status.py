"""What a project holds, who is at work on it, and how far trainings are; no volume is read."""

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from octopi.checks.tables import format_with_totals
from octopi.errors import DataError, SettingError, shorten_list
from octopi.project.run import Run
from octopi.project.work_folder import MAX_TRIES, Listing, WorkFolder, read_failures
from octopi.project.worker import describe_worker
from octopi.system import locks
from octopi.system.files import read_mapping
from octopi.system.job_folder import (
    CONFIG_FILE,
    LAST_CHECKPOINT_FILE,
    RESULTS_FILE,
    fold_folders,
    read_outcome,
)
from octopi.system.resources import format_duration
from octopi.system.worker_pool import run_in_threads

COLUMNS = ("training", "state", "epochs", "last metric", "last.ckpt", "left")
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
    text = format_with_totals(["stored", "in runs"], rows, ["all runs", str(total)])
    if not lacking:
        return text
    lines = [[run, shorten_list(sorted(names))] for run, names in lacking.items()]
    return f"{text}\n\n{format_with_totals(['run', 'lacks'], lines, [f'{len(lines)} runs', ''])}"


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
    done, time_left = len(listing.done(job)), ""
    if (seconds := estimate_seconds(listing, job, total - done)) is not None:
        time_left = f", about {format_duration(seconds)} left"
    lines = [f"{first.get('output')}: {done} of {total} runs done{time_left}"]
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


def read_trainings(folder: Path) -> list[list[str]]:
    """Read how far each training in a folder is: the cells of `COLUMNS`.

    Raises:
        SettingError: there is none.
    """
    folders = [inner for outer in _inner_jobs(folder) for inner in fold_folders(outer) or [outer]]
    if not folders and (folder / CONFIG_FILE).is_file():
        folders = [folder]
    if not folders:
        raise SettingError(
            f"{folder} is not the folder of a training, of folds or of a sweep: it has neither "
            f"{CONFIG_FILE} nor folders with one."
        )
    return [read_training(path, str(path.relative_to(folder.parent))) for path in folders]


def _inner_jobs(folder: Path) -> list[Path]:
    """List the folders of folds, or of a sweep's trainings, by name; numbers in names by value."""
    jobs = [path.parent for path in folder.glob(f"[!.]*/{CONFIG_FILE}")]
    return sorted(
        jobs,
        key=lambda job: [
            (int(part), "") if part.isdecimal() else (-1, part)
            for part in re.split(r"(\d+)", job.name)
        ],
    )


def read_training(folder: Path, name: str) -> list[str]:
    """Read how far a training is: the cells of `COLUMNS`.

    What is damaged is said in place of the state. The time that is left is estimated from the
    epochs that are whole; beside it stands who is at work.
    """
    owner = locks.folder_owner(folder)
    try:
        outcome = read_outcome(folder)
        results = _read(folder / RESULTS_FILE)
        config = _read(folder / CONFIG_FILE)
    except DataError as error:
        return [name, f"damaged: {error}", "", "", "", owner or ""]
    state = outcome.state if outcome else "at work" if owner else "interrupted"
    history = results.get("history")
    done = int((_series(history, "train_loss", "epoch") or [-1])[-1]) + 1
    trainer = config.get("trainer")
    total = trainer.get("max_epochs") if isinstance(trainer, Mapping) else None
    best_metric = str(results.get("best_metric"))
    values = _series(history, best_metric, "value")
    saved = folder / LAST_CHECKPOINT_FILE
    saved_at = saved.stat().st_mtime if saved.is_file() else None
    time_left = owner or ""
    if owner and saved_at and done and isinstance(total, int) and total > done:
        seconds = saved_at - (folder / CONFIG_FILE).stat().st_mtime
        time_left = f"about {format_duration(seconds / done * (total - done))}; {owner}"
    return [
        name,
        state,
        f"{done} of {total}" if config else "",
        f"{best_metric} {values[-1]:.4g}" if values else "",
        time.strftime("%F %T", time.localtime(saved_at)) if saved_at else "",
        time_left,
    ]


def _read(path: Path) -> dict[str, Any]:
    return read_mapping(path) if path.is_file() else {}


def _series(history: Any, name: str, key: str) -> list[float]:
    """Return the epochs or values of a metric that are numbers, if the file holds such a list."""
    series = history.get(name) if isinstance(history, Mapping) else None
    values = series.get(key) if isinstance(series, Mapping) else None
    numbers = values if isinstance(values, list) else []
    return [number for number in numbers if isinstance(number, int | float)]


def format_trainings(rows: Sequence[Sequence[str]]) -> str:
    """Format a line for each training, and how many are in which state."""
    counts = Counter(state for _, state, *_ in rows)
    listed = ", ".join(f"{number} {state}" for state, number in counts.items())
    return format_with_totals(COLUMNS, rows, [f"all {len(rows)}", listed])
