"""Train one network: build all objects, fit, and keep the weights that validate best."""

import contextlib
import functools
import signal
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
from torch import nn

from octopi.config.build import build
from octopi.config.overrides import shell_override
from octopi.config.settings import TrainSettings
from octopi.data.datamodule import TomogramDataModule
from octopi.errors import DataError, ResourceError, SettingError, StoppedBySignal
from octopi.models.devices import log_device
from octopi.models.net_output import NetOutput
from octopi.models.precision import training_precision
from octopi.models.properties import (
    COST_METRICS,
    check_num_classes,
    check_size,
    network_costs,
    output_stride,
    size_divisor,
)
from octopi.system import ranks, slurm
from octopi.system.job_folder import LAST_CHECKPOINT_FILE, RESULTS_FILE
from octopi.system.progress import shows_bars
from octopi.training import ddp
from octopi.training.best_model import SaveBestModel
from octopi.training.callbacks import (
    LastCheckpoint,
    LogProgress,
    StopOnSignal,
    WriteHistory,
)
from octopi.training.cpu_budget import CpuBudget
from octopi.training.curves import draw_curves
from octopi.training.dataset_info import DatasetInfo, read_dataset_info
from octopi.training.folder import AUTO, TrainingFolder
from octopi.training.mixing import build_mix
from octopi.training.module import PickingModule
from octopi.training.network import build_net
from octopi.training.out_of_memory import explain_out_of_memory
from octopi.training.painters import Offsets, Painter, Spheres, needs_particles
from octopi.training.part_checks import (
    check_augment,
    check_monitors,
    check_net,
)
from octopi.training.silence import silence_lightning
from octopi.training.training_loss import build_training_loss
from octopi.training.validation import build_validation, check_metric_names, log_shares

TOO_SHORT = (  # what is said in place of a third start, and a fourth, that get no further
    "This job was started again and has finished no epoch, so SLURM is not asked to start it once "
    "more. Give it more time (#SBATCH --time=…), or train anew with fewer data.steps_per_epoch."
)


@dataclass(frozen=True)
class Training:
    """The objects of a training, built and checked.

    Args:
        info: of the dataset.
        net: to be trained.
        divisor: voxels of which every edge of the network's input is a multiple.
        data: to train on.
        module: of net, loss and validation.
        trainer: of Lightning.
        best_model: keeps the weights that validated best.
        history: records losses and metrics.
        cpu_budget: counts the CPU-seconds, and ends the training with them.
    """

    info: DatasetInfo
    net: nn.Module
    divisor: int
    data: TomogramDataModule
    module: PickingModule
    trainer: pl.Trainer
    best_model: SaveBestModel
    history: WriteHistory
    cpu_budget: CpuBudget

    def costs(self, settings: TrainSettings) -> dict[str, float]:
        """Return the network's costs by name, where one of them is an objective."""
        cost_objectives = set(COST_METRICS) & set(settings.objectives)
        return network_costs(self.net, settings.data["crop_size"]) if cost_objectives else {}


def build_training(
    settings: TrainSettings, folder: Path, *, loss: nn.Module | None = None
) -> Training:
    """Build everything that a training needs and check it; read no tomogram yet.

    Args:
        settings: of the training.
        folder: that its files are written into later.
        loss: used in place of what `settings.loss` describes.

    Raises:
        SettingError: a setting that cannot be used.
        DataError: data in the project that is missing or does not fit together.
        ResourceError: too little memory for a step.
    """
    silence_lightning()
    ddp.count_ranks(settings.trainer)
    pl.seed_everything(settings.seed, verbose=False)
    info = read_dataset_info(build(settings.project, "project"), settings)
    check_metric_names(settings, list(info.radii))

    painter = build(settings.painter, "painter")
    net = build_net(settings, info, painter)
    divisor = size_divisor(net)
    stride = output_stride(net, divisor)
    net_output = NetOutput(settings.outputs, stride, offsets=isinstance(painter, Offsets))
    data = build_data(settings, info, divisor, painter)
    check_num_classes(net, divisor, len(net_output.channels(info.labels)))
    check_augment(
        data.augment,
        settings.data["crop_size"],
        len(info.labels) + 1,
        numbers_particles=needs_particles(painter),
    )
    check_net(net, settings)
    module = PickingModule(
        net,
        settings,
        validation=build_validation(settings, info, divisor, net_output),
        loss=build_training_loss(settings, info, net_output, painter, loss),
        labels=info.labels,
        mix=build_mix(settings.mix, settings.data["crops_per_step"], painter),
    )
    best_model = SaveBestModel(folder, settings, info, data, divisor, net_output)
    history = WriteHistory(folder / RESULTS_FILE, best_model)
    cpu_budget = CpuBudget(settings.max_cpu_seconds)
    own_callbacks = [build(node, f"callbacks.{name}") for name, node in settings.callbacks.items()]
    check_monitors(own_callbacks, list(info.radii))
    callbacks = [
        best_model,  # before weight averaging, so that it saves the weights that are validated
        *own_callbacks,
        history,
        cpu_budget,
        LogProgress(),
        StopOnSignal(functools.partial(stopped_error, folder, requeues=settings.resume == AUTO)),
        LastCheckpoint(folder / LAST_CHECKPOINT_FILE),
    ]
    trainer = build_trainer(settings, folder, callbacks, divisor, net)
    return Training(info, net, divisor, data, module, trainer, best_model, history, cpu_budget)


def build_trainer(
    settings: TrainSettings,
    folder: Path,
    callbacks: list[pl.Callback],
    divisor: int,
    net: nn.Module,
) -> pl.Trainer:
    """Build the trainer, with the precision and strategy that suit device, crops and network."""
    precision = settings.trainer["precision"] or training_precision(
        settings.trainer["accelerator"], min(settings.data["crop_size"]) // divisor
    )
    plugins = {} if settings.trainer.get("plugins") else ddp.environment_plugins()
    trainer: pl.Trainer = build(
        settings.trainer,
        "trainer",
        **plugins,
        precision=precision,
        default_root_dir=str(folder),
        logger=False,
        enable_progress_bar=settings.trainer["enable_progress_bar"] and shows_bars(),
        callbacks=callbacks,
        strategy=ddp.strategy_for(net, settings),
    )
    ranks.check_tasks(trainer.num_devices, trainer.num_nodes)
    ddp.prepare_first_rank(trainer.num_devices)
    if settings.max_cpu_seconds is not None and trainer.world_size > 1:
        raise SettingError(
            "max_cpu_seconds counts those of one process, and each device has its own. Leave "
            "trainer.devices at 1, or set trainer.max_time instead."
        )
    return trainer


def run_training(
    settings: TrainSettings, folder: TrainingFolder, *, loss: nn.Module | None = None
) -> dict[str, float | None]:
    """Train a network, keep the weights that validate best, and record how it went.

    Args:
        settings: of the training; of several folds one is chosen.
        folder: that it writes into.
        loss: used in place of what `settings.loss` describes.

    Returns:
        The validation metrics of the best weights and, where one is an objective, the costs of the
        network.
    """
    training = build_training(settings, folder.path, loss=loss)
    trainer, data = training.trainer, training.data
    device_type, precision = trainer.strategy.root_device.type, str(trainer.precision)
    log_device(settings.trainer["accelerator"], device_type, precision, number=trainer.world_size)
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    stop = next(callback for callback in callbacks if isinstance(callback, StopOnSignal))
    last = folder.read_checkpoint(training.module, callbacks) if folder.resumes else None
    folder.write_config(settings)
    with folder.tracked(settings) as tracker:
        trainer.logger = tracker
        data.setup()
        folder.write_data_record(data, training.info)
        crops, size = settings.data["crops_per_step"], settings.data["crop_size"]
        with (
            explain_lost_processes(lambda: stop.error(trainer)),
            explain_out_of_memory(training.module, trainer, crops, size, training.divisor),
        ):
            trainer.fit(training.module, datamodule=data, ckpt_path=last, weights_only=True)
        validate_last_weights(training)
        if folder.writes and (problem := training.best_model.find_problem()):
            raise DataError(f"The training ended without a best model. {problem}")
        ends = [getattr(callback, "end_state", None) for callback in callbacks]
        folder.state = next(filter(None, ends), folder.state)
        folder.cost = training.cpu_budget.cost(trainer.global_step)
        if folder.writes:
            draw_curves(folder.path, training.history.as_dict())
            log_shares(training.best_model.annotated_share, data.validation_truth(), training.info)
    best = training.best_model
    return {**best.metrics, settings.best_metric: best.best, **training.costs(settings)}


def build_data(
    settings: TrainSettings, info: DatasetInfo, divisor: int, painter: Painter | Spheres
) -> TomogramDataModule:
    """Build the data module; nothing is read yet."""
    check_size(settings.data["crop_size"], divisor=divisor, key="data.crop_size")
    return build(
        settings.data,
        "data",
        runs=info.runs,
        target=info.target,
        tomograms=info.tomograms,
        labels=info.labels,
        augment=build(settings.augment, "augment") if settings.augment else None,
        sampler=build(settings.sampler, "sampler") if settings.sampler else None,
        particles_of=info.true_picks,
        numbers_particles=needs_particles(painter),
    )


def validate_last_weights(training: Training) -> None:
    """Validate the last weights too; on the training runs if no others are held out."""
    trainer, module, data = training.trainer, training.module, training.data
    assert data.split is not None
    if not data.split.validation:
        trainer.validate(module, dataloaders=data.training_volumes(), verbose=False)
    elif module.validated_step != trainer.global_step:
        trainer.validate(module, datamodule=data, verbose=False)


@contextlib.contextmanager
def explain_lost_processes(
    signal_error: Callable[[], BaseException | None] = lambda: None,
) -> Iterator[None]:
    """Turn a lost data worker or rank into a ResourceError that says what to do.

    Args:
        signal_error: gives the exception of a signal that arrived; it ended the worker too.
    """
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        if ddp.is_lost_rank(error):
            raise ResourceError(
                "Another rank of this training has ended, so this one ends too. Its own message, "
                "or the scheduler's, says why: most often the machine ran out of memory. "
                "Continue with resume=FOLDER_OF_THE_JOB."
            ) from error
        if not str(error).startswith("DataLoader") and not was_broken_off(error):
            raise
        if stopped := signal_error():
            raise stopped from error
        reason = str(error).strip(" .") or type(error).__name__
        raise ResourceError(
            f"A process that cuts crops is lost: {reason}. Most often the machine ran out of "
            "memory. Set data.num_workers lower, or 0. Continue with resume=FOLDER_OF_THE_JOB."
        ) from error


def was_broken_off(error: Exception) -> bool:
    """Return whether a data worker died while it sent a crop, before torch sees that."""
    if not isinstance(error, ConnectionError | EOFError | FileNotFoundError):
        return False
    frames = traceback.walk_tb(error.__traceback__)
    received = any(frame.f_code.co_name == "_try_get_data" for frame, _ in frames)
    return received or "in pin memory thread" in str(error)


def stopped_error(
    folder: Path, number: int, epoch: int, num_finished: int, *, requeues: bool
) -> StoppedBySignal:
    """Return the exception that ends a training after a signal.

    On SIGUSR1 have SLURM start the job again, as Lightning does, unless that would go on for ever.

    Args:
        folder: of the training.
        number: of the signal.
        epoch: at whose beginning `last.ckpt` was written.
        num_finished: epochs that this process has finished.
        requeues: whether the same job script would go on.
    """
    what_next = ""
    if requeues and number == signal.SIGUSR1 and not ranks.is_secondary():
        is_too_short = slurm.is_restarted() and num_finished == 0
        what_next = TOO_SHORT if is_too_short else slurm.requeue_job()
    return StoppedBySignal(
        128 + number,
        f"Stopped by {signal.Signals(number).name} in epoch {epoch}; the state before that epoch "
        f"is in {folder / LAST_CHECKPOINT_FILE}.\n"
        + (what_next or f"Continue with: octopi train {shell_override('resume', folder)}"),
    )
