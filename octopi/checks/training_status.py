"""How far the trainings in a folder are: one, or those of a sweep or of folds."""

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from octopi.checks.tables import format_rows
from octopi.errors import DataError, SettingError
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

COLUMNS = ("training", "state", "epochs", "last metric", "last.ckpt", "left")


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
    left = owner or ""
    if owner and saved_at and done and isinstance(total, int) and total > done:
        seconds = saved_at - (folder / CONFIG_FILE).stat().st_mtime
        left = f"about {format_duration(seconds / done * (total - done))}; {owner}"
    return [
        name,
        state,
        f"{done} of {total}" if config else "",
        f"{best_metric} {values[-1]:.4g}" if values else "",
        time.strftime("%F %T", time.localtime(saved_at)) if saved_at else "",
        left,
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
    return format_rows(COLUMNS, rows, [f"all {len(rows)}", listed])
