"""The file of the candidates that a model found in its validation runs."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from octopi.geometry import PicksByRun, Points
from octopi.system.files import damaged, staged


def write_candidates(path: Path, candidates: PicksByRun) -> None:
    """Write the scored candidates of every run and object, complete or not at all.

    Each array `RUN|OBJECT` of the file has the rows x, y, z in Å, score.
    """
    arrays = {
        f"{run}|{name}": np.column_stack([points.positions, points.scores])
        for run, objects in candidates.items()
        for name, points in objects.items()
        if points.scores is not None
    }
    with staged(path) as stage, stage.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_candidates(path: Path, *, cure: str = "") -> dict[str, dict[str, Points]]:
    """Read scored candidates: run name -> object name -> points.

    Args:
        path: of the file.
        cure: what the user can do if it is damaged, for the error.

    Raises:
        DataError: the file is damaged.
    """
    candidates: dict[str, dict[str, Points]] = {}
    with path.open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as arrays:
                for key in arrays.files:
                    run, _, name = key.rpartition("|")
                    candidates.setdefault(run, {})[name] = _to_points(arrays[key])
        except Exception as error:  # what a damaged file raises depends on where it is damaged
            raise damaged(path, str(error).removesuffix("."), cure=cure) from error
    return candidates


def _to_points(rows: NDArray) -> Points:
    if rows.ndim != 2 or rows.shape[1] != 4 or not np.isfinite(rows).all():
        raise ValueError("its candidates are not rows of four finite numbers.")
    return Points(rows[:, :3], rows[:, 3])
