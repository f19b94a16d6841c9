"""Find score maps in a project, and the training that made them."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octopi.config.settings import ReportSettings
from octopi.errors import SettingError, shorten_list
from octopi.html_report.training_history import TrainingHistory, read_training_history
from octopi.models.checkpoint_info import digest
from octopi.project import Run, SegmentationQuery, TomogramQuery, score_map_name
from octopi.project.score_map import ScoreMap, read_score_map
from octopi.system.job_folder import BEST_MODEL_FILE, CONFIG_FILE


@dataclass(frozen=True)
class ScoreMapReference:
    """A score map of a run, not read yet.

    Args:
        run: whose score map.
        tomogram: beside which it is stored.
        name: of the score map.
        attributes: stored with it.
    """

    run: Run
    tomogram: TomogramQuery
    name: str
    attributes: Mapping[str, Any]

    @property
    def checkpoints(self) -> Mapping[str, str]:
        """The digest of each checkpoint that made the map, by its path."""
        stored = self.attributes.get("checkpoints")
        return stored if isinstance(stored, Mapping) else {}

    def read(self) -> ScoreMap:
        """Read the score map."""
        return read_score_map(self.run, self.tomogram, self.name)


def find_score_maps(runs: Iterable[Run], settings: ReportSettings) -> dict[str, ScoreMapReference]:
    """Find the score map of each run that has one, by the run's name.

    Raises:
        SettingError: a run has score maps of several tomograms, and `tomo_type` chooses none.
    """
    name = score_map_name(SegmentationQuery.parse(settings.input))
    maps = {}
    for run in runs:
        tomograms = [query for query, map_name in run.score_maps() if map_name == name]
        fit = [q for q in tomograms if settings.tomo_type in (None, q.tomo_type)] or tomograms
        if len(fit) > 1:
            raise SettingError(
                f"Run {run.name} has score maps {name} of {shorten_list(fit)}. "
                "Say which: tomo_type=…"
            )
        for query in fit:
            attributes = run.score_map_attributes(query, name)
            maps[run.name] = ScoreMapReference(run, query, name, attributes)
    return maps


def find_training_of(maps: Iterable[ScoreMapReference]) -> TrainingHistory | None:
    """Read the history of the one training that made all maps, if its folder still exists.

    A map is data: the folder it names is read only where the checkpoint there has the digest that
    the map names.
    """
    checkpoints = {tuple(score_map.checkpoints.items()) for score_map in maps}
    if len(checkpoints) != 1 or len(only := next(iter(checkpoints))) != 1:
        return None
    path, stored_digest = Path(only[0][0]).absolute(), only[0][1]
    if not (path.parent / CONFIG_FILE).is_file() or _digest(path) != stored_digest:
        return None
    return dataclasses.replace(read_training_history(path.parent), candidates={}, folds={})


def keep_maps_of(
    history: TrainingHistory, maps: Mapping[str, ScoreMapReference]
) -> dict[str, ScoreMapReference]:
    """Keep the maps that the training's best model made."""
    best_model = _digest(history.folder / BEST_MODEL_FILE)
    return {name: m for name, m in maps.items() if best_model in m.checkpoints.values()}


def _digest(path: Path) -> str | None:
    return digest(path) if path.is_file() else None
