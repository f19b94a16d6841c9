"""Describe what a training would do, for `dry_run=true`, and try a step and a validation of it."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from octopi.config.settings import TrainSettings
from octopi.data.datamodule import DryRunSummary
from octopi.data.folds import Split
from octopi.errors import ResourceError, SettingError, shorten_list
from octopi.geometry import Grid, Points, format_shape
from octopi.models.properties import checkpoint_bytes, count_parameters
from octopi.system.job_folder import BEST_MODEL_FILE, LAST_CHECKPOINT_FILE, RESULTS_FILE, Job
from octopi.system.resources import check_writable, format_bytes, free_space
from octopi.training.dataset_info import DatasetInfo
from octopi.training.folder import TrainingFolder, resumes
from octopi.training.part_checks import explain_failure
from octopi.training.run import Training, build_data
from octopi.training.trial_batch import draw_batch

Summaries = Mapping[int | None, DryRunSummary]  # by fold


def describe_training(settings: TrainSettings, job: Job, training: Training) -> list[str]:
    """Return lines on what the training would do, a step of which is tried; write nothing.

    Raises:
        SettingError: files of a training to be resumed that are damaged, or another's.
        DataError: data that the training would refuse.
        ResourceError: too little room for the cache.
    """
    if resumes(job.folder, settings) and not settings.trains_all_folds:
        folder = TrainingFolder(job.folder, resumes=True, writes=False)
        callbacks = training.trainer.callbacks  # type: ignore[attr-defined]
        folder.read_checkpoint(training.module, callbacks)
    summaries = read_fold_summaries(settings, training)
    try_training(settings, training)
    cache_dir = settings.data["cache_dir"]
    missing = {key: size for s in summaries.values() for key, size in s.missing.items()}
    check_space(cache_dir, sum(missing.values()))
    keys = {key for summary in summaries.values() for key in summary.keys}
    grids = next(iter(summaries.values())).grids
    shapes = _join_distinct(format_shape(grid.shape) for grid in grids)
    spacings = _join_distinct(f"{grid.spacing[-1]:.4g}" for grid in grids)
    net, info = training.net, training.info
    best_model, last_checkpoint = checkpoint_bytes(count_parameters(net))
    return [
        f"folder     {job.folder}" + (" (goes on)" if resumes(job.folder, settings) else ""),
        f"objects    {', '.join(info.labels)}",
        f"tomograms  {', '.join(map(str, info.tomograms))}; "
        f"worked on as {shapes} voxels of {spacings} Å",
        f"network    {type(net).__name__}, {count_parameters(net):,} parameters",
        f"steps      {settings.trainer['max_epochs']} epochs of "
        f"{settings.data['steps_per_epoch']} batches of {settings.data['crops_per_step']} crops of "
        f"{format_shape(settings.data['crop_size'])}",
        *(describe_split(fold, summary.split) for fold, summary in summaries.items()),
        *(describe_particles(fold, summary.split, info) for fold, summary in summaries.items()),
        f"cache      {cache_dir}: {len(missing)} of {len(keys)} volumes to be made, "
        f"{format_bytes(sum(missing.values()))} (free: {format_bytes(free_space(cache_dir))})",
        f"files      {len(summaries)} × {BEST_MODEL_FILE} ({format_bytes(best_model)}) and "
        f"{LAST_CHECKPOINT_FILE} (about {format_bytes(last_checkpoint)}), log, curves, "
        f"{RESULTS_FILE}",
    ]


def read_fold_summaries(settings: TrainSettings, training: Training) -> Summaries:
    """Return what the data module of each fold would do; of a single training, by its fold."""
    folds: Sequence[int | None] = [settings.fold]
    if settings.trains_all_folds:
        folds = range(settings.num_folds or 1)
    info, painter = training.info, training.module.loss.painter
    summaries = {}
    for fold in folds:
        node = {**settings.data, "fold": fold}
        fold_settings = dataclasses.replace(settings, fold=fold, data=node)
        data = build_data(fold_settings, info, training.divisor, painter)
        summaries[fold] = data.describe()
    return summaries


def check_space(cache_dir: str, needed: int) -> None:
    """Raise ResourceError unless the cache can take so many bytes more."""
    advice = "Set data.cache_dir to another folder."
    check_writable(cache_dir, advice)
    free = free_space(cache_dir)
    if needed > free:
        raise ResourceError(
            f"The cache {cache_dir} needs {format_bytes(needed)}, but only {format_bytes(free)} "
            f"are free there. Make room, or: {advice}"
        )


def describe_split(fold: int | None, split: Split) -> str:
    """Write a line with the runs of each part."""
    name = "split    " if fold is None else f"fold {fold}   "
    parts = (
        f"{len(runs)} {part} ({shorten_list(runs) or 'none'})"
        for part, runs in split.parts().items()
    )
    return f"{name}  {'; '.join(parts)}"


def describe_particles(fold: int | None, split: Split, info: DatasetInfo) -> str:
    """Write a line with the number of particles of each object in the runs of each part."""
    runs = {run.name: run for run in info.runs}
    counts = []
    for part, names in split.parts().items():
        total = dict.fromkeys(info.picks, 0)
        for name in names:
            for object_name, points in info.true_picks(runs[name]).items():
                total[object_name] += len(points)
        if names:
            numbers = ", ".join(f"{name} {number}" for name, number in total.items())
            counts.append(f"{part} {numbers or 'masks only'}")
    return f"particles  {'' if fold is None else f'fold {fold}: '}{'; '.join(counts)}"


def _join_distinct(texts: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(texts))


MAX_CROPS = 2  # of the trial's step


def try_training(settings: TrainSettings, training: Training) -> None:
    """Take one step and validate one window, both of random numbers, on the CPU.

    Raises:
        SettingError: the network, the loss, the localizer or the scorer fails at them.
    """
    generator = torch.Generator().manual_seed(0)
    crops, classes = settings.data["crops_per_step"], max(training.info.labels.values()) + 1
    batch = draw_batch(min(crops, MAX_CROPS), settings.data["crop_size"], classes, generator)
    with torch.random.fork_rng(devices=[]):
        try_step(training, batch)
        image = batch["image"][0, 0].numpy()
        try_validation(settings, training, image)


def try_step(training: Training, batch: Mapping[str, Any]) -> None:
    """Compute loss and gradients of a batch; raise SettingError where they are no numbers."""
    module = training.module.cpu().train()
    with explain_failure("A training step on random numbers"):
        loss = module.batch_loss(batch)
        loss.backward()
    gradients = [p.grad for p in module.net.parameters() if p.grad is not None]
    if not all(tensor.isfinite().all() for tensor in [loss, *gradients]):
        raise SettingError(
            f"A training step on random numbers gives a loss of {float(loss.detach()):g} or "
            "gradients that are not finite. Choose another loss or network."
        )
    module.net.zero_grad()


def try_validation(settings: TrainSettings, training: Training, image: np.ndarray) -> None:
    """Predict a volume, find candidates in it, calibrate and score them.

    Args:
        settings: of the training.
        training: whose net and validation are tried.
        image: (z, y, x).
    """
    module = training.module.eval()
    validation, info = module.validation, training.info
    spacing = info.working_spacing(settings)
    grid = Grid.cubic(image.shape, spacing)
    with explain_failure("A validation on random numbers"):
        scores = validation.predict(module.net, image)
        validation.segment(scores)
        candidates = {"trial": validation.localize(scores, grid)}
        check_candidates(candidates["trial"], settings.localizer)
        centre = np.array([image.shape[::-1]]) * spacing / 2
        truth = {"trial": {name: Points(centre) for name in info.radii}}
        calibration = validation.calibrate(candidates, truth)
        validation.score_candidates(candidates, truth, calibration)
    module.train()


def check_candidates(candidates: Any, node: Mapping[str, Any]) -> None:
    """Raise SettingError unless a localizer returned points with scores for each object."""
    is_right = isinstance(candidates, Mapping) and all(
        isinstance(points, Points) and points.scores is not None for points in candidates.values()
    )
    if not is_right:
        raise SettingError(
            f"localizer: {node.get('_target_')} must return Points with scores for each object, "
            f"not {candidates!r:.200}."
        )
