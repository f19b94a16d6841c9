"""Write the best model of a training and what is needed to use it."""

import dataclasses
import zipfile
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from octopi.config.settings import TrainSettings
from octopi.data.datamodule import TomogramDataModule
from octopi.errors import OctopiError
from octopi.evaluation.candidates import read_candidates, write_candidates
from octopi.models import checkpoint
from octopi.models.checkpoint_info import CheckpointInfo
from octopi.models.net_output import NetOutput
from octopi.models.soup import INITIAL_WEIGHTS_KEY
from octopi.system.files import to_builtin_types, write_yaml
from octopi.system.job_folder import BEST_MODEL_FILE, CANDIDATES_FILE, MODEL_CONFIG_FILE
from octopi.system.versions import git_commit, versions
from octopi.training.dataset_info import DatasetInfo
from octopi.training.module import PickingModule


@dataclasses.dataclass(frozen=True)
class BestModelWriter:
    """Writes `best_model.pth`, its readable copy, and the candidates of its validation.

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

    def __call__(self, weights: dict[str, Tensor], module: PickingModule) -> None:
        """Write the weights and the candidates of their validation."""
        write_candidates(self.folder / CANDIDATES_FILE, module.candidates)
        write_model(self.folder, weights, self.checkpoint_info(module))

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
            net={
                **settings.model,
                "out_channels": self.net_output.num_channels(len(info.labels)),
            },
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
