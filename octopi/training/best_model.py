"""The file that a training ends in: the best weights and all that goes with them."""

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
        facts: of the project.
        data: that is trained on.
        divisor: voxels of which every edge of the network's input is a multiple.
    """

    folder: Path
    settings: TrainSettings
    facts: DatasetInfo
    data: TomogramDataModule
    divisor: int

    def __call__(self, weights: dict[str, Tensor], module: PickingModule) -> None:
        """Write the weights and the candidates they found in validation."""
        write_candidates(self.folder / CANDIDATES_FILE, module.candidates)
        write_model(self.folder, weights, self.recipe(module))

    def problem(self) -> str | None:
        """Say why the files that are there cannot be read; None if they can."""
        try:
            checkpoint.read(self.folder / BEST_MODEL_FILE)
            read_candidates(self.folder / CANDIDATES_FILE)
        except (OctopiError, OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            return str(error)
        return None

    def recipe(self, module: PickingModule) -> CheckpointInfo:
        """Return what must be known to use the weights."""
        settings, facts, data = self.settings, self.facts, self.data
        assert data.split is not None
        return CheckpointInfo(
            net={**settings.model, "out_channels": len(facts.labels) + 1},
            labels=facts.labels,
            radii=facts.radii,
            weights=facts.weights,
            voxel_spacing=facts.tomograms[0].voxel_spacing,
            working_spacing=settings.data["working_spacing"],
            tomo_types=list(dict.fromkeys(q.tomo_type for q in facts.tomograms)),
            size_divisor=self.divisor,
            predictor=settings.predictor,
            localizer=settings.localizer,
            thresholds=module.thresholds,
            beta=settings.threshold_beta,
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


def write_model(folder: Path, weights: Mapping[str, Tensor], recipe: CheckpointInfo) -> None:
    """Write `best_model.pth` and its readable copy, `model_config.yaml`."""
    checkpoint.save(folder / BEST_MODEL_FILE, weights, recipe)
    write_yaml(folder / MODEL_CONFIG_FILE, dataclasses.asdict(recipe))
