"""Store and read scored candidates."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from octopi.errors import DataError
from octopi.geometry import PicksByRun, Points


def write_candidates(path: Path, candidates: PicksByRun) -> None:
    """Write the scored candidates of every run and object, complete or not at all.

    Each array `RUN|OBJECT` of the file has the rows x, y, z in Å, score.
    """
    arrays = {
        f"{run}|{name}": np.column_stack([points.positions, points.scores])
        for run, found in candidates.items()
        for name, points in found.items()
        if points.scores is not None
    }
    part = path.with_name(f".{path.stem}.part.npz")
    np.savez_compressed(part, **arrays)  # type: ignore[arg-type]
    part.replace(path)


def read_candidates(path: Path) -> dict[str, dict[str, Points]]:
    """Read scored candidates: run name -> object name -> points.

    Raises:
        DataError: the file is damaged.
    """
    candidates: dict[str, dict[str, Points]] = {}
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            for key in arrays.files:
                run, _, name = key.rpartition("|")
                candidates.setdefault(run, {})[name] = _to_points(arrays[key])
    except (ValueError, TypeError, AttributeError, EOFError, zlib.error,
            zipfile.BadZipFile) as error:  # fmt: skip
        raise DataError(f"{path} is damaged: {error}") from error
    return candidates


def _to_points(rows: NDArray) -> Points:
    if rows.ndim != 2 or rows.shape[1] != 4 or not np.isfinite(rows).all():
        raise ValueError("its candidates are not rows of four finite numbers.")
    return Points(rows[:, :3], rows[:, 3])
