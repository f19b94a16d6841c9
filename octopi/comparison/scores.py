"""Score the trainings of methods out of fold and compare each method with the base."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from octopi.system.job_folder import Outcome, fold_folders, read_outcome
from octopi.training.dataset_info import DatasetInfo
from octopi.training.module import ValidationSteps
from octopi.training.validation import build_validation

BETAS = (1.0, 4.0)  # precision and recall alike; the CZII challenge's


@dataclass(frozen=True)
class Cost:
    """What the trainings of a method cost, the mean of all folds and seeds; None = not recorded.

    Args:
        steps: of the optimizer.
        cpu_seconds_per_step: without validations.
    """

    steps: float | None
    cpu_seconds_per_step: float | None


@dataclass(frozen=True)
class ScoredMethod:
    """A method with its counts out of fold.

    Args:
        name: of the method.
        counts: β -> tp, fp, fn (seeds, runs, objects, 3).
        cost: of its trainings.
    """

    name: str
    counts: Mapping[float, NDArray[np.int64]]
    cost: Cost


def score_methods(methods: Sequence[Method], info: DatasetInfo) -> Iterator[ScoredMethod]:
    """Score each method out of fold, at thresholds that are calibrated on the other folds.

    Args:
        methods: whose trainings have ended.
        info: of the base's dataset, on which all are scored.
    """
    settings = methods[0].trainings[0].settings
    scorer: Scorer = build(settings.scorer, "scorer")
    truth: PicksByRun | None = None
    for method in methods:
        reports: dict[float, list] = {beta: [] for beta in BETAS}
        for training in method.trainings:
            folds = _read_folds(training)
            if truth is None:
                truth = read_truth(info, out_of_fold_candidates(folds))
            _check_same_runs(folds, truth, method.name)
            first = folds[0].info
            validation = build_validation(settings, info, first.size_divisor, first.net_output)
            for beta, picks in pick_out_of_fold(folds, truth, validation).items():
                both = keep_comparable(picks, truth)
                report = scorer(both.picks, both.truth, radii=info.radii, weights=info.weights)
                reports[beta].append(report.runs)
        assert truth is not None
        counts = {
            beta: stack_counts(of_seeds, sorted(truth), list(info.radii))
            for beta, of_seeds in reports.items()
        }
        yield ScoredMethod(method.name, counts, mean_cost(method))


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


def mean_cost(method: Method) -> Cost:
    """Average the costs that the folds of a method's trainings recorded."""
    outcomes = [
        outcome
        for training in method.trainings
        for folder in fold_folders(training.folder)
        if (outcome := read_outcome(folder)) is not None
    ]
    return Cost(_mean(outcomes, "steps"), _mean(outcomes, "cpu_seconds_per_step"))


def _mean(outcomes: Sequence[Outcome], name: str) -> float | None:
    values = [getattr(outcome, name) for outcome in outcomes]
    return None if not values or None in values else float(np.mean(values))


def compare_all(
    scored: Sequence[ScoredMethod], info: DatasetInfo, scorer: Scorer
) -> dict[str, dict[float, dict[str, Difference]]]:
    """Compare each method with the base, which comes first: method -> β -> object -> difference.

    F1 is the plain mean over objects, F4 the mean by their weights.

    Args:
        scored: base and methods.
        info: of the dataset.
        scorer: has the number of resamples and their seed.
    """
    base, *others = scored
    num_seeds, num_runs = base.counts[BETAS[0]].shape[:2]
    resampling = Resampling.draw(num_runs, num_seeds, scorer.num_resamples, scorer.seed)
    weights = {name: info.weights[name] for name in info.radii}
    return {
        method.name: {
            beta: compare_counts(
                base.counts[beta],
                method.counts[beta],
                beta=beta,
                weights=dict.fromkeys(weights, 1.0) if beta == 1 else weights,
                resampling=resampling,
            )
            for beta in BETAS
        }
        for method in others
    }


def to_json(
    methods: Sequence[Method],
    scored: Sequence[ScoredMethod],
    differences: Mapping[str, Mapping[float, Mapping[str, Difference]]],
) -> dict[str, Any]:
    """Return a comparison as it is stored; None = n/a."""
    return {
        "seeds": methods[0].seeds,
        "num_runs": int(scored[0].counts[BETAS[0]].shape[1]),
        "costs": {one.name: vars(one.cost) for one in scored},
        "trainings": {
            method.name: [str(training.folder) for training in method.trainings]
            for method in methods
        },
        "differences": {
            name: {
                f"F{beta:g}": {
                    object_name: {
                        "base": one.base,
                        "method": one.method,
                        "difference": one.value,
                        "interval": one.interval,
                        "verdict": one.verdict,
                    }
                    for object_name, one in by_object.items()
                }
                for beta, by_object in by_beta.items()
            }
            for name, by_beta in differences.items()
        },
    }
