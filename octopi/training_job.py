"""A training from its settings to its best model: what `octopi train` does."""

import contextlib
import dataclasses
import functools
import logging
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import nn

from octopi import locks, provenance, rehearsal
from octopi.assembly import (
    BestModelFile,
    check_memory,
    check_objectives,
    make_data,
    make_net,
    make_stages,
)
from octopi.config import build, partial_of
from octopi.data.datamodule import TomogramDataModule
from octopi.devices import count_devices, training_precision
from octopi.errors import DataError, ResourceError, SettingError
from octopi.exploration.crossval import train_folds
from octopi.exploration.pruning import Pruning
from octopi.exploration.study import PARENT_RUN, STUDY, is_search
from octopi.exploration.workers import OUTCOME
from octopi.facts import Facts, gather_facts
from octopi.job import Job, Stopped
from octopi.models import COSTS, costs_of, size_divisor
from octopi.project import Project
from octopi.settings import TrainSettings
from octopi.tracking import make_tracker
from octopi.training import ranks
from octopi.training.callbacks import BestModel, CleanStop, History, LastCheckpoint
from octopi.training.curves import draw_curves
from octopi.training.module import PickingModule, Stages
from octopi.training.silence import silence_lightning

logger = logging.getLogger(__name__)


def train(
    settings: TrainSettings, job: Job, *, loss: nn.Module | None = None
) -> float | tuple[float | None, ...] | None:
    """The job's folder holds the best model; returns its objectives, by default `best_metric`.

    With `num_folds` and no `fold`, all folds train and the model is their ensemble.

    Args:
        settings: of the whole training.
        job: where it works.
        loss: used in place of what `settings.loss` describes.
    """
    if ranks.is_helper():  # of a process that holds the folder
        return _train(settings, job, loss=loss)
    if settings.dry_run:
        locks.check_free(job.folder)
        return _train(settings, job, loss=loss)
    with locks.alone_in(job.folder):
        return _train(settings, job, loss=loss)


def _train(
    settings: TrainSettings, job: Job, *, loss: nn.Module | None
) -> float | tuple[float | None, ...] | None:
    folder, began, helps = job.folder, time.monotonic(), ranks.is_helper()
    silence_lightning()
    count_devices(settings.trainer["accelerator"], settings.trainer["devices"], "trainer.")
    if not helps:
        refuse_used_folder(folder, settings)
    pl.seed_everything(settings.seed, verbose=False)
    project: Project = build(settings.project, "project")
    facts = gather_facts(project, settings)
    check_objectives(settings, list(facts.radii))

    net = make_net(settings, facts)
    divisor = size_divisor(net)
    data = make_data(settings, facts, divisor)
    check_memory(net, settings)
    stages = make_stages(settings, facts, divisor)
    module = make_module(settings, net, data, stages, facts, loss=loss)
    start = check_resume(folder, settings) if settings.resume else None
    if settings.dry_run:
        make_trainer(settings, folder, divisor=divisor, tracker=None, own=[])
        rehearsal.of_training(settings, job, facts, net, divisor)
        return None
    if not helps:
        provenance.write_yaml(folder / "config.yaml", dataclasses.asdict(settings))
    pruned = False
    if settings.num_folds is not None and settings.fold is None:
        measured = train_folds(settings, folder, job.words)
    else:
        pruning = make_pruning(settings)
        save = BestModelFile(folder, settings, facts, data, divisor)
        measured = fit(settings, module, data, save=save, start=start, pruning=pruning)
        pruned = pruning is not None and pruning.pruned
    values = objectives_of(settings, measured, module.net)
    outcome = {
        "state": "pruned" if pruned else "complete",
        "values": values,
        "seconds": round(time.monotonic() - began, 1),
    }
    if not helps:
        provenance.write_json(folder / OUTCOME, outcome)
    best = measured.get(settings.best_metric)
    logger.info("Best model, %s: %s", _shown(settings.best_metric, best), folder)
    return next(iter(values.values())) if len(values) == 1 else tuple(values.values())


def make_pruning(settings: TrainSettings) -> Pruning | None:
    """What ends a hopeless trial of a search; None outside a search."""
    if not settings.trial or not is_search(Path(settings.trial["folder"])):
        return None
    pruner = build(settings.pruner, "pruner") if settings.pruner else None
    return Pruning(Path(settings.trial["folder"]), settings.trial["number"], pruner)


def objectives_of(
    settings: TrainSettings, measured: Mapping[str, float | None], net: nn.Module
) -> dict[str, float | None]:
    """What a search is told of the training, by name."""
    costs = (
        costs_of(net, settings.data["crop_size"]) if set(COSTS) & set(settings.objectives) else {}
    )
    return {name: {**measured, **costs}.get(name) for name in settings.objectives}


def make_module(
    settings: TrainSettings,
    net: nn.Module,
    data: TomogramDataModule,
    stages: Stages,
    facts: Facts,
    *,
    loss: nn.Module | None,
) -> PickingModule:
    """The LightningModule; a wrong setting of loss or optimizer is found here, before loading."""
    build(settings.optim["optimizer"], "optim.optimizer", params=list(net.parameters()))
    return PickingModule(
        net,
        loss=loss or build(settings.loss, "loss"),
        optimizer=partial_of(settings.optim["optimizer"], "optim.optimizer"),
        schedule=build(settings.optim["schedule"], "optim.schedule"),
        stages=stages,
        labels=facts.labels,
        best_metric=settings.best_metric,
        steps_per_epoch=data.steps_per_epoch,
        seed=settings.seed,
    )


def fit(
    settings: TrainSettings,
    module: PickingModule,
    data: TomogramDataModule,
    *,
    save: BestModelFile,
    start: str | None,
    pruning: Pruning | None,
) -> dict[str, float | None]:
    """The net is trained and its best weights saved; returns what those measured.

    Args:
        settings: of the training.
        module: that holds the net.
        data: it is trained on.
        save: writes the best weights.
        start: checkpoint to go on from.
        pruning: of a search.
    """
    folder, helps = save.folder, ranks.is_helper()
    tracker = None if helps else make_tracker(logger_of(settings, folder), folder)
    best, history = BestModel(save), History(folder / "results.json")
    own = [
        history,
        CleanStop(functools.partial(make_stop, folder)),
        LastCheckpoint(folder / "last.ckpt"),
        *([pruning] if pruning else []),
    ]
    trainer = make_trainer(
        settings, folder, divisor=save.divisor, tracker=tracker, first=[best], own=own
    )
    ranks.prepare(trainer.world_size)
    with provenance.tracked(tracker, folder, settings) as tags:
        data.setup()
        if not helps:
            record_data(folder, data, resumed=start is not None)
        with worker_losses():
            trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=False)
        finish(trainer, module, data)
        tags["state"] = "pruned" if pruning and pruning.pruned else "complete"
        if not helps:
            draw_curves(folder, history.as_dict())
    return {**best.measured, settings.best_metric: best.best}


def make_trainer(
    settings: TrainSettings,
    folder: Path,
    *,
    divisor: int,
    tracker: Any,
    first: Sequence[pl.Callback] = (),
    own: Sequence[pl.Callback],
) -> pl.Trainer:
    """Lightning's trainer, with the callbacks that the settings name between our own.

    Args:
        settings: of the training.
        folder: its own.
        divisor: how many voxels of a crop are one at the network's coarsest level.
        tracker: a Lightning logger, or None.
        first: callbacks that must see the weights before they are averaged, see `BestModel`.
        own: the others.
    """
    named = [build(node, f"callbacks.{name}") for name, node in settings.callbacks.items()]
    return build(
        settings.trainer,
        "trainer",
        precision=settings.trainer["precision"]
        or training_precision(
            settings.trainer["accelerator"], min(settings.data["crop_size"]) // divisor
        ),
        default_root_dir=str(folder),
        logger=tracker or False,
        callbacks=[*first, *named, *own],
    )


@contextlib.contextmanager
def worker_losses() -> Iterator[None]:
    """A process that cuts crops and was killed, or is stuck, is a ResourceError with a cure."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader"):
            raise
        raise ResourceError(
            f"A process that cuts crops is lost: {error} Most often the machine ran out of memory. "
            "Set data.num_workers lower, or 0. Go on with resume=FOLDER_OF_THE_JOB."
        ) from error


def logger_of(settings: TrainSettings, folder: Path) -> dict[str, Any]:
    """The settled logger, told which sweep the training belongs to."""
    if not settings.trial:
        return settings.logger
    sweep = provenance.read_yaml(Path(settings.trial["folder"]) / STUDY)
    tags = {"trial": settings.trial["number"]}
    if settings.fold is not None:
        tags["fold"] = settings.fold
    return provenance.child_of(settings.logger, sweep.get(PARENT_RUN), name=folder.name, tags=tags)


def refuse_used_folder(folder: Path, settings: TrainSettings) -> None:
    """Raise SettingError if the folder holds another training."""
    if not settings.resume and any((folder / name).exists() for name in ("last.ckpt", "fold_0")):
        raise SettingError(
            f"{folder} already holds a training. Continue it with resume={folder}, or choose "
            "another folder with hydra.run.dir=… (model_save_path in Python)."
        )


def _shown(name: str, value: float | None) -> str:
    return f"{name} n/a" if value is None else f"{name} {value:.4f}"


def record_data(folder: Path, data: TomogramDataModule, *, resumed: bool) -> None:
    """`data.json` says which runs trained and validated, and on what data."""
    assert data.split is not None
    path = folder / "data.json"
    record = {"split": dataclasses.asdict(data.split), "fingerprint": data.fingerprint()}
    record = provenance.plain(record)
    if resumed and path.is_file() and provenance.read_json(path) != record:
        raise DataError(
            f"The data has changed since {folder} began: its data.json says otherwise. "
            "Start anew, with init_from=best_model.pth to keep what was learned."
        )
    provenance.write_json(path, record)
    logger.info(
        "Training on %s; validating on %s.",
        ", ".join(data.split.train),
        ", ".join(data.split.validation) or "none",
    )


def check_resume(folder: Path, settings: TrainSettings) -> str:
    """The checkpoint to continue from, if the job is still the same job."""
    last = folder / "last.ckpt"
    in_folds = settings.num_folds is not None and settings.fold is None
    if not in_folds and not last.is_file():
        raise SettingError(f"There is nothing to resume in {folder}: it has no last.ckpt.")
    before = provenance.read_yaml(folder / "config.yaml")
    now = provenance.plain(dataclasses.asdict(settings))
    free = {
        "resume",
        "dry_run",
        "trainer.max_epochs",
        "trainer.max_time",
        "trainer.enable_progress_bar",
    }
    changed = [key for key in provenance.differences(before, now) if key not in free]
    if changed:
        raise SettingError(
            f"{', '.join(changed)} differ from what {folder} began with. A resumed training keeps "
            "its settings; to change them start anew with init_from=best_model.pth."
        )
    return str(last)


def make_stop(folder: Path, number: int, epoch: int) -> Stopped:
    """The end of a job that a signal asked for."""
    return Stopped(
        128 + number,
        f"Stopped by {signal.Signals(number).name} in epoch {epoch}; the state before that epoch "
        f"is in {folder / 'last.ckpt'}.\nContinue with: octopi train resume={folder}",
    )


def finish(trainer: pl.Trainer, module: PickingModule, data: TomogramDataModule) -> None:
    """The last weights have been validated too; without validation runs, on the training runs."""
    assert data.split is not None
    if not data.split.validation:
        trainer.validate(module, dataloaders=data.training_volumes(), verbose=False)
    elif module.validated_step != trainer.global_step:
        trainer.validate(module, datamodule=data, verbose=False)
