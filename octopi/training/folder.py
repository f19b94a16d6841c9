"""The folder of a training: lock and check it, write its settings and its outcome."""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import nn

from octopi.config.overrides import shell_override
from octopi.config.settings import TrainSettings
from octopi.data.datamodule import TomogramDataModule
from octopi.errors import DataError, OctopiError, ResourceError, SettingError, shorten_list
from octopi.models import checkpoint
from octopi.system import locks, ranks, slurm
from octopi.system.files import (
    differing_values,
    read_json,
    to_builtin_types,
    write_json,
    write_yaml,
)
from octopi.system.job_folder import (
    BEST_MODEL_FILE,
    CONFIG_FILE,
    DATA_FILE,
    LAST_CHECKPOINT_FILE,
    LIMITS,
    OUTCOME_FILE,
    TRAINING_OUTPUTS,
    Job,
    changed_settings,
    check_holds_no_others,
    has_training,
    read_training_config,
)
from octopi.system.passwords import mask_passwords
from octopi.tracking import mlflow
from octopi.tracking.buffered_logger import make_tracker
from octopi.training import ddp
from octopi.training.dataset_info import DatasetInfo

logger = logging.getLogger(__name__)

AUTO = "auto"  # value of `resume`: begin, or go on where the folder holds a training
# Keys that Lightning needs in a checkpoint to resume from it.
REQUIRED_STATE = {"state_dict", "epoch", "global_step", "loops", "callbacks", "optimizer_states"}


@contextlib.contextmanager
def training_folder(job: Job, settings: TrainSettings) -> Iterator["TrainingFolder"]:
    """Lock the folder of a training, refuse another training's, and open it.

    Before the checks have passed nothing but the lock is written there. Of several ranks the first
    locks the folder and writes its files.

    Raises:
        LockedError: another process trains there.
        SettingError: another training's folder, or nothing to resume.
    """
    if ranks.is_secondary():
        if ranks.num_tasks() == 1:  # else its folder may have another time in its name
            job.open_folder()
        ddp.start_together()
        yield TrainingFolder(job.folder, resumes=resumes(job.folder, settings), writes=False)
        return
    with contextlib.ExitStack() as lock:
        try:
            check_folder(job.folder, settings)  # a refused command leaves nothing, not even a lock
            lock.enter_context(locks.lock_folder(job.folder))
            _check_used(job.folder, settings)
            job.open_folder()
        except OctopiError as error:
            with contextlib.suppress(ResourceError):  # the other ranks failed too
                ddp.start_together(error)
            raise
        is_resumed = resumes(job.folder, settings)
        ddp.start_together()
        if is_resumed:
            logger.info("The training in %s goes on.", job.folder)
        yield TrainingFolder(job.folder, resumes=is_resumed)


def resumes(folder: Path, settings: TrainSettings) -> bool:
    """Return whether the training that the folder holds goes on.

    With `resume=auto`, and in a job that SLURM has started again, it does where there is one.
    """
    if settings.resume == AUTO or (settings.resume is None and slurm.is_restarted()):
        return has_training(folder)
    return settings.resume is not None


def check_folder(folder: Path, settings: TrainSettings) -> None:
    """Raise LockedError or SettingError where a training there, or its logger, would be refused."""
    locks.check_not_locked(folder)
    _check_used(folder, settings)
    mlflow.check_store(settings.logger)


def _check_used(folder: Path, settings: TrainSettings) -> None:
    """Raise SettingError unless the folder is unused, or is that of the training to resume."""
    if resumes(folder, settings):
        check_resume(folder, settings)
    elif has_training(folder):
        raise SettingError(
            f"{folder} already holds a training. Continue it with "
            f"{shell_override('resume', folder)}, or choose another folder with "
            "hydra.run.dir=… (model_save_path in Python). In a job script type resume=auto."
        )
    else:
        check_holds_no_others(folder, TRAINING_OUTPUTS)


def check_resume(folder: Path, settings: TrainSettings) -> None:
    """Raise SettingError unless there is a training to resume and its settings are the same."""
    if not settings.trains_all_folds and not (folder / LAST_CHECKPOINT_FILE).is_file():
        raise SettingError(
            f"There is nothing to resume in {folder}: it has no {LAST_CHECKPOINT_FILE}."
        )
    before = read_training_config(folder)
    if changed := changed_settings(mask_passwords(before), _storable(settings), may_change=LIMITS):
        raise SettingError(
            f"{shorten_list(changed)} differ from what {folder} began with. A resumed training "
            f"keeps its settings; to change them start anew with init_from={BEST_MODEL_FILE}."
        )


@dataclasses.dataclass
class TrainingFolder:
    """The folder of a training that this process may write into.

    Args:
        path: of the folder.
        resumes: whether the training that it holds goes on.
        writes: False where another process writes its files; then nothing is written.
        state: "complete", or how else the training ended, such as "pruned".
        cost: steps and CPU-seconds, by name.
        tags: of the tracker's run.
        start_time: of the training, in seconds of the monotonic clock.
    """

    path: Path
    resumes: bool
    writes: bool = True
    state: str = "complete"
    cost: dict[str, float] = dataclasses.field(default_factory=dict)
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    start_time: float = dataclasses.field(default_factory=time.monotonic)

    def write_config(self, settings: TrainSettings) -> None:
        """Write the settings, from which the training can be resumed and repeated."""
        if self.writes:
            write_yaml(self.path / CONFIG_FILE, _storable(settings))

    def read_checkpoint(self, module: nn.Module, callbacks: Sequence[pl.Callback]) -> Path:
        """Return the checkpoint to resume from after a check; run nothing in it.

        Args:
            module: that the checkpoint must match.
            callbacks: whose states it must hold as they are kept today.

        Raises:
            SettingError: the file is damaged, holds other things than numbers and text, or
                belongs to another network or version of octopi; or the record of the data is.
        """
        if (self.path / DATA_FILE).is_file():
            _read_record(self.path / DATA_FILE)
        path = self.path / LAST_CHECKPOINT_FILE
        cure = (
            "The training cannot be resumed. Start anew in another folder, with "
            f"init_from={self.path / BEST_MODEL_FILE} to keep what was learned."
        )
        state = checkpoint.load_file(path, cure=cure)
        if not isinstance(state, dict) or not state.keys() >= REQUIRED_STATE:
            raise SettingError(f"{path} is not a checkpoint of a training. {cure}")
        shapes = {name: value.shape for name, value in module.state_dict().items()}
        if {name: value.shape for name, value in state["state_dict"].items()} != shapes:
            raise SettingError(f"{path} is the checkpoint of another network. {cure}")
        for callback in callbacks:
            stored = state["callbacks"].get(callback.state_key)
            if stored is not None and not stored.keys() >= callback.state_dict().keys():
                raise SettingError(f"{path} was written by another version of octopi. {cure}")
        return path

    def write_data_record(self, data: TomogramDataModule, info: DatasetInfo) -> None:
        """Write which runs train and validate, and on what data, into `data.json`.

        Raises:
            DataError: a resumed training had other data; it says which.
            SettingError: its record is damaged.
        """
        assert data.split is not None
        if not self.writes:
            return
        path = self.path / DATA_FILE
        record = {
            "split": dataclasses.asdict(data.split),
            "objects": {"labels": info.labels, "radii": info.radii, "weights": info.weights},
            "partial": sorted(info.partial),
            "content": data.content(),
        }
        record = to_builtin_types(record)
        if self.resumes and path.is_file() and (before := _read_record(path)) != record:
            changed = shorten_list(differing_values(before, record))
            raise DataError(
                f"The data has changed since {self.path} began: {changed}. Restore it, or start "
                f"anew, with init_from={BEST_MODEL_FILE} to keep what was learned."
            )
        write_json(path, record)
        logger.info(
            "Training on %s; validating on %s.",
            shorten_list(data.split.train),
            shorten_list(data.split.validation) or "none",
        )
        if info.metrics_note:
            logger.info(info.metrics_note)
            self.tags["metrics_note"] = info.metrics_note

    @contextlib.contextmanager
    def tracked(self, settings: TrainSettings) -> Iterator[Any]:
        """Yield the logger that the settings describe, or None; end its run as the training ends.

        Raises:
            Whatever is raised inside.
        """
        tracker = make_tracker(settings.logger, self.path) if self.writes else None
        if tracker is None:
            yield None
            return
        tags: dict[str, str] = {}
        tracker.log_hyperparams(mlflow.storable_keys(_storable(settings)))
        with mlflow.ended_run(
            lambda status: tracker.end(status, tags, mlflow.list_artifacts(self.path))
        ):
            yield tracker
            tags |= {**self.tags, "state": self.state}

    def finish(
        self, settings: TrainSettings, metrics: Mapping[str, float | None]
    ) -> float | tuple[float | None, ...] | None:
        """Write `outcome.json`; return the values of the objectives."""
        values = {name: metrics.get(name) for name in settings.objectives}
        if self.writes:
            seconds = round(time.monotonic() - self.start_time, 1)
            outcome = {"state": self.state, "values": values, "seconds": seconds, **self.cost}
            write_json(self.path / OUTCOME_FILE, outcome)
        best = metrics.get(settings.best_metric)
        shown = "n/a" if best is None else f"{best:.4f}"
        logger.info("Best model, %s %s: %s", settings.best_metric, shown, self.path)
        return next(iter(values.values())) if len(values) == 1 else tuple(values.values())


def _read_record(path: Path) -> Any:
    try:
        return read_json(path)
    except ValueError as error:  # not JSON, or not text
        raise SettingError(
            f"{path} is damaged, so it is not known which data the training began with: {error}. "
            "If the data is the same, delete the file and resume again."
        ) from error


def _storable(settings: TrainSettings) -> dict[str, Any]:
    """Return the settings as they are written, which others may read: without passwords."""
    return mask_passwords(to_builtin_types(dataclasses.asdict(settings)))
