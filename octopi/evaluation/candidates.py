"""Store and read scored candidates."""

from pathlib import Path

import numpy as np

from octopi.geometry import PicksByRun, Points
from octopi.system.files import staged


def write_candidates(path: Path, candidates: PicksByRun) -> None:
    """The file holds the scored candidates of every run and object: x, y, z in Å, score."""
    arrays = {
        f"{run}|{name}": np.column_stack([points.positions, points.scores])
        for run, found in candidates.items()
        for name, points in found.items()
        if points.scores is not None
    }
    with staged(path) as stage, stage.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_candidates(path: Path) -> dict[str, dict[str, Points]]:
    """Run name -> object name -> scored candidates."""
    out: dict[str, dict[str, Points]] = {}
    with np.load(path) as arrays:
        for key in arrays.files:
            run, _, name = key.rpartition("|")
            rows = arrays[key]
            out.setdefault(run, {})[name] = Points(rows[:, :3], rows[:, 3])
    return out
