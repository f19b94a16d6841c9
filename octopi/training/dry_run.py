"""What `dry_run=true` says of a training: splits, particles, files, sizes; nothing is written."""

import dataclasses
from collections.abc import Iterable, Mapping

from octopi.config.settings import TrainSettings
from octopi.data.datamodule import DryRunSummary
from octopi.errors import ResourceError
from octopi.geometry import format_shape
from octopi.system import resources
from octopi.system.job_folder import BEST_MODEL_FILE, LAST_CHECKPOINT_FILE, RESULTS_FILE, Job
from octopi.training.dataset_info import DatasetInfo
from octopi.training.run import Training, build_data

FLOAT = 4  # bytes
WEIGHT_COPIES_IN_LAST_CKPT = (
    5  # copies of the weights in last.ckpt: weights, AdamW's two, their mean, the best
)


def describe_training(settings: TrainSettings, job: Job, training: Training) -> list[str]:
    """Return lines on what the training would do; raise the faults of its data as it would."""
    facts, net = training.facts, training.net
    folds = [settings.fold]
    if settings.num_folds is not None and settings.fold is None:
        folds = list(range(settings.num_folds))
    rehearsed = {}
    for fold in folds:
        data = {**settings.data, "fold": fold}
        fold_settings = dataclasses.replace(settings, fold=fold, data=data)
        rehearsed[fold] = build_data(fold_settings, facts, training.divisor).describe()
    check_space(settings.data["cache_dir"], rehearsed.values())
    first = rehearsed[folds[0]]
    weights = sum(p.numel() for p in net.parameters()) * FLOAT
    lines = [
        f"folder     {job.folder}" + (" (goes on)" if settings.resume else ""),
        f"objects    {', '.join(facts.labels)}",
        f"tomograms  {', '.join(map(str, facts.tomograms))}; "
        f"worked on as {_shapes(first)} voxels of {_spacings(first)} Å",
        f"network    {type(net).__name__}, {weights // FLOAT:,} parameters",
        f"steps      {settings.trainer['max_epochs']} epochs of "
        f"{settings.data['steps_per_epoch']} batches of {settings.data['crops_per_step']} crops of "
        f"{format_shape(settings.data['crop_size'])}",
    ]
    for fold, found in rehearsed.items():
        name = "split    " if fold is None else f"fold {fold}   "
        parts = (f"{len(r)} {part} ({', '.join(r) or 'none'})" for part, r in found.parts())
        lines.append(f"{name}  {'; '.join(parts)}")
    lines += [_particles(fold, found, facts) for fold, found in rehearsed.items()]
    missing = {key: size for found in rehearsed.values() for key, size in found.missing.items()}
    all_keys = {key for found in rehearsed.values() for key in found.keys}
    lines += [
        f"cache      {settings.data['cache_dir']}: {len(missing)} of {len(all_keys)} volumes to be "
        f"made, {resources.format_bytes(sum(missing.values()))} "
        f"(free: {resources.format_bytes(resources.free_space(settings.data['cache_dir']))})",
        f"files      {len(folds)} × {BEST_MODEL_FILE} ({resources.format_bytes(weights)}) and "
        f"{LAST_CHECKPOINT_FILE} "
        f"(about {resources.format_bytes(WEIGHT_COPIES_IN_LAST_CKPT * weights)}), log, curves, "
        f"{RESULTS_FILE}",
    ]
    return lines


def check_space(cache_dir: str, found: Iterable[DryRunSummary]) -> None:
    """Raise ResourceError unless the cache can be filled."""
    cure = "Set data.cache_dir to another folder."
    resources.check_writable(cache_dir, cure)
    needed = sum({key: size for r in found for key, size in r.missing.items()}.values())
    free = resources.free_space(cache_dir)
    if needed > free:
        raise ResourceError(
            f"The cache {cache_dir} needs {resources.format_bytes(needed)}, but only "
            f"{resources.format_bytes(free)} are free there. Make room, or: {cure}"
        )


def _particles(fold: int | None, found: DryRunSummary, facts: DatasetInfo) -> str:
    """How many particles of each object the runs of each part hold."""
    runs = {run.name: run for run in facts.runs}
    counts = []
    for part, names in found.parts():
        total: dict[str, int] = dict.fromkeys(facts.picks, 0)
        for name in names:
            for object_name, points in facts.true_picks(runs[name]).items():
                total[object_name] += len(points)
        if names:
            counts.append(f"{part} {_listed(total)}")
    return f"particles  {'' if fold is None else f'fold {fold}: '}{'; '.join(counts)}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items()) or "masks only"


def _shapes(found: DryRunSummary) -> str:
    return " or ".join(dict.fromkeys(format_shape(grid.shape) for grid in found.grids))


def _spacings(found: DryRunSummary) -> str:
    return " or ".join(dict.fromkeys(f"{grid.spacing[-1]:.4g}" for grid in found.grids))
