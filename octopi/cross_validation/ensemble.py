"""Combine finished folds into an ensemble and score it out of fold.

A run is out of fold for the net that did not train on it. The candidates of all folds in such runs
decide the ensemble's thresholds, which so have seen the candidates that they are scored on. Those
of the other folds alone have not.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from octopi.config.build import build
from octopi.config.settings import TrainSettings
from octopi.cross_validation.table import OTHERS, POOLED, plot_folds
from octopi.errors import DataError, SettingError, shorten_list
from octopi.evaluation.calibration import Calibration
from octopi.evaluation.candidates_file import read_candidates
from octopi.evaluation.chances import AnnotatedShare
from octopi.evaluation.partial import estimate_scores
from octopi.geometry import PicksByRun, Points
from octopi.models import checkpoint
from octopi.models.checkpoint import ENSEMBLE
from octopi.models.checkpoint_info import CheckpointInfo, check_same_objects
from octopi.system.files import read_mapping, temporary_folder, write_figure, write_json
from octopi.system.job_folder import (
    BEST_MODEL_FILE,
    CANDIDATES_FILE,
    CONFIG_FILE,
    LIMITS,
    RESULTS_FILE,
    changed_settings,
    read_training_config,
)
from octopi.training.best_model import write_model
from octopi.training.dataset_info import DatasetInfo, read_dataset_info
from octopi.training.validation import Validation, build_validation, log_shares


@dataclasses.dataclass(frozen=True)
class Fold:
    """A finished training of a cross-validation.

    Args:
        name: of its folder.
        weights: of its net.
        info: of its checkpoint.
        candidates: run name -> object name -> candidates, of the runs that it held out.
        results: the content of its `results.json`.
    """

    name: str
    weights: dict[str, Tensor]
    info: CheckpointInfo
    candidates: dict[str, dict[str, Points]]
    results: dict[str, Any]


def build_ensemble(
    folder: Path, fold_folders: Sequence[Path], settings: TrainSettings
) -> float | None:
    """Write the ensemble of folds into a folder, with its thresholds and scores out of fold.

    The same folds give the same files, each complete, however many processes do it at once.

    Args:
        folder: of the cross-validation.
        fold_folders: of its trainings, all finished.
        settings: that they share.

    Returns:
        The best metric out of fold; None = n/a.
    """
    folds = read_folds(fold_folders)
    info = read_dataset_info(build(settings.project, "project"), settings)
    first = folds[0].info
    validation = build_validation(settings, info, first.size_divisor, first.net_output)
    candidates = out_of_fold_candidates(folds)
    truth = read_truth(info, candidates)
    calibration = validation.calibrate(candidates, truth)
    metrics = validation.score_candidates(candidates, truth, calibration)
    by_method = {
        POOLED: {fold.name: calibration for fold in folds},
        OTHERS: {fold.name: calibrate_on_others(folds, fold, truth, validation) for fold in folds},
    }
    shares = {n: share for n, share in calibration.shares.items() if n in info.partial}
    results = {
        "best_metric": settings.best_metric,
        **({"metrics_note": info.metrics_note} if info.metrics_note else {}),
        "out_of_fold": metrics,
        "thresholds": calibration.thresholds,
        "annotated_share": calibration.shares,
        "scores": {
            method: score_folds(folds, by_fold, truth, validation, shares)
            for method, by_fold in by_method.items()
        },
        "folds": {fold.name: describe_fold(fold, by_method) for fold in folds},
    }
    with temporary_folder(folder) as staging_folder:
        write_model(staging_folder, *combine_nets(folds, calibration, metrics))
        write_figure(staging_folder / "folds.png", plot_folds(results))
        write_json(staging_folder / RESULTS_FILE, results)
        for path in sorted(staging_folder.iterdir()):
            path.replace(folder / path.name)
    log_shares(calibration.shares, truth, info)
    return metrics.get(settings.best_metric)


def read_folds(folders: Sequence[Path]) -> list[Fold]:
    """Read finished folds.

    Raises:
        DataError: a file of a fold is damaged.
        SettingError: two folds have different objects or settings, or held out the same run.
    """
    _check_same_settings(folders)
    folds = [_read_fold(folder) for folder in folders]
    paths = [folder / BEST_MODEL_FILE for folder in folders]
    check_same_objects(paths, [fold.info for fold in folds])
    fold_of_run: dict[str, str] = {}
    for fold in folds:
        for run in fold.candidates:
            if fold_of_run.setdefault(run, fold.name) != fold.name:
                raise SettingError(
                    f"{fold_of_run[run]} and {fold.name} both hold out run {run}: they are not "
                    "folds of one cross-validation. Train them with the same num_folds and seed."
                )
    return folds


def _check_same_settings(folders: Sequence[Path]) -> None:
    """Raise SettingError if folds were trained with different settings.

    Each fold reads the files of the config anew, and one may be edited meanwhile.
    """
    configs = {f: read_training_config(f) for f in folders if (f / CONFIG_FILE).is_file()}
    for folder, config in configs.items():
        first = next(iter(configs))
        may_change = {*LIMITS, "fold", "data.fold", "logger"}
        if changed := changed_settings(configs[first], config, may_change=may_change):
            raise SettingError(
                f"{folder.name} was trained with other settings than {first.name}: "
                f"{shorten_list(changed)} differ. Was an experiment edited meanwhile? Undo that, "
                f"delete {folder} and start the same command again: it trains the fold anew."
            )


def _read_fold(folder: Path) -> Fold:
    cure = f"Delete {folder} and start the same command again: it trains the fold anew."
    return Fold(
        folder.name,
        *checkpoint.read(folder / BEST_MODEL_FILE),
        read_candidates(folder / CANDIDATES_FILE, cure=cure),
        read_mapping(folder / RESULTS_FILE, cure=cure),
    )


def out_of_fold_candidates(folds: Sequence[Fold]) -> dict[str, dict[str, Points]]:
    """Merge the candidates of folds: run name -> object name -> candidates."""
    return {run: by_object for fold in folds for run, by_object in fold.candidates.items()}


def read_truth(info: DatasetInfo, run_names: Collection[str]) -> dict[str, dict[str, Points]]:
    """Read the particles of runs: run name -> object name -> particles.

    Raises:
        DataError: a run has no target any more.
    """
    runs = {run.name: run for run in info.runs}
    if missing_runs := [name for name in run_names if name not in runs]:
        raise DataError(
            f"The folds held out {shorten_list(missing_runs)}, but no such run has the target "
            f"{info.target} any more. Make it again, or train the folds anew."
        )
    return {name: info.true_picks(runs[name]) for name in run_names}


def calibrate_on_others(
    folds: Sequence[Fold], fold: Fold, truth: PicksByRun, validation: Validation
) -> Calibration:
    """Calibrate on the runs that the other folds held out, as one.

    Args:
        folds: all of them.
        fold: the one that has no part in it.
        truth: of the runs that all folds held out.
        validation: calibrates.
    """
    candidates = out_of_fold_candidates([other for other in folds if other is not fold])
    return validation.calibrate(candidates, {run: truth[run] for run in candidates})


def score_folds(
    folds: Sequence[Fold],
    calibrations: Mapping[str, Calibration],
    truth: PicksByRun,
    validation: Validation,
    shares: Mapping[str, AnnotatedShare],
) -> dict[str, Any]:
    """Score the picks of each fold, and of all together as `pooled`; return the scores as JSON.

    Args:
        folds: all of them.
        calibrations: fold name -> calibration of its candidates.
        truth: of the runs that they held out.
        validation: scores, at the thresholds of its β.
        shares: object name -> share of its particles that is annotated, of those that are
            partially; their scores are estimates.
    """
    picks: dict[str, PicksByRun] = {
        fold.name: calibrations[fold.name].pick(fold.candidates, validation.beta) for fold in folds
    }
    picks[POOLED] = {run: points for by_run in picks.values() for run, points in by_run.items()}
    scores = {}
    for name, by_run in picks.items():
        report = validation.report(by_run, {run: truth[run] for run in by_run})
        content = estimate_scores(report, shares).to_dict()
        scores[name] = {k: v for k, v in content.items() if k not in ("curves", "runs")}
    return scores


def describe_fold(fold: Fold, by_method: Mapping[str, Mapping[str, Calibration]]) -> dict[str, Any]:
    """Return a fold's results, the runs that it held out and the thresholds for them.

    Args:
        fold: a finished one.
        by_method: how thresholds are chosen -> fold name -> calibration.
    """
    return {
        **fold.results,
        "held_out": sorted(fold.candidates),
        "thresholds": {
            method: by_fold[fold.name].thresholds for method, by_fold in by_method.items()
        },
    }


def combine_nets(
    folds: Sequence[Fold], calibration: Calibration, metrics: Mapping[str, float | None]
) -> tuple[dict[str, Tensor], CheckpointInfo]:
    """Return the weights and the checkpoint info of the folds' nets as one net."""
    weights = {
        f"nets.{i}.{name}": value
        for i, fold in enumerate(folds)
        for name, value in fold.weights.items()
    }
    info = dataclasses.replace(
        folds[0].info,
        net={"_target_": ENSEMBLE, "nets": [fold.info.net for fold in folds]},
        thresholds=calibration.thresholds,
        chances=calibration.chances,
        annotated_share=calibration.shares,
        metrics={name: value for name, value in metrics.items() if value is not None},
        provenance={"folds": [fold.info.provenance for fold in folds]},
    )
    return weights, info
