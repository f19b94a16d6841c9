"""Thresholds of the training against those that follow the data, out of fold.

    python benchmarks/thresholds.py FOLDER [FOLDER ...]

Each folder is a finished cross-validation (`octopi train num_folds=…`). The runs that a fold held
out are picked with the chances that were fitted on the other folds: at their thresholds, and at
those that `localize thresholds_from=data` chooses by the candidates of these runs. Prints a JSON
line for each folder and β: the mean F-beta of both by the challenge's rule, pooled over all runs,
and a 95 % interval of the difference over runs.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from shift import BETAS, by_data, count, load_fold, mean_score

from octopi.cross_validation.ensemble import (
    calibrate_on_others,
    out_of_fold_candidates,
    read_folds,
    read_truth,
)
from octopi.geometry import PicksByRun
from octopi.system.job_folder import fold_folders


def main() -> None:
    """Score both kinds of thresholds for each folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--trust", nargs="*", default=[], help="own classes the folds may name")
    arguments = parser.parse_args()
    for folder in arguments.folders:
        for beta, row in compare(folder, arguments.trust).items():
            print(json.dumps({"folder": folder.name, "beta": beta, **row}))


def compare(folder: Path, trust: list[str]) -> dict[float, dict[str, object]]:
    """Return the scores of both kinds of thresholds, and an interval of the difference, by β."""
    folders = fold_folders(folder)
    folds, training = read_folds(folders), load_fold(folders[0], trust)
    info, validation = training.info, training.module.validation
    truth = read_truth(info, out_of_fold_candidates(folds))
    resampled = np.random.default_rng(0).integers(0, len(truth), (2000, len(truth)))
    rows = {}
    for beta in BETAS:
        picks: dict[str, PicksByRun] = {"training": {}, "data": {}}
        for fold in folds:
            calibration = calibrate_on_others(folds, fold, truth, validation)
            picks["training"] |= calibration.pick(fold.candidates, beta)
            picks["data"] |= by_data(calibration, fold.candidates, fold.info.picking, beta).pick(
                fold.candidates, beta
            )
        counts = {name: count(one, truth, info) for name, one in picks.items()}
        scores = {name: mean_score(one.sum(axis=0), info, beta) for name, one in counts.items()}
        differences = [
            mean_score(counts["data"][runs].sum(axis=0), info, beta)
            - mean_score(counts["training"][runs].sum(axis=0), info, beta)
            for runs in resampled
        ]
        interval = np.percentile(differences, [2.5, 97.5]).round(4).tolist()
        rows[beta] = {name: round(score, 4) for name, score in scores.items()} | {"95 %": interval}
    return rows


if __name__ == "__main__":
    main()
