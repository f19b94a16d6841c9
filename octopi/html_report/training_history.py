"""Read the folder of a training or search: training history, split, candidates, pictures."""

import dataclasses
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from octopi.errors import DataError, SettingError
from octopi.evaluation.candidates_file import read_candidates
from octopi.geometry import Points
from octopi.html_report.mosaics import compress, data_url
from octopi.models.checkpoint_info import CheckpointInfo, digest, parse_info
from octopi.project.run_scores import RunScores
from octopi.system.files import read_mapping
from octopi.system.job_folder import (
    BEST_MODEL_FILE,
    CANDIDATES_FILE,
    CONFIG_FILE,
    DATA_FILE,
    MODEL_CONFIG_FILE,
    RESULTS_FILE,
    STUDY_FILE,
    best_trial_folder,
    fold_folders,
)

logger = logging.getLogger(__name__)

OWN_PICTURES = ("curves", "picks")  # the page draws the same
VALIDATION, TRAINING, TEST, NEW = "validation", "training", "test", "not in training"
ROLES = {"train": TRAINING, "validation": VALIDATION, "test": TEST}  # by the part of a split


@dataclass(frozen=True)
class TrainingHistory:
    """How a network was trained.

    Args:
        folder: of the training.
        checkpoint_info: of `model_config.yaml`; None before the first validation.
        config: of the training.
        metrics: fold, or an empty name, -> metric -> its epochs and values.
        note: what the metrics are against; empty = all particles.
        splits: fold, or an empty name, -> part -> run names.
        candidates: run name -> object name -> candidates of validation.
        folds: run name -> the fold that held it out, or an empty name.
        pictures: of a search or cross-validation, by name.
    """

    folder: Path
    checkpoint_info: CheckpointInfo | None
    config: Mapping[str, Any]
    metrics: dict[str, Any]
    note: str
    splits: dict[str, Mapping[str, list[str]]]
    candidates: dict[str, Mapping[str, Points]]
    folds: dict[str, str]
    pictures: list[dict[str, str]] = field(default_factory=list, repr=False)

    def role_in_training(self, run_name: str) -> str:
        """Return the run's role (training, validation, test or none) for the whole ensemble."""
        for part, role in ROLES.items():
            if any(run_name in split.get(part, ()) for split in self.splits.values()):
                return role
        return NEW

    def role_when_scored(self, run_name: str) -> str:
        """Return the run's role for the network whose candidates the training stored.

        Out of fold or in validation, that network had not trained on the run; a training without
        validation runs stores candidates of its training runs.
        """
        fold = self.folds[run_name]
        return f"out of fold ({fold})" if fold else self.role_in_training(run_name)

    def to_dict(self) -> dict[str, Any]:
        """Convert to what the page's script reads."""
        return {
            "metrics": self.metrics,
            "note": self.note,
            "splits": self.splits,
            "pictures": self.pictures,
        }


def read_training_history(folder: Path) -> TrainingHistory:
    """Read the folder of a training; of a search, its pictures and its best training.

    Raises:
        SettingError: it is not the folder of a training, search or cross-validation.
        DataError: one of its files is damaged. Metrics and pictures are left out instead.
    """
    pictures = read_pictures(folder)
    if (folder / STUDY_FILE).is_file() and not (folder / RESULTS_FILE).is_file():
        folder = best_trial_folder(folder)
    parts = {path.name: path for path in fold_folders(folder)} or {"": folder}
    configs = [path / CONFIG_FILE for path in (folder, *parts.values())]
    config = next((path for path in configs if path.is_file()), None)
    if config is None:
        raise SettingError(
            f"{folder} is not the folder of a training, a search or a cross-validation: it has no "
            f"{CONFIG_FILE}. Name such a folder with folder=…, or a project with project.config=…"
        )
    metrics: dict[str, Any] = {}
    splits: dict[str, Mapping[str, list[str]]] = {}
    candidates: dict[str, Mapping[str, Points]] = {}
    folds: dict[str, str] = {}
    notes: list[str] = []
    for name, path in parts.items():
        if (path / CANDIDATES_FILE).is_file():
            of_fold = read_candidates(path / CANDIDATES_FILE)
            candidates |= of_fold
            folds |= dict.fromkeys(of_fold, name)
        if (path / RESULTS_FILE).is_file():
            metrics[name], note = _read_results(path / RESULTS_FILE)
            notes.append(note)
        if (path / DATA_FILE).is_file():
            splits[name] = _read_split(path / DATA_FILE)
    info = folder / MODEL_CONFIG_FILE
    return TrainingHistory(
        folder=folder,
        checkpoint_info=parse_info(read_mapping(info), info) if info.is_file() else None,
        config=read_mapping(config),
        metrics=metrics,
        note=next(filter(None, notes), ""),
        splits=splits,
        candidates=candidates,
        folds=folds,
        pictures=pictures,
    )


def _read_results(path: Path) -> tuple[dict[str, Any], str]:
    """Read the epochs and values of each metric, and what they are against.

    Warn about a damaged file and return nothing.
    """
    try:
        content = read_mapping(path)
        history = content.get("history", {})
        metrics = {name: _checked_series(series) for name, series in history.items()}
    except DataError as error:
        logger.warning("%s. The report leaves out its curves.", str(error).removesuffix("."))
        return {}, ""
    except (AttributeError, KeyError, TypeError, ValueError):
        logger.warning("%s is damaged. The report leaves out its curves.", path)
        return {}, ""
    return metrics, str(content.get("metrics_note") or "")


def _checked_series(series: Mapping[str, Any]) -> dict[str, list[float | None]]:
    epochs, values = map(float, series["epoch"]), series["value"]
    numbers = [None if value is None else float(value) for value in values]
    pairs = list(zip(epochs, numbers, strict=True))
    return {
        "epoch": [epoch for epoch, _ in pairs],
        "value": [None if v is None or not math.isfinite(v) else v for _, v in pairs],
    }


def _read_split(path: Path) -> dict[str, list[str]]:
    """Read the run names of each part; without them it is not known which runs were trained on."""
    split = read_mapping(path).get("split")
    if not isinstance(split, dict) or not all(
        isinstance(names, list) and all(isinstance(name, str) for name in names)
        for names in split.values()
    ):
        raise DataError(f"{path} is damaged: it does not say which runs were trained on.")
    return split


def read_pictures(folder: Path) -> list[dict[str, str]]:
    """Read the charts of a search or cross-validation; warn about those that are damaged.

    A link to a file outside of the folder is left out: the page may be sent to others.
    """
    pictures = []
    for path in sorted(folder.glob("*.png")):
        if path.stem.startswith(OWN_PICTURES) or path.resolve().parent != folder.resolve():
            continue
        try:
            with Image.open(path, formats=["PNG"]) as image:
                picture = compress(image.convert("RGB"), lossless=True)
            pictures.append({"name": path.stem, "picture": data_url(picture)})
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            logger.warning("%s is damaged, and left out of the report: %s", path, error)
    return pictures


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
