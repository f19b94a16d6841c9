"""Find score maps in a project, and the training that made them."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path

from octopi.config.settings import ReportSettings, ReviewSettings
from octopi.errors import NotInProjectError
from octopi.html_report.training_history import TrainingHistory, read_training_history
from octopi.models.checkpoint_info import digest
from octopi.project.run import Run
from octopi.project.run_scores import RunScores, find_scores
from octopi.system.job_folder import BEST_MODEL_FILE, CONFIG_FILE


def find_score_maps(
    runs: Iterable[Run], settings: ReportSettings | ReviewSettings
) -> dict[str, RunScores]:
    """Find the score map of each run that has one, by the run's name; see `find_score_map`."""
    maps = {}
    for run in runs:
        with contextlib.suppress(NotInProjectError):
            maps[run.name] = find_score_map(run, settings.input, settings.tomo_type)
    return maps


def find_score_map(run: Run, name: str, tomo_type: str | None) -> RunScores:
    """Find the score map of a run; of several, that of the tomogram type that is shown.

    Raises:
        NotInProjectError: there is none.
        SettingError: there are several, and `tomo_type` chooses none.
    """
    find = functools.partial(find_scores, run, "scores", name, voxel_spacing=None)
    try:
        return find(tomo_type=tomo_type)
    except NotInProjectError:
        return find(tomo_type=None)


def find_training_of(maps: Iterable[RunScores]) -> TrainingHistory | None:
    """Read the history of the one training that made all maps, if its folder still exists.

    A map is data: the folder it names is read only where the checkpoint there has the digest that
    the map names.
    """
    checkpoints = {tuple(score_map.checkpoints().items()) for score_map in maps}
    if len(checkpoints) != 1 or len(only := next(iter(checkpoints))) != 1:
        return None
    path, stored_digest = Path(only[0][0]).absolute(), only[0][1]
    if not (path.parent / CONFIG_FILE).is_file() or _digest(path) != stored_digest:
        return None
    return dataclasses.replace(read_training_history(path.parent), candidates={}, folds={})


def keep_maps_of(history: TrainingHistory, maps: Mapping[str, RunScores]) -> dict[str, RunScores]:
    """Keep the maps that the training's best model made."""
    best_model = _digest(history.folder / BEST_MODEL_FILE)
    return {name: m for name, m in maps.items() if best_model in m.checkpoints().values()}


def _digest(path: Path) -> str | None:
    return digest(path) if path.is_file() else None
