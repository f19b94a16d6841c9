"""What the folder of a training or of a search tells: how it went, its split, its candidates."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from octopi.errors import SettingError
from octopi.evaluation.candidates import read_candidates
from octopi.geometry import Points
from octopi.html_report.mosaics import data_url
from octopi.system.files import read_json, read_yaml
from octopi.system.job_folder import (
    CANDIDATES_FILE,
    CONFIG_FILE,
    DATA_FILE,
    MODEL_CONFIG_FILE,
    RESULTS_FILE,
    STUDY_FILE,
    best_trial_folder,
    fold_folders,
)

OWN_PICTURES = ("curves", "picks", "report")  # drawn anew on the page, or its own
VALIDATION, TRAINING, TEST, NEW = "validation", "training", "test", "not in training"


@dataclass(frozen=True)
class TrainingHistory:
    """How a network came to be.

    Args:
        folder: of its training.
        recipe: the content of `model_config.yaml`; empty where training has not come so far.
        config: of the training.
        histories: fold, or an empty name, -> metric -> epochs and values.
        splits: fold, or an empty name, -> part -> run names.
        candidates: run name -> what was found there by nets that had not trained on it.
        folds: run name -> the fold that held it out.
        pictures: of a search or cross-validation, by name.
    """

    folder: Path
    recipe: Mapping[str, Any]
    config: Mapping[str, Any]
    histories: dict[str, Any]
    splits: dict[str, dict[str, list[str]]]
    candidates: dict[str, Mapping[str, Points]]
    folds: dict[str, str]
    pictures: list[dict[str, str]] = field(default_factory=list, repr=False)

    def role_in_training(self, run_name: str) -> str:
        """What the run was to the network that is applied to whole tomograms."""
        for part in ("train", "validation", "test"):
            for split in self.splits.values():
                if run_name in split.get(part, ()):
                    return {"train": TRAINING, "validation": VALIDATION, "test": TEST}[part]
        return NEW

    def role_when_scored(self, run_name: str) -> str:
        """What the run was to the nets whose candidates the training left of it.

        Out of fold or in validation they had not trained on it; without validation runs they had.
        """
        fold = self.folds[run_name]
        return f"out of fold ({fold})" if fold else self.role_in_training(run_name)

    def to_dict(self) -> dict[str, Any]:
        """The journey as the page reads it."""
        return {
            "histories": self.histories,
            "splits": self.splits,
            "pictures": self.pictures,
            "best_metric": self.config.get("best_metric"),
        }


def read_training_history(folder: Path) -> TrainingHistory:
    """What the folder tells; of a search, its pictures and its best training."""
    pictures = pictures_in(folder)
    if (folder / STUDY_FILE).is_file() and not (folder / RESULTS_FILE).is_file():
        folder = best_trial_folder(folder)
    if not any((path / CONFIG_FILE).is_file() for path in (folder, *fold_folders(folder))):
        raise SettingError(
            f"{folder} is not the folder of a training, a search or a cross-validation: it has no "
            f"{CONFIG_FILE}. Name such a folder with folder=…, or a project with project.config=…"
        )
    parts = {path.name: path for path in fold_folders(folder)} or {"": folder}
    return _read(folder, parts, pictures)


def _read(
    folder: Path, parts: Mapping[str, Path], pictures: list[dict[str, str]]
) -> TrainingHistory:
    histories, splits, folds = {}, {}, {}
    candidates: dict[str, Mapping[str, Points]] = {}
    for name, path in parts.items():
        if (path / RESULTS_FILE).is_file():
            histories[name] = read_json(path / RESULTS_FILE).get("history", {})
        if (path / DATA_FILE).is_file():
            splits[name] = read_json(path / DATA_FILE)["split"]
        if (path / CANDIDATES_FILE).is_file():
            found = read_candidates(path / CANDIDATES_FILE)
            candidates |= found
            folds |= dict.fromkeys(found, name)
    first = next(iter(parts.values()))
    config = next(p for p in (folder / CONFIG_FILE, first / CONFIG_FILE) if p.is_file())
    recipe = folder / MODEL_CONFIG_FILE
    return TrainingHistory(
        folder=folder,
        recipe=read_yaml(recipe) if recipe.is_file() else {},
        config=read_yaml(config),
        histories=histories,
        splits=splits,
        candidates=candidates,
        folds=folds,
        pictures=pictures,
    )


def pictures_in(folder: Path) -> list[dict[str, str]]:
    """The charts that a search or cross-validation has drawn, as the page reads them."""
    paths = [p for p in sorted(folder.glob("*.png")) if not p.stem.startswith(OWN_PICTURES)]
    return [{"name": path.stem, "picture": _recoded(path)} for path in paths]


def _recoded(path: Path) -> str:
    """The address of the picture, smaller than a PNG and without loss."""
    out = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").save(out, "WEBP", lossless=True, method=3)
    return data_url(out.getvalue())
