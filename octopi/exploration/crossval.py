"""All folds of a training in one job: an ensemble whose thresholds nobody trained on.

Each fold trains without its part of the runs, in a process of its own, and says what it would
pick there. All those picks together, none of them seen in training, decide the thresholds; the
checkpoint holds the nets of all folds as one.
"""

import dataclasses
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from octopi import assembly, checkpoint, job, provenance
from octopi.assembly import Facts
from octopi.checkpoint import ENSEMBLE, Recipe
from octopi.errors import OctopiError
from octopi.settings import TrainSettings
from octopi.training.module import Stages, Thresholds

POLL = 1.0  # seconds between looks at the folds' progress
GRACE = 60.0  # seconds a fold has to stop in


class FoldError(OctopiError):
    """A fold that did not finish."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def train_folds(
    settings: TrainSettings, folder: Path, facts: Facts, stages: Stages, words: Sequence[str]
) -> float | None:
    """The folder holds the ensemble of all folds; returns its score out of fold.

    Args:
        settings: of the whole training; `num_folds` is set and `fold` is not.
        folder: of the job; each fold has a folder of its own in it.
        facts: of the project.
        stages: for calibration and score.
        words: the command line, which each fold repeats with its own `fold`.
    """
    assert settings.num_folds is not None
    folders = [folder / f"fold_{fold}" for fold in range(settings.num_folds)]
    slots = devices(settings)
    limit = time_limit(settings, len(slots))
    waiting = [
        (fold, fold_words(words, fold, path, limit))
        for fold, path in enumerate(folders)
        if not (path / "outcome.json").exists()
    ]
    with tqdm(total=len(folders), initial=len(folders) - len(waiting), unit="fold") as bar:
        work_off(waiting, slots, bar, folder)
    return pool(settings, folder, folders, facts, stages)


def devices(settings: TrainSettings) -> list[dict[str, str]]:
    """The environment of each place a fold can train in: a GPU, or a share of the CPU's cores."""
    accelerator = settings.trainer["accelerator"]
    gpus = torch.cuda.device_count() if accelerator != "cpu" else 0
    if gpus:
        return [{"CUDA_VISIBLE_DEVICES": str(gpu)} for gpu in range(gpus)]
    cores = len(os.sched_getaffinity(0))
    count = max(1, min(cores, settings.num_folds or 1))
    # One thread a core and no spinning: folds side by side waste nothing on each other.
    share = {"OMP_NUM_THREADS": str(max(1, cores // count)), "OMP_WAIT_POLICY": "PASSIVE"}
    return [share] * count


def time_limit(settings: TrainSettings, num_slots: int) -> str | None:
    """Each fold's part of `trainer.max_time`, as Lightning writes it."""
    given = settings.trainer["max_time"]
    if given is None:
        return None
    days, hours, minutes, seconds = (int(part) for part in str(given).split(":"))
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    rounds = math.ceil((settings.num_folds or 1) / num_slots)
    each = int(total / rounds)
    return f"{each // 86400:02}:{each // 3600 % 24:02}:{each // 60 % 60:02}:{each % 60:02}"


def fold_words(words: Sequence[str], fold: int, path: Path, limit: str | None) -> list[str]:
    """The command line of one fold; one that has begun goes on."""
    if (path / "last.ckpt").exists():
        return [f"resume={path}"]
    own = [f"fold={fold}", f"hydra.run.dir='{path}'", "trainer.enable_progress_bar=false"]
    if limit is not None:
        own.append(f"trainer.max_time='{limit}'")
    mine = ("resume=", "fold=", "trainer.max_time=", "trainer.enable_progress_bar=")
    return [*(word for word in words if not word.startswith(mine)), *own]


def work_off(
    waiting: list[tuple[int, list[str]]], slots: list[dict[str, str]], bar: Any, folder: Path
) -> None:
    """Every fold has run, as many at once as there are slots; the first failure is raised last."""
    running: dict[int, tuple[subprocess.Popen, dict[str, str]]] = {}
    free, failed = list(slots), {}
    queue = list(waiting)
    with passing_on_signals(running) as received:
        while queue or running:
            while queue and free and not received:
                fold, words = queue.pop(0)
                slot = free.pop()
                running[fold] = (start(words, slot, folder / f"fold_{fold}.txt"), slot)
            time.sleep(POLL)
            for fold, (process, slot) in list(running.items()):
                code = process.poll()
                if code is not None:
                    del running[fold]
                    free.append(slot)
                    bar.update()
                    if code:
                        failed[fold] = code
            if received and not running:
                break
        if received:
            raise job.Stopped(
                128 + received[0],
                f"Stopped by {signal.Signals(received[0]).name}; every fold's state is kept.\n"
                f"Continue with: octopi train resume={folder}",
            )
    if failed:
        fold, code = next(iter(failed.items()))
        text = (folder / f"fold_{fold}.txt").read_text(errors="replace")
        said = [line for line in text.splitlines() if line.startswith("octopi:")][-1:]
        raise FoldError(
            f"{len(failed)} folds did not finish. Fold {fold} said: {''.join(said) or 'nothing'} "
            f"(see {folder / f'fold_{fold}.txt'}).\n"
            f"Run what is missing with: octopi train resume={folder}",
            code if code > 0 else 1,
        )


def start(words: Sequence[str], slot: Mapping[str, str], log: Path) -> subprocess.Popen:
    """A fold at work; what it prints goes to the file."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "octopi.train", *words],
            env=os.environ | dict(slot),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the folds once, through us
        )


@contextmanager
def passing_on_signals(running: Mapping[int, tuple[subprocess.Popen, Any]]) -> Iterator[list[int]]:
    """SIGTERM and Ctrl-C go on to the folds; the list names what came."""
    received: list[int] = []

    def pass_on(number: int, frame: Any) -> None:
        again = bool(received)
        received.append(number)
        for process, _ in running.values():
            process.kill() if again else process.send_signal(number)

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, pass_on) for number in numbers]
    try:
        yield received
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def pool(
    settings: TrainSettings, folder: Path, folders: Sequence[Path], facts: Facts, stages: Stages
) -> float | None:
    """The ensemble with thresholds from all out-of-fold candidates is in the folder."""
    loaded = [checkpoint.read(path / "best_model.pth") for path in folders]
    candidates = {}
    for path in folders:
        candidates |= assembly.read_candidates(path / "candidates.npz")
    truth = {run.name: facts.truth(run) for run in facts.runs if run.name in candidates}
    thresholds = stages.calibrate(candidates, truth)
    measured = stages.measure(candidates, truth, thresholds)
    metrics = {name: value for name, value in measured.items() if value is not None}
    recipe = ensemble_recipe([recipe for _, recipe in loaded], thresholds, metrics)
    weights: dict[str, Tensor] = {
        f"nets.{i}.{name}": value
        for i, (state, _) in enumerate(loaded)
        for name, value in state.items()
    }
    assembly.write_model(folder, weights, recipe)
    results = {
        "best_metric": settings.best_metric,
        "out_of_fold": measured,
        "thresholds": thresholds,
        "folds": {path.name: provenance.read_json(path / "results.json") for path in folders},
    }
    provenance.write_json(folder / "results.json", results)
    return measured.get(settings.best_metric)


def ensemble_recipe(
    recipes: Sequence[Recipe], thresholds: Thresholds, metrics: dict[str, float]
) -> Recipe:
    """The recipe of the folds' nets as one."""
    return dataclasses.replace(
        recipes[0],
        net={"_target_": ENSEMBLE, "nets": [recipe.net for recipe in recipes]},
        thresholds=thresholds,
        metrics=metrics,
        provenance={"folds": [recipe.provenance for recipe in recipes]},
    )
