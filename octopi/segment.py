"""Find what a trained network sees in every tomogram: score maps and label volumes.

Run it as `octopi segment checkpoint=best_model.pth` or `python -m octopi.segment …`.
"""

import dataclasses
import functools
import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from octopi.cli.job import command, log_dry_run
from octopi.config.build import build, build_part
from octopi.config.settings import SegmentSettings
from octopi.data.cache import prepare_volume, working_grid
from octopi.errors import DataError, ResourceError, SettingError
from octopi.geometry import Grid, same_spacing
from octopi.inference.predictor import Predictor, segmentation_of
from octopi.inference.windows import num_windows
from octopi.models import checkpoint
from octopi.models.checkpoint import CheckpointInfo, Weights, ensemble_thresholds
from octopi.models.precision import choose_device_type, count_devices
from octopi.project import (
    Project,
    Run,
    SegmentationQuery,
    TomogramQuery,
    check_name,
    keep_runs_with,
    score_map_name,
)
from octopi.stored import Kind, names_of
from octopi.system import worker_pool
from octopi.system.job_folder import Job
from octopi.system.resources import format_bytes

logger = logging.getLogger(__name__)

PREDICTOR = Kind("predictor", Predictor, names_of(Predictor))
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Ensemble:
    """Networks that share their objects, ready to predict on one device."""

    nets: list[nn.Module]
    recipe: CheckpointInfo
    predictor: Predictor
    divisor: int
    attributes: dict[str, Any]


@dataclass(frozen=True)
class TomogramTask:
    """One tomogram to work on."""

    run: Run
    tomogram: TomogramQuery


@dataclass(frozen=True)
class Held:
    """A task's prepared tomogram (z, y, x), or its score map (c, z, y, x), on their grid."""

    task: TomogramTask
    values: NDArray
    grid: Grid


def segment(settings: SegmentSettings, _job: Job) -> None:
    """Every tomogram asked for has its score map, segmentation or both; finished ones are kept."""
    for kind in ("name", "user_id", "session_id"):
        check_name(kind, getattr(settings, kind))
    if not (settings.scores or settings.segmentation):
        raise SettingError("Nothing to write: set scores=true or segmentation=true.")
    if settings.ensemble not in ("scores", "soup"):
        raise SettingError(f"ensemble is scores or soup, not {settings.ensemble}.")
    devices = select_devices(settings)
    ensemble = load_ensemble(settings, torch.device("cpu"))
    project: Project = build(settings.project, "project")
    tasks = select_tomograms(project, settings, ensemble.recipe)
    project.check_writable(touch=not settings.dry_run)
    todo = [t for t in tasks if settings.overwrite or not is_done(t, settings, ensemble)]
    if skipped := len(tasks) - len(todo):
        logger.info("%d of %d runs are done; overwrite=true does them again.", skipped, len(tasks))
    if settings.dry_run:
        log_dry_run("segment", rehearsal(project, tasks, todo, settings, ensemble, devices=devices))
        return
    with tqdm(total=len(todo), desc="segment", unit="run") as bar:
        for run_name in segment_all(todo, settings, ensemble, devices):
            bar.set_postfix_str(run_name)
            bar.update()
    logger.info(
        "%s:%s/%s is there for %d runs.",
        settings.name,
        settings.user_id,
        settings.session_id,
        len(tasks),
    )


def load_ensemble(settings: SegmentSettings, device: torch.device) -> Ensemble:
    """The networks of all checkpoints, after a check that they speak of the same objects."""
    given = settings.checkpoint
    paths = [given] if isinstance(given, str) else list(given)
    loaded = [checkpoint.read(path) for path in paths]
    recipes = [recipe for _, recipe in loaded]
    checkpoint.check_same_objects(paths, recipes)
    first = recipes[0]
    for path, recipe in zip(paths, recipes, strict=True):
        if recipe.predictor != first.predictor:
            logger.info("%s was validated with another predictor than %s.", path, paths[0])
    predictor: Predictor
    node, predictor = build_part(
        settings.predictor, first.predictor, PREDICTOR, origin=str(paths[0]), trust=settings.trust
    )
    changed = [k for k, v in node.items() if v != first.predictor.get(k)]
    if changed:
        logger.info("predictor.%s differs from validation.", ", predictor.".join(changed))
    divisor = math.lcm(*(recipe.size_divisor for recipe in recipes))
    predictor.check(divisor)
    attributes = {
        "objects": first.object_names,
        "radii": first.radii,
        "thresholds": ensemble_thresholds(recipes),
        "beta": first.beta,
        "localizer": first.localizer,
        "predictor": node,
        "checkpoints": {str(path): _digest(path) for path in paths},
        "ensemble": settings.ensemble,
    }
    nets = [net.to(device) for net in make_nets(loaded, paths, settings)]
    return Ensemble(nets, first, predictor, divisor, attributes)


def make_nets(
    loaded: Sequence[tuple[Weights, CheckpointInfo]],
    paths: Sequence[str],
    settings: SegmentSettings,
) -> list[nn.Module]:
    """The networks whose scores are averaged: each checkpoint's, or the soup of them all."""
    if settings.ensemble == "soup":
        weights, recipe = checkpoint.average_weights(loaded)
        logger.info(
            "One network with the mean weights predicts; its thresholds are those of the "
            "averaged scores (ensemble=scores)."
        )
        return [
            checkpoint.build_trusted_network(
                weights, recipe, origin="The soup", trust=settings.trust
            )
        ]
    return [
        checkpoint.build_trusted_network(weights, recipe, origin=path, trust=settings.trust)
        for path, (weights, recipe) in zip(paths, loaded, strict=True)
    ]


@functools.cache
def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def select_tomograms(
    project: Project, settings: SegmentSettings, recipe: CheckpointInfo
) -> list[TomogramTask]:
    """The tomogram of every run that is asked for; a missing one is an error if it was named."""
    tomo_type = settings.tomo_type or recipe.tomo_types[0]
    spacing = settings.voxel_spacing or recipe.voxel_spacing
    if settings.voxel_spacing and not same_spacing(settings.voxel_spacing, recipe.voxel_spacing):
        logger.warning(
            "The checkpoint was trained at %g Å, these tomograms have %g Å: they are resampled.",
            recipe.voxel_spacing,
            settings.voxel_spacing,
        )
    tomograms = keep_runs_with(
        project.select(settings.runs),
        lambda run: run.find_tomogram(tomo_type, spacing),
        named=settings.runs is not None,
    )
    return [TomogramTask(run, tomogram) for run, tomogram in tomograms]


def output(settings: SegmentSettings) -> SegmentationQuery:
    """What is written, but for its voxel spacing."""
    return SegmentationQuery(settings.name, settings.user_id, settings.session_id)


def is_done(task: TomogramTask, settings: SegmentSettings, ensemble: Ensemble) -> bool:
    """Whether everything asked for is there, made by these checkpoints in this way."""
    run, name, output_query = task.run, score_map_name(output(settings)), output(settings)
    if settings.scores:
        if not run.has_score_map(task.tomogram, name):
            return False
        attributes = run.score_map_attributes(task.tomogram, name)
        check_made_by_same_checkpoints(
            f"Run {run.name} has a score map {name}", attributes, ensemble
        )
    if settings.segmentation:
        made = [
            query
            for query in run.segmentations()
            if query.name_user_session == output_query.name_user_session
        ]
        for query in made:
            attributes = run.segmentation_attributes(query)
            check_made_by_same_checkpoints(
                f"Run {run.name} has a segmentation {query}", attributes, ensemble
            )
        return bool(made)
    return True


def check_made_by_same_checkpoints(
    where: str, attributes: Mapping[str, Any], ensemble: Ensemble
) -> None:
    """Raise SettingError if other checkpoints, or the same in another way, made what is held."""
    made_by = attributes.get("checkpoints", {})
    wanted_attributes = ensemble.attributes
    cure = "Replace it with overwrite=true, or write under another name."
    if sorted(made_by.values()) != sorted(wanted_attributes["checkpoints"].values()):
        made = ", ".join(made_by) or "unknown"
        raise SettingError(f"{where} of other checkpoints ({made}). {cure}")
    if (way := attributes.get("ensemble", "scores")) != wanted_attributes["ensemble"]:
        raise SettingError(f"{where} made with ensemble={way}. {cure}")


def segment_all(
    todo: list[TomogramTask],
    settings: SegmentSettings,
    ensemble: Ensemble,
    devices: Sequence[torch.device],
) -> Iterator[str]:
    """Yield the name of each run as it is done; several devices share one queue."""
    if len(devices) == 1:
        device = devices[0]
        nets = [net.to(device) for net in ensemble.nets]
        ensemble_on_device = dataclasses.replace(ensemble, nets=nets)
        for task in segment_runs(todo, settings, ensemble_on_device, overlap=device.type == "cuda"):
            yield task.run.name
        return
    # two processes a GPU: while one computes, the other reads and writes
    workers = [*devices] * 2 if devices[0].type == "cuda" else devices
    begin = functools.partial(_start_worker, settings)
    yield from worker_pool.run_in_processes(
        _work, todo, initializer=begin, worker_names=[str(d) for d in workers]
    )


_worker: dict[str, Any] = {}


def _start_worker(settings: SegmentSettings, place: str) -> None:
    device = torch.device(place)
    _worker.update(settings=settings, ensemble=load_ensemble(settings, device))
    if device.type == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // settings.devices))


def _work(task: TomogramTask) -> str:
    list(segment_runs([task], _worker["settings"], _worker["ensemble"], overlap=False))
    return task.run.name


def select_devices(settings: SegmentSettings) -> list[torch.device]:
    """List the devices that share the work: GPUs, or a process each on the CPU."""
    count = count_devices(settings.accelerator, settings.devices)
    if choose_device_type(settings.accelerator) == "cuda":
        return [torch.device("cuda", index) for index in range(count)]
    return [torch.device("cpu")] * count


def rehearsal(
    project: Project,
    tasks: list[TomogramTask],
    todo: list[TomogramTask],
    settings: SegmentSettings,
    ensemble: Ensemble,
    *,
    devices: Sequence[torch.device],
) -> list[str]:
    """What a dry run tells."""
    done = [task.run.name for task in tasks if task not in todo]
    num_labels, num_bytes, num_looks = len(ensemble.recipe.labels), 0, 0
    predictor = ensemble.predictor
    for task in todo:
        shape = grid_of(task, settings, ensemble.recipe).shape
        channels = num_labels * settings.scores + settings.segmentation
        num_bytes += channels * math.prod(shape)
        looks, _ = num_windows(
            shape, predictor.window_size, divisor=ensemble.divisor, halo=predictor.halo
        )
        num_looks += looks
    what = ["score maps"] * settings.scores + ["segmentations"] * settings.segmentation
    return [
        f"would run  {len(todo)} tomograms on {', '.join(map(str, devices))}{': ' if todo else ''}"
        + ", ".join(f"{task.run.name} {task.tomogram}" for task in todo),
        f"skipped    {len(done)} that are done{': ' if done else ''}{', '.join(done)}",
        f"objects    {', '.join(ensemble.recipe.object_names)}",
        f"network    {num_looks} windows, each seen from {predictor.num_sides} sides by "
        f"{len(ensemble.nets)} networks",
        f"written    {' and '.join(what)} {output(settings)}, up to {format_bytes(num_bytes)}, in "
        f"{', '.join(project.overlays)}",
    ]


def grid_of(task: TomogramTask, settings: SegmentSettings, recipe: CheckpointInfo) -> Grid:
    """The grid that a tomogram is worked on."""
    grid = working_grid(task.run.tomogram_grid(task.tomogram), recipe.working_spacing)
    if recipe.working_spacing is None and settings.voxel_spacing:
        grid = grid.at_spacing(recipe.voxel_spacing)
    return grid


def segment_runs(
    tasks: Iterable[TomogramTask], settings: SegmentSettings, ensemble: Ensemble, *, overlap: bool
) -> Iterator[TomogramTask]:
    """Yields each task when its score map, segmentation or both are in the project.

    With `overlap` the next tomogram is read and the last one's scores are written while the
    network computes: worth its memory where that happens on another device.
    """
    read = functools.partial(read_volume, settings=settings, ensemble=ensemble)
    compute_scores = functools.partial(predict, ensemble=ensemble)
    write = functools.partial(write_scores, settings=settings, ensemble=ensemble)
    if not overlap:
        for task in tasks:
            yield write(compute_scores(read(task)))
        return
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        yield from map_ahead(writer, write, map(compute_scores, map_ahead(reader, read, tasks)))


def map_ahead(
    pool: Executor, work: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """The results in order; while one is used, the next is worked on in the pool."""
    upcoming: Future[Result] | None = None
    for item in items:
        future = pool.submit(work, item)
        if upcoming is not None:
            yield upcoming.result()
        upcoming = future
    if upcoming is not None:
        yield upcoming.result()


def read_volume(task: TomogramTask, settings: SegmentSettings, ensemble: Ensemble) -> Held:
    """The task's tomogram as the networks want it."""
    grid = grid_of(task, settings, ensemble.recipe)
    return Held(task, prepare_volume(task.run.read_tomogram(task.tomogram), grid), grid)


def predict(prepared: Held, ensemble: Ensemble) -> Held:
    """The score map of a tomogram."""
    try:
        scores = ensemble.predictor(ensemble.nets, prepared.values, divisor=ensemble.divisor)
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            f"Run {prepared.task.run.name}: the GPU is too small for windows of "
            f"{ensemble.predictor.window_size or list(prepared.values.shape)} voxels. "
            "Choose a smaller predictor.window_size."
        ) from error
    known = len(ensemble.recipe.labels)
    if scores.shape[0] != known:
        raise DataError(f"The network scores {scores.shape[0]} objects, not {known}.")
    return Held(prepared.task, scores, prepared.grid)


def write_scores(scored: Held, settings: SegmentSettings, ensemble: Ensemble) -> TomogramTask:
    """The score map, a segmentation of it or both are in the project."""
    run, tomogram, grid = scored.task.run, scored.task.tomogram, scored.grid
    attributes = {**ensemble.attributes, "tomogram": str(tomogram)}
    if settings.scores:
        name = score_map_name(output(settings))
        run.write_score_map(tomogram, name, scored.values, grid=grid, attributes=attributes)
    if settings.segmentation:
        spacing = float(np.mean(grid.spacing))
        query = SegmentationQuery(settings.name, settings.user_id, settings.session_id, spacing)
        run.write_segmentation(
            query,
            segmentation_of(scored.values),
            grid=grid,
            attributes={**attributes, "labels": ensemble.recipe.labels},
        )
    return scored.task


main = command("segment", segment)

if __name__ == "__main__":
    main()
