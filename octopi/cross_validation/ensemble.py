"""Folds that are done become one: an ensemble, its thresholds, and what they score out of fold.

A run is out of fold for the net that did not train on it. The candidates there of all folds
together decide the ensemble's thresholds. How good thresholds are is told by those that a fold
had no part in: its own, and those of all folds together, saw the very candidates they judge.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from octopi.config.build import build
from octopi.config.settings import TrainSettings
from octopi.cross_validation.table import (
    MEAN_OF_OTHERS,
    OTHERS,
    OWN,
    POOLED,
    THRESHOLD_METHODS,
    draw_folds,
    table,
)
from octopi.errors import DataError, SettingError
from octopi.evaluation.candidates import read_candidates
from octopi.evaluation.score_report import Report
from octopi.evaluation.scores import Scorer
from octopi.geometry import PicksByRun, Points
from octopi.models import checkpoint
from octopi.models.checkpoint import ENSEMBLE, CheckpointInfo, mean_thresholds
from octopi.project import Project
from octopi.system.files import read_json, read_yaml, write_json
from octopi.system.job_folder import BEST_MODEL_FILE, CANDIDATES_FILE, CONFIG_FILE, RESULTS_FILE
from octopi.training.best_model import write_model
from octopi.training.dataset_info import DatasetInfo, read_dataset_info
from octopi.training.module import Thresholds, ValidationSteps
from octopi.training.validation import build_validation


@dataclasses.dataclass(frozen=True)
class Fold:
    """A training that is done.

    Args:
        name: of its folder.
        weights: of its net.
        recipe: of its net.
        candidates: of the runs it did not train on.
        results: the content of its `results.json`.
    """

    name: str
    weights: dict[str, Tensor]
    recipe: CheckpointInfo
    candidates: dict[str, dict[str, Points]]
    results: dict[str, Any]


def build_ensemble(folder: Path, folders: Sequence[Path]) -> float | None:
    """The folder holds the ensemble, with thresholds from all out-of-fold candidates, and scores.

    The same folds give the same files, each complete, however many processes pool them at once.

    Args:
        folder: of the cross-validation.
        folders: of its folds, all of them done.
    """
    settings = settings_of(folders)
    folds = read_folds(folders)
    project: Project = build(settings.project, "project")
    facts = read_dataset_info(project, settings)
    stages = build_validation(settings, facts, folds[0].recipe.size_divisor)
    candidates = out_of_fold_candidates(folds)
    truth = read_truth(facts, candidates)
    thresholds = stages.calibrate(candidates, truth)
    measured = stages.score_candidates(candidates, truth, thresholds)
    thresholds_by_method = compare_threshold_methods(folds, truth, stages, thresholds)
    scorer: Scorer = build(settings.scorer, "scorer")

    def score(picks: PicksByRun) -> Report:
        there = {run: truth[run] for run in picks}
        return scorer(picks, there, radii=facts.radii, weights=facts.weights)

    results = {
        "best_metric": settings.best_metric,
        "out_of_fold": measured,
        "thresholds": thresholds,
        "scores": {
            way: score_folds(folds, held, stages, score)
            for way, held in thresholds_by_method.items()
        },
        "folds": {
            fold.name: {
                **fold.results,
                "held_out": sorted(fold.candidates),
                "thresholds": {way: held[fold.name] for way, held in thresholds_by_method.items()},
            }
            for fold in folds
        },
    }
    metrics = {name: value for name, value in measured.items() if value is not None}
    recipe = ensemble_recipe([fold.recipe for fold in folds], thresholds, metrics)
    weights = {
        f"nets.{i}.{name}": value
        for i, fold in enumerate(folds)
        for name, value in fold.weights.items()
    }
    with staged_files(folder) as staging_folder:
        write_model(staging_folder, weights, recipe)
        draw_folds(staging_folder / "folds.png", results)
        write_json(staging_folder / RESULTS_FILE, results)
    return measured.get(settings.best_metric)


def settings_of(folders: Sequence[Path]) -> TrainSettings:
    """The settings of the first fold, after a check that all trained on the same target."""
    configs = [read_yaml(folder / CONFIG_FILE) for folder in folders]
    if len({settings["target"] for settings in configs}) > 1:
        targets_text = [f"{f.name} on {s['target']}" for f, s in zip(folders, configs, strict=True)]
        raise SettingError(
            f"Folds of one cross-validation share their target; these do not: "
            f"{', '.join(targets_text)}."
        )
    return TrainSettings(**configs[0])


def read_folds(folders: Sequence[Path]) -> list[Fold]:
    """What the folds left, after a check that each held out runs of its own."""
    folds = [
        Fold(
            folder.name,
            *checkpoint.read(folder / BEST_MODEL_FILE),
            read_candidates(folder / CANDIDATES_FILE),
            read_json(folder / RESULTS_FILE),
        )
        for folder in folders
    ]
    paths = [folder / BEST_MODEL_FILE for folder in folders]
    checkpoint.check_same_objects(paths, [fold.recipe for fold in folds])
    owner: dict[str, str] = {}
    for fold in folds:
        for run in fold.candidates:
            if owner.setdefault(run, fold.name) != fold.name:
                raise SettingError(
                    f"{owner[run]} and {fold.name} both hold out run {run}: they are not folds of "
                    "one cross-validation. Train them with the same num_folds and seed."
                )
    return folds


def out_of_fold_candidates(folds: Sequence[Fold]) -> dict[str, dict[str, Points]]:
    """Run name -> object name -> candidates, of all runs that these folds held out."""
    return {run: found for fold in folds for run, found in fold.candidates.items()}


def read_truth(facts: DatasetInfo, run_names: Collection[str]) -> dict[str, dict[str, Points]]:
    """Run name -> object name -> particles."""
    known = {run.name: run for run in facts.runs}
    if missing_runs := [name for name in run_names if name not in known]:
        raise DataError(
            f"The folds held out {', '.join(missing_runs)}, but no such run has the target "
            f"{facts.target} any more. Make it again, or train the folds anew."
        )
    return {name: facts.true_picks(known[name]) for name in run_names}


def compare_threshold_methods(
    folds: Sequence[Fold], truth: PicksByRun, stages: ValidationSteps, pooled_thresholds: Thresholds
) -> dict[str, dict[str, Thresholds]]:
    """Way of choosing -> fold name -> thresholds for the runs that the fold held out.

    Of all folds together and of the fold itself: these saw the candidates they are to judge.
    Calibrated on the other folds, and the mean of the others' own: these did not.
    """
    ways: dict[str, dict[str, Thresholds]] = {way: {} for way in THRESHOLD_METHODS}
    for fold in folds:
        others = [other for other in folds if other is not fold]
        seen = out_of_fold_candidates(others)
        ways[POOLED][fold.name] = pooled_thresholds
        ways[OWN][fold.name] = fold.recipe.thresholds
        ways[OTHERS][fold.name] = stages.calibrate(seen, {run: truth[run] for run in seen})
        ways[MEAN_OF_OTHERS][fold.name] = mean_thresholds([other.recipe for other in others])
    return ways


def score_folds(
    folds: Sequence[Fold],
    thresholds: Mapping[str, Thresholds],
    stages: ValidationSteps,
    judge: Callable[[PicksByRun], Report],
) -> dict[str, Any]:
    """Name of each fold, and `pooled` -> what its picks score, as JSON.

    Args:
        folds: all of them.
        thresholds: fold name -> those its candidates are cut at.
        stages: for the β of the thresholds.
        judge: picks per run -> report.
    """
    picks = {
        fold.name: stages.apply_thresholds(fold.candidates, thresholds[fold.name]) for fold in folds
    }
    every = {run: found for held in picks.values() for run, found in held.items()}
    reports = {name: judge(held) for name, held in {**picks, POOLED: every}.items()}
    return {
        name: {k: v for k, v in report.to_dict().items() if k not in ("curves", "runs")}
        for name, report in reports.items()
    }


@contextmanager
def staged_files(folder: Path) -> Iterator[Path]:
    """A folder whose files, when all are written, replace those of the same name in `folder`."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".pool") as desk:
        yield Path(desk)
        for path in sorted(Path(desk).iterdir()):
            path.replace(folder / path.name)


def summarize(folder: Path) -> str:
    """A cross-validation's scores as a table, from its `results.json`."""
    return table(read_json(folder / RESULTS_FILE))


def ensemble_recipe(
    recipes: Sequence[CheckpointInfo], thresholds: Thresholds, metrics: dict[str, float]
) -> CheckpointInfo:
    """The recipe of the folds' nets as one."""
    return dataclasses.replace(
        recipes[0],
        net={"_target_": ENSEMBLE, "nets": [recipe.net for recipe in recipes]},
        thresholds=thresholds,
        metrics=metrics,
        provenance={"folds": [recipe.provenance for recipe in recipes]},
    )
