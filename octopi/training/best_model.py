"""Write the best model of a training and what is needed to use it."""

import dataclasses
import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from octopi.config.settings import TrainSettings
from octopi.data.datamodule import TomogramDataModule
from octopi.errors import OctopiError
from octopi.evaluation.candidates_file import read_candidates, write_candidates
from octopi.models import checkpoint
from octopi.models.checkpoint_info import CheckpointInfo
from octopi.models.net_output import NetOutput
from octopi.models.soup import INITIAL_WEIGHTS_KEY
from octopi.system.files import to_builtin_types, write_yaml
from octopi.system.job_folder import BEST_MODEL_FILE, CANDIDATES_FILE, MODEL_CONFIG_FILE
from octopi.system.versions import git_commit, versions
from octopi.training.dataset_info import DatasetInfo
from octopi.training.module import PickingModule

logger = logging.getLogger(__name__)

STATE = ("best", "best_epoch", "metrics", "annotated_share")  # that a resumed training needs


@dataclasses.dataclass(eq=False)
class SaveBestModel(Callback):
    """Saves the weights that validated best, what is needed to use them, and their candidates.

    It must come before weight averaging in the list of callbacks, so that it saves the weights that
    were validated. Without validation runs it saves the latest.

    Args:
        folder: of the training.
        settings: of the training.
        info: of the dataset.
        data: that is trained on.
        divisor: voxels of which every edge of the network's input is a multiple.
        net_output: what the network's logits mean.
    """

    folder: Path
    settings: TrainSettings
    info: DatasetInfo
    data: TomogramDataModule
    divisor: int
    net_output: NetOutput
    best: float | None = dataclasses.field(default=None, init=False)
    best_epoch: int | None = dataclasses.field(default=None, init=False)
    metrics: dict[str, float | None] = dataclasses.field(default_factory=dict, init=False)
    annotated_share: dict[str, list[float]] = dataclasses.field(default_factory=dict, init=False)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copy the weights that were just validated, averaged or not."""
        assert isinstance(pl_module, PickingModule)
        self._weights = {k: v.detach().clone() for k, v in pl_module.net.state_dict().items()}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the copied weights if they are the best so far."""
        assert isinstance(pl_module, PickingModule)
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        value = pl_module.best_value
        if value is None:
            logger.warning(
                "%s is n/a in this validation: the model is saved as the latest, not as the best.",
                pl_module.best_metric,
            )
        if self.best is None or (value is not None and value > self.best):
            self.best, self.best_epoch = value, trainer.current_epoch
            self.metrics = dict(pl_module.metrics)
            self.annotated_share = pl_module.calibration.shares
            write_candidates(self.folder / CANDIDATES_FILE, pl_module.candidates)
            write_model(self.folder, self._weights, self.checkpoint_info(pl_module))
            if value is not None:
                logger.info(
                    "epoch %d: best %s %.4f", trainer.current_epoch, pl_module.best_metric, value
                )
        self._weights = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed training needs."""
        return {name: getattr(self, name) for name in STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a training; forget a best model that cannot be read any more."""
        was_saved = state_dict["best_epoch"] is not None  # which the first validation does
        if was_saved and (problem := self.find_problem()):
            logger.warning(
                "The best model so far is lost. %s The next validation writes a new one.", problem
            )
            return
        for name in STATE:
            setattr(self, name, state_dict[name])

    def find_problem(self) -> str | None:
        """Return why the written files cannot be read; None if they can."""
        try:
            checkpoint.read(self.folder / BEST_MODEL_FILE)
            read_candidates(self.folder / CANDIDATES_FILE)
        except (OctopiError, OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            return str(error)
        return None

    def checkpoint_info(self, module: PickingModule) -> CheckpointInfo:
        """Return the checkpoint info of the weights."""
        settings, info, data = self.settings, self.info, self.data
        calibration = module.calibration
        assert data.split is not None
        return CheckpointInfo(
            net={**settings.model, "out_channels": len(self.net_output.channels(info.labels))},
            labels=info.labels,
            radii=info.radii,
            weights=info.weights,
            voxel_spacing=info.tomograms[0].voxel_spacing,
            working_spacing=settings.data["working_spacing"],
            tomo_types=list(dict.fromkeys(q.tomo_type for q in info.tomograms)),
            size_divisor=self.divisor,
            predictor=settings.predictor,
            localizer=settings.localizer,
            thresholds=calibration.thresholds,
            chances=calibration.chances,
            annotated_share=calibration.shares,
            beta=settings.threshold_beta,
            net_output=self.net_output,
            metrics={name: value for name, value in module.metrics.items() if value is not None},
            provenance=to_builtin_types(
                {
                    "versions": versions(),
                    "commit": git_commit(),
                    "split": dataclasses.asdict(data.split),
                    "data_fingerprint": data.fingerprint(),
                    "seed": settings.seed,
                    INITIAL_WEIGHTS_KEY: module.initial_weights,
                }
            ),
        )


def write_model(folder: Path, weights: Mapping[str, Tensor], info: CheckpointInfo) -> None:
    """Write `best_model.pth` and its readable copy, `model_config.yaml`."""
    checkpoint.save(folder / BEST_MODEL_FILE, weights, info)
    write_yaml(folder / MODEL_CONFIG_FILE, dataclasses.asdict(info))
