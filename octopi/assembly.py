"""What a training is made of: net, data, stages, and the file it ends in."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from octopi import checkpoint, machine, provenance
from octopi.checkpoint import Recipe
from octopi.config import build
from octopi.data.datamodule import TomogramDataModule
from octopi.devices import choose_device_type
from octopi.errors import ResourceError
from octopi.evaluation.calibration import calibrate_all_betas
from octopi.evaluation.report import Report
from octopi.facts import Facts
from octopi.inference.predictor import segmentation_of
from octopi.models import COSTS, check_size, step_memory
from octopi.scored import Picks, write_candidates
from octopi.settings import TrainSettings
from octopi.training.metrics import check_metric
from octopi.training.module import PickingModule, Stages, Thresholds

logger = logging.getLogger(__name__)

BETAS = (0.5, 1.0, 2.0, 4.0)  # operating points that every checkpoint has thresholds for


def check_objectives(settings: TrainSettings, object_names: list[str]) -> None:
    """Raise SettingError unless the best metric and every objective exist."""
    check_metric(settings.best_metric, object_names)
    for name in settings.objectives:
        if name not in COSTS:
            check_metric(name, object_names)


def make_net(settings: TrainSettings, facts: Facts) -> nn.Module:
    """The network, with another training's weights where `init_from` names one."""
    net: nn.Module = build(settings.model, "model", out_channels=len(facts.labels) + 1)
    if settings.init_from:
        weights, recipe = checkpoint.read(settings.init_from)
        left = checkpoint.adopt(net, weights)
        logger.info(
            "init_from %s: %s are new (its objects: %s), the rest is taken over.",
            settings.init_from,
            ", ".join(left) or "no weights",
            ", ".join(recipe.object_names),
        )
    return net


def make_data(settings: TrainSettings, facts: Facts, divisor: int) -> TomogramDataModule:
    """The data module; nothing is read yet."""
    check_size(settings.data["crop_size"], divisor=divisor, key="data.crop_size")
    return build(
        settings.data,
        "data",
        runs=facts.runs,
        target=facts.target,
        tomograms=facts.tomograms,
        labels=facts.labels,
        augment=build(settings.augment, "augment") if settings.augment else None,
        truth=facts.truth,
    )


def check_memory(net: nn.Module, settings: TrainSettings) -> None:
    """Raise ResourceError if not even a step's activations fit into the device that trains."""
    crops, size = settings.data["crops_per_step"], settings.data["crop_size"]
    needed = crops * step_memory(net, size)
    on_gpu = choose_device_type(settings.trainer["accelerator"]) == "cuda"
    free = torch.cuda.get_device_properties(0).total_memory if on_gpu else machine.memory()
    if needed > free:
        raise ResourceError(
            f"A step of {crops} crops of {list(size)} voxels needs more than {needed / 1e9:.0f} GB "
            f"for this network; {'the GPU has' if on_gpu else 'free are'} {free / 1e9:.0f} GB. "
            "Choose fewer data.crops_per_step, a smaller data.crop_size or a smaller network."
        )


def make_stages(settings: TrainSettings, facts: Facts, divisor: int) -> Stages:
    """The commands' own predictor, localizer and scorer, for validation."""
    predictor = build(settings.predictor, "predictor")
    predictor.check(divisor)
    localizer = build(settings.localizer, "localizer")
    scorer = build(settings.scorer, "scorer")
    channels = [facts.labels[name] - 1 for name in facts.radii]

    def calibrate_all(candidates: Picks, truth: Picks) -> Thresholds:
        betas = dict.fromkeys([*BETAS, float(settings.calibrate_beta)])
        cuts = calibrate_all_betas(
            candidates,
            truth,
            radii=facts.radii,
            weights=facts.weights,
            tolerance_scale=scorer.tolerance_scale,
            betas=betas,
        )
        return {f"{beta:g}": held for beta, held in cuts.items()}

    def score(picks: Any, truth: Any) -> dict[str, float | None]:
        report = scorer(picks, truth, radii=facts.radii, weights=facts.weights)
        return object_metrics(report)

    return Stages(
        predict=lambda net, volume: predictor([net], volume, divisor=divisor),
        segment=segmentation_of,
        localize=lambda scores, grid: localizer(scores[channels], grid=grid, radii=facts.radii),
        calibrate=calibrate_all,
        beta=settings.calibrate_beta,
        score=score,
    )


def object_metrics(report: Report) -> dict[str, float | None]:
    """The scorer's report as metrics by name."""
    out: dict[str, float | None] = {"object_fbeta": report.total, "object_f1": report.mean_f1}
    for statistic in ("recall", "precision"):
        values = [getattr(s, statistic) for s in report.scores.values()]
        present = [v for v in values if v is not None]
        out[f"object_{statistic}"] = sum(present) / len(present) if present else None
    for name, score in report.scores.items():
        for statistic in ("fbeta", "f1", "recall", "precision"):
            out[f"object_{statistic}_{name}"] = getattr(score, statistic)
    return out


@dataclasses.dataclass(frozen=True)
class BestModelFile:
    """Writes `best_model.pth` and its readable copy: weights and all that goes with them."""

    folder: Path
    settings: TrainSettings
    facts: Facts
    data: TomogramDataModule
    divisor: int

    def __call__(self, weights: dict[str, Tensor], module: PickingModule) -> None:
        """The files hold these weights, and the candidates they found in validation."""
        recipe = self.recipe(module)
        write_candidates(self.folder / "candidates.npz", module.candidates)
        write_model(self.folder, weights, recipe)

    def recipe(self, module: PickingModule) -> Recipe:
        """What must be known to use the weights."""
        settings, facts, data = self.settings, self.facts, self.data
        assert data.split is not None
        return Recipe(
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
            beta=settings.calibrate_beta,
            metrics={name: value for name, value in module.measured.items() if value is not None},
            provenance=provenance.plain(
                {
                    "versions": provenance.versions(),
                    "commit": provenance.git_commit(),
                    "split": dataclasses.asdict(data.split),
                    "data_fingerprint": data.fingerprint(),
                    "seed": settings.seed,
                    checkpoint.INITIAL: module.initial_weights,
                }
            ),
        )


def write_model(folder: Path, weights: Mapping[str, Tensor], recipe: Recipe) -> None:
    """`best_model.pth` and its readable copy are in the folder."""
    checkpoint.save(folder / "best_model.pth", weights, recipe)
    provenance.write_yaml(folder / "model_config.yaml", dataclasses.asdict(recipe))
