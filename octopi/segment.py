"""Predict with a trained network in every tomogram: score maps and label volumes.

Run it as `octopi segment checkpoint=best_model.pth` or `python -m octopi.segment …`.
"""

import dataclasses
import functools
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from octopi.cli.job import command, log_dry_run
from octopi.config.build import build
from octopi.config.settings import SegmentSettings
from octopi.data.cache import prepare_volume, working_grid
from octopi.errors import ResourceError, SettingError, shorten_list
from octopi.geometry import Grid, same_spacing
from octopi.inference.ensemble import Ensemble, load_ensemble
from octopi.inference.predictor import segmentation_of
from octopi.inference.windows import num_windows
from octopi.models.checkpoint_info import CheckpointInfo
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
from octopi.project.edits import check_not_edited, check_still_not_edited
from octopi.project.provenance import check_same_provenance, has_changed, identify_tomogram
from octopi.project.shared_work import finish, output_settings
from octopi.system.job_folder import Job
from octopi.system.resources import format_bytes
from octopi.system.worker_pool import map_ahead, run_in_processes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TomogramTask:
    """One tomogram to predict in."""

    run: Run
    tomogram: TomogramQuery


@dataclass(frozen=True)
class TaskVolume:
    """A task's prepared tomogram (z, y, x), or its score map (c, z, y, x), on the working grid.

    Args:
        task: whose volume.
        values: of every voxel.
        grid: of the values.
        provenance: what identifies the tomogram, see `identify_tomogram`.
    """

    task: TomogramTask
    values: NDArray
    grid: Grid
    provenance: Mapping[str, str]


def segment(settings: SegmentSettings, _job: Job) -> None:
    """Write score maps, segmentations or both for the selected tomograms; skip finished runs."""
    for kind in ("name", "user_id", "session_id"):
        check_name(kind, getattr(settings, kind))
    if not (settings.scores or settings.segmentation):
        raise SettingError("Nothing to write: set scores=true or segmentation=true.")
    devices = select_devices(settings)
    ensemble = read_ensemble(settings)
    project: Project = build(settings.project, "project")
    tasks = select_tomograms(project, settings, ensemble.info)
    runs, output = [task.run for task in tasks], f"scores {output_query(settings)}"
    made_by = output_settings(
        settings,
        checkpoint=sorted(ensemble.attributes["checkpoints"].values()),
        predictor=ensemble.attributes["predictor"],
    )
    with project.writing(runs, output, made_by, dry_run=settings.dry_run) as work:
        todo = [t for t in tasks if settings.overwrite or not is_done(t, settings, ensemble)]
        done = [task for task in tasks if task not in todo]
        if settings.segmentation:
            check_not_edited(
                [task.run for task in todo],
                lambda run: run.segmentations_of(output_query(settings)),
                overwrite=settings.overwrite,
            )
        if done:
            logger.info(
                "%d of %d runs are done; overwrite=true does them again.", len(done), len(tasks)
            )
        if settings.dry_run:
            lines = describe(project, todo, done, settings, ensemble, devices=devices)
            log_dry_run("segment", lines)
            return
        with tqdm(total=len(todo), desc="segment", unit="run") as bar:
            for free in work.rounds(todo, lambda task: task.run):
                for run_name in segment_all(free, settings, ensemble, devices):
                    bar.set_postfix_str(run_name)
                    bar.update()
    logger.info("%s exists in %d runs.", output_query(settings), len(tasks))


def select_devices(settings: SegmentSettings) -> list[torch.device]:
    """List the devices that share the work: GPUs, or a process each on the CPU."""
    count = count_devices(settings.accelerator, settings.devices)
    if choose_device_type(settings.accelerator) == "cuda":
        return [torch.device("cuda", index) for index in range(count)]
    return [torch.device("cpu")] * count


def read_ensemble(settings: SegmentSettings) -> Ensemble:
    """Read the checkpoints that the user chose; the networks are on the CPU."""
    return load_ensemble(
        settings.checkpoint,
        method=settings.ensemble,
        predictor=settings.predictor,
        trust=settings.trust,
    )


def select_tomograms(
    project: Project, settings: SegmentSettings, info: CheckpointInfo
) -> list[TomogramTask]:
    """Find the tomogram of every selected run; by default those that the network was trained on.

    Raises:
        NotInProjectError: a run that the user named, or every run, has no such tomogram.
    """
    tomo_type = settings.tomo_type or info.tomo_types[0]
    spacing = settings.voxel_spacing or info.voxel_spacing
    if not same_spacing(spacing, info.voxel_spacing):
        logger.warning(
            "The checkpoint was trained at %g Å, these tomograms have %g Å: they are resampled.",
            info.voxel_spacing,
            spacing,
        )
    tomograms = keep_runs_with(
        project.select(settings.runs),
        lambda run: run.find_tomogram(tomo_type, spacing),
        all_required=settings.runs is not None,
    )
    return [TomogramTask(run, tomogram) for run, tomogram in tomograms]


def output_query(
    settings: SegmentSettings, voxel_spacing: float | None = None
) -> SegmentationQuery:
    """Make the query of what is written, its voxel spacing in Å."""
    return SegmentationQuery(settings.name, settings.user_id, settings.session_id, voxel_spacing)


def is_done(task: TomogramTask, settings: SegmentSettings, ensemble: Ensemble) -> bool:
    """Return whether all that the user requested exists.

    Raises:
        SettingError: it was made of something else, or in another way.
    """
    run, query = task.run, output_query(settings)
    outputs: dict[str, Mapping[str, Any]] = {}
    name = score_map_name(query)
    if settings.scores and run.has_score_map(task.tomogram, name):
        outputs[f"score map {name}"] = run.score_map_attributes(task.tomogram, name)
    segmentations = run.segmentations_of(query) if settings.segmentation else []
    outputs |= {f"segmentation {q}": run.segmentation_attributes(q) for q in segmentations}
    for output, attributes in outputs.items():
        check_is_current(output, attributes, task, settings, ensemble)
    num_requested = settings.scores + max(len(segmentations), settings.segmentation)
    return len(outputs) == num_requested


def check_is_current(
    output: str,
    attributes: Mapping[str, Any],
    task: TomogramTask,
    settings: SegmentSettings,
    ensemble: Ensemble,
) -> None:
    """Raise SettingError unless an output is what this command would write.

    Args:
        output: kind and name.
        attributes: stored with it.
        task: that it belongs to.
        settings: of the command.
        ensemble: that would write it.
    """
    made_by = ", ".join(attributes.get("checkpoints", {})) or "another program"
    where = f"Run {task.run.name}: the {output} of {made_by}"
    current = {
        **ensemble.attributes,
        "tomogram": str(task.tomogram),
        "working_spacing": working_spacing(settings, ensemble.info),
    }
    check_same_provenance(where, _comparable(attributes), _comparable(current))
    if has_changed(task.run, task.tomogram, attributes):
        check_same_provenance(
            where, {"tomogram": "another"}, {"tomogram": "the one that is there now"}
        )


def _comparable(attributes: Mapping[str, Any]) -> dict[str, Any]:
    digests = attributes.get("checkpoints", {}).values()
    kept = ("ensemble", "predictor", "tomogram", "working_spacing")
    return {
        **{key: attributes.get(key) for key in kept},
        "checkpoints": ", ".join(sorted(digest[:8] for digest in digests)),
    }


def describe(
    project: Project,
    todo: Sequence[TomogramTask],
    done: Sequence[TomogramTask],
    settings: SegmentSettings,
    ensemble: Ensemble,
    *,
    devices: Sequence[torch.device],
) -> list[str]:
    """Describe, for a dry run, what would be done; in lines."""
    info, predictor = ensemble.info, ensemble.predictor
    shapes = [task_grid(task, settings, info).shape for task in todo]
    size = {"divisor": info.size_divisor, "halo": predictor.halo}
    windows = sum(num_windows(shape, predictor.window_size, **size)[0] for shape in shapes)
    channels = len(info.labels) * settings.scores + settings.segmentation
    num_bytes = channels * sum(map(math.prod, shapes))
    outputs = ["score maps"] * settings.scores + ["segmentations"] * settings.segmentation
    return [
        f"would run  {len(todo)} tomograms on {', '.join(map(str, devices))}{': ' if todo else ''}"
        + shorten_list(f"{task.run.name} {task.tomogram}" for task in todo),
        f"skipped    {len(done)} that are done: {shorten_list(t.run.name for t in done)}".rstrip(
            ": "
        ),
        f"objects    {', '.join(info.object_names)}",
        f"network    {windows} windows, {predictor.num_sides} flips of each, by "
        f"{len(ensemble.nets)} networks",
        f"written    {' and '.join(outputs)} {output_query(settings)}, up to "
        f"{format_bytes(num_bytes)}, in {', '.join(project.overlays)}",
    ]


def segment_all(
    todo: Iterable[TomogramTask],
    settings: SegmentSettings,
    ensemble: Ensemble,
    devices: Sequence[torch.device],
) -> Iterator[str]:
    """Yield the name of each run as it is done; several devices share one queue."""
    if len(devices) == 1:
        overlap = devices[0].type == "cuda"
        yield from segment_runs(todo, settings, ensemble.on_device(devices[0]), overlap=overlap)
        return
    # two processes a GPU: while one computes, the other reads and writes
    workers = [*devices] * 2 if devices[0].type == "cuda" else devices
    yield from run_in_processes(
        _segment_in_worker,
        todo,
        initializer=functools.partial(_start_worker, settings),
        worker_names=[str(device) for device in workers],
    )


_worker: dict[str, Any] = {}  # what a worker process keeps between tasks


def _start_worker(settings: SegmentSettings, device_name: str) -> None:
    device = torch.device(device_name)
    _worker.update(settings=settings, ensemble=read_ensemble(settings).on_device(device))
    if device.type == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // settings.devices))


def _segment_in_worker(task: TomogramTask) -> str:
    return next(segment_runs([task], **_worker, overlap=False))


def segment_runs(
    tasks: Iterable[TomogramTask], settings: SegmentSettings, ensemble: Ensemble, *, overlap: bool
) -> Iterator[str]:
    """Yield the name of each run when its score map, segmentation or both are in the project.

    With `overlap` the next tomogram is read and the last one's scores are written while the
    network computes: worth its memory where that happens on another device.
    """
    read = functools.partial(read_volume, settings=settings, info=ensemble.info)
    compute_scores = functools.partial(predict, ensemble=ensemble)
    write = functools.partial(write_scores, settings=settings, ensemble=ensemble)
    if not overlap:
        for task in tasks:
            yield write(compute_scores(read(task)))
        return
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        yield from map_ahead(writer, write, map(compute_scores, map_ahead(reader, read, tasks)))


def working_spacing(settings: SegmentSettings, info: CheckpointInfo) -> float | None:
    """Return the spacing (Å) to which tomograms are resampled; None = they stay as they are."""
    return info.working_spacing or (info.voxel_spacing if settings.voxel_spacing else None)


def task_grid(task: TomogramTask, settings: SegmentSettings, info: CheckpointInfo) -> Grid:
    """Return the grid on which a tomogram is predicted."""
    grid = task.run.tomogram_grid(task.tomogram)
    return working_grid(grid, working_spacing(settings, info))


def read_volume(task: TomogramTask, settings: SegmentSettings, info: CheckpointInfo) -> TaskVolume:
    """Read a tomogram and prepare it as in training."""
    grid = task_grid(task, settings, info)
    volume = task.run.read_tomogram(task.tomogram)
    provenance = identify_tomogram(task.run, task.tomogram, volume)
    where = f"Run {task.run.name}: tomogram {task.tomogram}"
    return TaskVolume(task, prepare_volume(volume, grid, where=where), grid, provenance)


def predict(prepared: TaskVolume, ensemble: Ensemble) -> TaskVolume:
    """Compute the score map of a tomogram."""
    try:
        scores = ensemble.predict(prepared.values)
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            f"Run {prepared.task.run.name}: the GPU is too small for windows of "
            f"{ensemble.predictor.window_size or list(prepared.values.shape)} voxels. "
            "Choose a smaller predictor.window_size."
        ) from error
    return dataclasses.replace(prepared, values=scores)


def write_scores(scored: TaskVolume, settings: SegmentSettings, ensemble: Ensemble) -> str:
    """Write the score map, a segmentation of it or both; return the run's name."""
    run, tomogram, grid = scored.task.run, scored.task.tomogram, scored.grid
    attributes = {
        **ensemble.attributes,
        **scored.provenance,
        "working_spacing": working_spacing(settings, ensemble.info),
    }
    if settings.scores:
        name = score_map_name(output_query(settings))
        run.write_score_map(tomogram, name, scored.values, grid=grid, attributes=attributes)
    if settings.segmentation:
        query = output_query(settings, float(np.mean(grid.spacing)))
        check_still_not_edited(run, query, overwrite=settings.overwrite)
        run.write_segmentation(
            query,
            segmentation_of(scored.values),
            grid=grid,
            attributes={**attributes, "labels": ensemble.info.labels},
        )
    finish(run)
    return run.name


main = command("segment", segment)

if __name__ == "__main__":
    main()
