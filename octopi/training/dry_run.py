"""Describe what a training would do, for `dry_run=true`: splits, particles, files, sizes."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from octopi.config.settings import TrainSettings
from octopi.data.datamodule import DryRunSummary
from octopi.data.folds import Split
from octopi.errors import ResourceError, shorten_list
from octopi.geometry import format_shape
from octopi.models.properties import checkpoint_bytes, count_parameters
from octopi.system.job_folder import BEST_MODEL_FILE, LAST_CHECKPOINT_FILE, RESULTS_FILE, Job
from octopi.system.resources import check_writable, format_bytes, free_space
from octopi.training.dataset_info import DatasetInfo
from octopi.training.folder import resumes
from octopi.training.run import Training, build_data
from octopi.training.trial import try_training

Summaries = Mapping[int | None, DryRunSummary]  # by fold


def describe_training(settings: TrainSettings, job: Job, training: Training) -> list[str]:
    """Return lines on what the training would do, a step of which is tried; write nothing.

    Raises:
        DataError: data that the training would refuse.
        ResourceError: too little room for the cache.
    """
    summaries = summarize_folds(settings, training)
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


def summarize_folds(settings: TrainSettings, training: Training) -> Summaries:
    """Return what the data module of each fold would do; of a single training, by its fold."""
    folds: Sequence[int | None] = [settings.fold]
    if settings.num_folds is not None and settings.fold is None:
        folds = range(settings.num_folds)
    info, painter = training.info, training.module.loss.painter
    summaries = {}
    for fold in folds:
        fold_settings = dataclasses.replace(settings, data={**settings.data, "fold": fold})
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
