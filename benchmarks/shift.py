"""How much is lost on tomograms that differ from those that were trained on.

    python benchmarks/shift.py FOLDER [FOLDER ...]

Each folder is a finished cross-validation (`octopi train num_folds=…`), all on the same runs. Every
run is changed as PERTURBATIONS say, picked by the network that did not train on it, with chances
calibrated on the unchanged runs of the other folds, and scored by the challenge's rule. Prints a
JSON line for each perturbation: F1 (β = 1) and F4 (β = 4, weighted), the mean over the folders, at
thresholds of the training and at those that the changed runs' candidates choose.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from octopi.cli.overrides import expand_overrides
from octopi.cli.python_api import compose
from octopi.config.overrides import override_text
from octopi.cross_validation.ensemble import (
    calibrate_on_others,
    out_of_fold_candidates,
    read_folds,
    read_truth,
)
from octopi.data.cache import normalise
from octopi.evaluation.calibration import Calibration
from octopi.evaluation.coverage import keep_comparable
from octopi.evaluation.data_thresholds import MIN_CHANCE, RunCandidates, thresholds_by_data
from octopi.evaluation.differences import stack_counts
from octopi.evaluation.scores import Czii, fbeta
from octopi.geometry import PicksByRun, Points
from octopi.models import checkpoint
from octopi.picking import PickingInfo, beta_key
from octopi.system.job_folder import BEST_MODEL_FILE, fold_folders
from octopi.targets import drop_unknown
from octopi.training.dataset_info import DatasetInfo
from octopi.training.run import Training, build_training

BETAS = (1.0, 4.0)
COLUMNS = ("f1", "f1 by data", "f4", "f4 by data")
Volume = NDArray[np.float32]  # (z, y, x), mean 0, standard deviation 1
Perturbation = Callable[[Volume, np.random.Generator], Volume]


def add_noise(std: float) -> Perturbation:
    """Return what adds white noise, of so many standard deviations of the tomogram."""
    return lambda volume, rng: volume + rng.normal(0, std, volume.shape).astype(np.float32)


def change_contrast(volume: Volume, rng: np.random.Generator) -> Volume:
    """Press strong deviations towards the mean: the power 0.8 of each."""
    return np.sign(volume) * np.abs(volume) ** np.float32(0.8)


def add_ramp(volume: Volume, rng: np.random.Generator) -> Volume:
    """Add a smooth ramp of two standard deviations from one side (x) to the other."""
    angles = np.linspace(0, np.pi, volume.shape[-1], dtype=np.float32)
    return volume - np.cos(angles)


PERTURBATIONS: dict[str, Perturbation] = {
    "none": lambda volume, rng: volume,
    "10 % noise": add_noise(0.1),
    "30 % noise": add_noise(0.3),
    "contrast": change_contrast,
    "density ramp": add_ramp,
}


def main() -> None:
    """Score every perturbation out of fold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--trust", nargs="*", default=[], help="own classes the folds may name")
    arguments = parser.parse_args()
    scores: dict[str, list[list[float]]] = {name: [] for name in PERTURBATIONS}
    for folder in arguments.folders:
        for name, row in score_folder(folder, arguments.trust).items():
            scores[name].append(row)
    for name, rows in scores.items():
        means = dict(zip(COLUMNS, np.mean(rows, axis=0).round(4).tolist(), strict=True))
        print(json.dumps({"perturbation": name, **means, "seeds": len(rows)}))


def score_folder(folder: Path, trust: list[str]) -> dict[str, list[float]]:
    """Return the scores, as in COLUMNS, of a cross-validation under each perturbation."""
    folders = fold_folders(folder)
    folds = read_folds(folders)
    trainings = [load_fold(path, trust) for path in folders]
    info, validation = trainings[0].info, trainings[0].module.validation
    truth = read_truth(info, out_of_fold_candidates(folds))
    calibrations = [calibrate_on_others(folds, fold, truth, validation) for fold in folds]
    rows = {}
    for name, perturb in PERTURBATIONS.items():
        candidates = [find_candidates(training, perturb) for training in trainings]
        means = []
        for beta in BETAS:
            by_training: PicksByRun = {}
            follow: PicksByRun = {}
            for calibration, found, fold in zip(calibrations, candidates, folds, strict=True):
                by_training |= calibration.pick(found, beta)
                changed = by_data(calibration, found, fold.info.picking, beta)
                follow |= changed.pick(found, beta)
            means += [
                mean_score(count(picks, truth, info).sum(axis=0), info, beta)
                for picks in (by_training, follow)
            ]
        rows[name] = means
    return rows


def by_data(
    calibration: Calibration,
    candidates: Mapping[str, Mapping[str, Points]],
    picking: PickingInfo,
    beta: float,
) -> Calibration:
    """Return the calibration with the thresholds that follow the candidates of a fold's runs."""
    info = dataclasses.replace(picking, chances=calibration.chances)
    runs = []
    for by_object in candidates.values():
        raw = {name: points.scores_or_ones for name, points in by_object.items()}
        kept = {name: s[info.chance(name).of(s) >= MIN_CHANCE] for name, s in raw.items()}
        runs.append(RunCandidates(info, kept, {}))
    key = beta_key(beta)
    thresholds = calibration.thresholds[key] | thresholds_by_data(runs, beta, None)
    return dataclasses.replace(calibration, thresholds={**calibration.thresholds, key: thresholds})


def count(picks: PicksByRun, truth: PicksByRun, info: DatasetInfo) -> NDArray[np.int64]:
    """Count tp, fp, fn by the challenge's rule: (runs, objects, 3), runs sorted by name."""
    both = keep_comparable(picks, truth)
    scorer = Czii(tolerance_scale=0.5, beta=1.0, num_resamples=0, seed=0)
    runs = scorer(both.picks, both.truth, radii=info.radii, weights=info.weights).runs
    return stack_counts([runs], sorted(truth), list(info.radii))[0]


def mean_score(counts: NDArray[np.int64], info: DatasetInfo, beta: float) -> float:
    """Return the mean F-beta of objects: the plain one for β = 1, else by their weights."""
    weights = None if beta == 1 else [info.weights[name] for name in info.radii]
    return float(np.average(fbeta(counts, beta), weights=weights))


def load_fold(folder: Path, trust: list[str]) -> Training:
    """Build a finished fold again, with the weights that it kept."""
    overrides = [override_text("experiment", folder.absolute()), override_text("trust", trust)]
    training = build_training(
        compose("train", expand_overrides(overrides, verb="train"))[0], folder
    )
    training.net.load_state_dict(checkpoint.read(folder / BEST_MODEL_FILE)[0])
    training.net.eval()
    training.data.setup()
    return training


def find_candidates(training: Training, perturb: Perturbation) -> dict[str, dict[str, Points]]:
    """Find the candidates of the runs that a fold held out, each changed first."""
    module, candidates = training.module, {}
    for number, volume in enumerate(training.data.val_dataloader()):
        rng = np.random.default_rng(number)
        image = normalise(perturb(volume.image.astype(np.float32), rng), np.float16)
        scores = module.validation.predict(module.net, image)
        found = module.validation.localize(scores, volume.grid)
        candidates[volume.run_name] = drop_unknown(found, volume.target, volume.grid, module.labels)
    return candidates


if __name__ == "__main__":
    main()
