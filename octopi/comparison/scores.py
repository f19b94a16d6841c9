"""Score the trainings of methods out of fold and compare each method with the base."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from octopi.comparison.methods import Method, SeedTraining
from octopi.config.build import build
from octopi.cross_validation.ensemble import (
    Fold,
    calibrate_on_others,
    out_of_fold_candidates,
    read_folds,
    read_truth,
)
from octopi.errors import DataError, SettingError, shorten, shorten_list
from octopi.evaluation.coverage import keep_comparable
from octopi.evaluation.differences import Difference, Resampling, compare_counts, stack_counts
from octopi.evaluation.scores import Scorer
from octopi.geometry import PicksByRun
from octopi.system.job_folder import fold_folders, read_outcome
from octopi.training.dataset_info import DatasetInfo
from octopi.training.module import ValidationSteps
from octopi.training.validation import build_validation

COSTS = ("steps", "cpu_seconds_per_step")
BETAS = (1.0, 4.0)  # precision and recall alike; the CZII challenge's


def compare_methods(methods: Sequence[Method], info: DatasetInfo) -> dict[str, Any]:
    """Score methods out of fold and compare each with the base; return what is stored.

    Thresholds are calibrated on the other folds. F1 is the plain mean over objects, F4 the mean by
    their weights.

    Args:
        methods: whose trainings have ended, the base first.
        info: of the base's dataset, on which all are scored.
    """
    base, *others = methods
    settings = base.trainings[0].settings
    scorer: Scorer = build(settings.scorer, "scorer")
    truth: PicksByRun = {}
    counts = {}
    for method in methods:
        reports: dict[float, list] = {beta: [] for beta in BETAS}
        for training in method.trainings:
            folds = _read_folds(training)
            truth = truth or read_truth(info, out_of_fold_candidates(folds))
            _check_same_runs(folds, truth, method.name)
            first = folds[0].info
            validation = build_validation(settings, info, first.size_divisor, first.net_output)
            for beta, picks in pick_out_of_fold(folds, truth, validation).items():
                both = keep_comparable(picks, truth)
                report = scorer(both.picks, both.truth, radii=info.radii, weights=info.weights)
                reports[beta].append(report.runs)
        counts[method.name] = {
            beta: stack_counts(of_seeds, sorted(truth), list(info.radii))
            for beta, of_seeds in reports.items()
        }
    resampling = Resampling.draw(len(truth), len(base.trainings), scorer.num_resamples, scorer.seed)

    def compare(method: Method, beta: float) -> dict[str, Any]:
        by_object = compare_counts(
            counts[base.name][beta],
            counts[method.name][beta],
            beta=beta,
            weights={name: 1.0 if beta == 1 else info.weights[name] for name in info.radii},
            resampling=resampling,
        )
        return {name: _to_json(difference) for name, difference in by_object.items()}

    return {
        "seeds": base.seeds,
        "num_runs": len(truth),
        "costs": {method.name: mean_costs(method) for method in methods},
        "trainings": {method.name: [str(t.folder) for t in method.trainings] for method in methods},
        "differences": {
            method.name: {f"F{beta:g}": compare(method, beta) for beta in BETAS}
            for method in others
        },
    }


def _to_json(difference: Difference) -> dict[str, Any]:
    return {**vars(difference), "difference": difference.value, "verdict": difference.verdict}


def _read_folds(training: SeedTraining) -> list[Fold]:
    folders = fold_folders(training.folder)
    if len(folders) != training.settings.num_folds:
        raise DataError(
            f"{training.folder} has {len(folders)} folds of {training.settings.num_folds}. Delete "
            "it to train it anew, or resume it with octopi train resume=…"
        )
    return read_folds(folders)


def _check_same_runs(folds: Sequence[Fold], truth: PicksByRun, name: str) -> None:
    runs = {run for fold in folds for run in fold.candidates}
    if differing := sorted(runs ^ truth.keys()):
        raise SettingError(
            f"{shorten(name)} held out other runs than the base: {shorten_list(differing)}. "
            "Compare trainings on the same runs."
        )


def pick_out_of_fold(
    folds: Sequence[Fold], truth: PicksByRun, validation: ValidationSteps
) -> dict[float, PicksByRun]:
    """Pick in each fold's runs at the thresholds of the other folds: β -> picks of all runs."""
    picks: dict[float, dict] = {beta: {} for beta in BETAS}
    for fold in folds:
        calibration = calibrate_on_others(folds, fold, truth, validation)
        for beta in BETAS:
            picks[beta] |= calibration.pick(fold.candidates, beta)
    return dict(picks)


def mean_costs(method: Method) -> dict[str, float | None]:
    """Average what the folds of a method's trainings cost; None = not recorded."""
    outcomes = [
        outcome
        for training in method.trainings
        for folder in fold_folders(training.folder)
        if (outcome := read_outcome(folder)) is not None
    ]
    costs = {name: [getattr(outcome, name) for outcome in outcomes] for name in COSTS}
    return {
        name: None if not values or None in values else float(np.mean(values))
        for name, values in costs.items()
    }
