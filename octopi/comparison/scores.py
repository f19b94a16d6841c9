"""Score the trainings of methods out of fold, compare them with the base, and tabulate it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.box import MARKDOWN
from rich.table import Table

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
from octopi.evaluation.differences import (
    OVERALL,
    Difference,
    Resampling,
    compare_counts,
    stack_counts,
)
from octopi.evaluation.score_report import format_figure
from octopi.evaluation.scores import Scorer
from octopi.geometry import PicksByRun
from octopi.system.job_folder import fold_folders, read_outcome
from octopi.system.tables import format_table
from octopi.training.dataset_info import DatasetInfo
from octopi.training.validation import Validation, build_validation

COLUMNS = ("method", "score", "base", "method's", "difference", "95 % interval", "in words")
COST_COLUMNS = ("method", "steps a fold", "CPU s a step")
COSTS = ("steps", "cpu_seconds_per_step")
TABLE_WIDTH = 100_000  # characters, so that no row is wrapped however long a method is
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
    counts = []
    for method in methods:
        reports: dict[float, list] = {beta: [] for beta in BETAS}
        for training in method.trainings:
            folds = _read_folds(training)
            truth = truth or read_truth(info, out_of_fold_candidates(folds))
            _check_same_runs(folds, truth, method.name)
            first = folds[0].info
            validation = build_validation(settings, info, first.size_divisor, first.net_output)
            for beta, picks in pick_out_of_fold(folds, truth, validation).items():
                reports[beta].append(validation.report(picks, truth).runs)
        counts.append(
            {
                beta: stack_counts(of_seeds, sorted(truth), list(info.radii))
                for beta, of_seeds in reports.items()
            }
        )
    resampling = Resampling.draw(len(truth), len(base.trainings), scorer.num_resamples, scorer.seed)

    def compare(number: int, beta: float) -> dict[str, Any]:
        by_object = compare_counts(
            counts[0][beta],
            counts[number][beta],
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
            method.name: {f"F{beta:g}": compare(number, beta) for beta in BETAS}
            for number, method in enumerate(others, start=1)
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
    folds: Sequence[Fold], truth: PicksByRun, validation: Validation
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


def format_comparison(comparison: Mapping[str, Any]) -> str:
    """Format a comparison as aligned text that is Markdown, too.

    Args:
        comparison: the content of `comparison.json`.
    """
    differences = _table(COLUMNS, difference_rows(comparison))
    costs = _table(COST_COLUMNS, cost_rows(comparison))
    return "\n\n".join([describe(comparison), differences, costs])


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    table = Table(*columns, box=MARKDOWN)
    for row in rows:
        table.add_row(*(cell.replace("|", "/") for cell in row))
    return format_table(table, width=TABLE_WIDTH).strip()


def describe(comparison: Mapping[str, Any]) -> str:
    """Say what was compared, in two sentences."""
    seeds = comparison["seeds"]
    trainings = f"{len(seeds)} seed{'s' * (len(seeds) > 1)} ({', '.join(map(str, seeds))})"
    return (
        f"Out of fold over {comparison['num_runs']} runs, {trainings}, thresholds of the other "
        "folds. Differences are paired by run and seed; F1 is the mean over objects, F4 the mean "
        "by their weights."
    )


def difference_rows(comparison: Mapping[str, Any]) -> list[list[str]]:
    """Return the rows of all methods: F1 and F4 over all objects, then F1 of each object."""
    rows = []
    for name, by_score in comparison["differences"].items():
        shown = [(score, OVERALL) for score in by_score]
        shown += [("F1", object_name) for object_name in by_score["F1"] if object_name != OVERALL]
        for number, (score, object_name) in enumerate(shown):
            one = by_score[score][object_name]
            label = score if object_name == OVERALL else f"{score} {object_name}"
            rows.append([name if number == 0 else "", label, *_figures(one), one["verdict"]])
    return rows


def _figures(one: Mapping[str, Any]) -> list[str]:
    difference, interval = one["difference"], one["interval"]
    return [
        format_figure(one["base"]),
        format_figure(one["method"]),
        "n/a" if difference is None else f"{difference:+.3f}",
        "" if interval is None else f"{interval[0]:+.3f} … {interval[1]:+.3f}",
    ]


def cost_rows(comparison: Mapping[str, Any]) -> list[list[str]]:
    """Return the rows of what the trainings cost."""
    rows = []
    for name, cost in comparison["costs"].items():
        steps = "n/a" if cost["steps"] is None else f"{cost['steps']:.0f}"
        rows.append([name, steps, format_figure(cost["cpu_seconds_per_step"])])
    return rows
