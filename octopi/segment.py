"""Predict with a trained network in every tomogram: score maps and label volumes.

Run it as `octopi segment checkpoint=best_model.pth` or `python -m octopi.segment …`.
"""

import functools
import itertools
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from octopi.cli.job import Command, log_dry_run
from octopi.config.build import build
from octopi.config.settings import SegmentSettings
from octopi.errors import SettingError, shorten_list
from octopi.geometry import same_spacing
from octopi.inference.ensemble import load_ensemble
from octopi.inference.segment_run import Segmenter, TaskVolume, TomogramTask, output_query
from octopi.inference.windows import num_windows
from octopi.models.checkpoint_info import CheckpointInfo
from octopi.models.devices import choose_device_type, count_devices, log_device
from octopi.models.precision import half_precision
from octopi.processes.job_array import start_workers
from octopi.project import Project
from octopi.project.edits import check_not_edited
from octopi.project.queries import check_name
from octopi.project.selection import keep_runs_with
from octopi.project.shared_work import failing_alone, output_settings
from octopi.system.job_folder import Job
from octopi.system.progress import ProgressBar
from octopi.system.resources import format_bytes
from octopi.system.worker_pool import map_ahead, run_in_processes

logger = logging.getLogger(__name__)


def segment(settings: SegmentSettings, _job: Job) -> None:
    """Write score maps, segmentations or both for the selected tomograms; skip finished runs."""
    for kind in ("name", "user_id", "session_id"):
        check_name(kind, getattr(settings, kind))
    if not (settings.scores or settings.segmentation):
        raise SettingError("Nothing to write: set scores=true or segmentation=true.")
    devices = select_devices(settings)
    device_type = devices[0].type
    arithmetic = str(half_precision(device_type) or torch.float32).removeprefix("torch.")
    log_device(settings.accelerator, device_type, arithmetic, number=len(devices))
    segmenter = make_segmenter(settings)
    ensemble = segmenter.ensemble
    project: Project = build(settings.project, "project")
    warn_of_unknown_objects(project, ensemble.info)
    tasks = select_tomograms(project, settings, ensemble.info)
    runs, output = [task.run for task in tasks], f"scores {output_query(settings)}"
    made_by = output_settings(
        settings,
        checkpoint=sorted(ensemble.attributes["checkpoints"].values()),
        predictor=ensemble.attributes["predictor"],
    )
    with project.writing(runs, output, made_by, dry_run=settings.dry_run) as work:
        todo: list[TomogramTask] = []
        done: list[TomogramTask] = []
        for task in tasks:
            is_done = not settings.overwrite and segmenter.is_done(task)
            (done if is_done else todo).append(task)
        segmenter.check_replaces_no_others(todo)
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
            log_dry_run("segment", describe(project, todo, done, segmenter, devices))
            return
        with ProgressBar(total=len(todo), desc="segment", unit="run") as bar:
            for free in work.rounds(todo, lambda task: task.run):
                for run_name in segment_all(free, segmenter, devices):
                    bar.set_postfix_str(run_name)
                    bar.update()
    logger.info("%s exists in %d runs.", output_query(settings), len(tasks))


def select_devices(settings: SegmentSettings) -> list[torch.device]:
    """List the devices that share the work: GPUs, or a process each on the CPU."""
    count = count_devices(settings.accelerator, settings.devices)
    if choose_device_type(settings.accelerator) == "cuda":
        return [torch.device("cuda", index) for index in range(count)]
    return [torch.device("cpu")] * count


def make_segmenter(settings: SegmentSettings) -> Segmenter:
    """Read the checkpoints that the user chose; the networks are on the CPU."""
    ensemble = load_ensemble(
        settings.checkpoint,
        method=settings.ensemble,
        predictor=settings.predictor,
        trust=settings.trust,
    )
    return Segmenter(settings, ensemble)


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
        project.select(settings.runs, keep_contents=True),
        lambda run: run.find_tomogram(tomo_type, spacing),
        settings.runs,
    )
    return [TomogramTask(run, tomogram) for run, tomogram in tomograms]


def warn_of_unknown_objects(project: Project, info: CheckpointInfo) -> None:
    """Warn of objects of a checkpoint that the project lacks: scores of them cannot be picked."""
    if missing := [name for name in info.object_names if name not in project.objects]:
        logger.warning(
            "The checkpoint finds %s, of which %s has no objects: localize can pick none of them "
            "before they are in the copick config. It has: %s.",
            shorten_list(missing),
            project,
            shorten_list(project.objects) or "none",
        )


def describe(
    project: Project,
    todo: Sequence[TomogramTask],
    done: Sequence[TomogramTask],
    segmenter: Segmenter,
    devices: Sequence[torch.device],
) -> list[str]:
    """Describe, for a dry run, what would be done; in lines."""
    settings, info = segmenter.settings, segmenter.ensemble.info
    predictor = segmenter.ensemble.predictor
    shapes = [segmenter.grid(task).shape for task in todo]
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
        f"{len(settings.checkpoint)} checkpoints",
        f"written    {' and '.join(outputs)} {output_query(settings)}, up to "
        f"{format_bytes(num_bytes)}, in {', '.join(project.overlays)}",
    ]


def segment_all(
    todo: Iterable[TomogramTask], segmenter: Segmenter, devices: Sequence[torch.device]
) -> Iterator[str]:
    """Yield the name of each run as it is done; several devices share one queue."""
    if len(devices) == 1:
        on_device = segmenter.on_device(devices[0])
        yield from segment_runs(todo, on_device, overlap=devices[0].type == "cuda")
        return
    # two processes a GPU: while one computes, the other reads and writes
    workers = [*devices] * 2 if devices[0].type == "cuda" else devices
    yield from itertools.chain.from_iterable(
        run_in_processes(
            _segment_in_worker,
            todo,
            initializer=functools.partial(_start_worker, segmenter.settings),
            worker_names=[str(device) for device in workers],
        )
    )


_worker: dict[str, Segmenter] = {}  # what a worker process keeps between tasks


def _start_worker(settings: SegmentSettings, device_name: str) -> None:
    device = torch.device(device_name)
    _worker["segmenter"] = make_segmenter(settings).on_device(device)
    if device.type == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // settings.devices))


def _segment_in_worker(task: TomogramTask) -> list[str]:
    return list(segment_runs([task], _worker["segmenter"], overlap=False))


def segment_runs(
    tasks: Iterable[TomogramTask], segmenter: Segmenter, *, overlap: bool
) -> Iterator[str]:
    """Yield the name of each run when its score map, segmentation or both are in the project.

    With `overlap` the next tomogram is read and the last one's scores are written while the
    network computes: worth its memory where that happens on another device.
    """

    def read(task: TomogramTask) -> TaskVolume | None:
        with failing_alone(task.run):
            return segmenter.read(task)
        return None

    if not overlap:
        for task in tasks:
            if volume := read(task):
                yield segmenter.write(segmenter.predict(volume))
        return
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        volumes = filter(None, map_ahead(reader, read, tasks))
        yield from map_ahead(writer, segmenter.write, map(segmenter.predict, volumes))


main = Command("segment", segment, start_workers=start_workers)

if __name__ == "__main__":
    main()
