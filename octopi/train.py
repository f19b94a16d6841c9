"""Train a network on the targets of a copick project and keep the best, ready to use.

Run it as `octopi train model=unet loss=tversky` or `python -m octopi.train …`.
"""

import dataclasses
import functools
import logging
import signal
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn

from octopi import checkpoint, job, provenance
from octopi.checkpoint import Recipe
from octopi.config import TrainSettings, build, partial_of
from octopi.data.datamodule import TomogramDataModule
from octopi.devices import training_precision
from octopi.errors import DataError, SettingError
from octopi.evaluation.calibration import calibrate
from octopi.geometry import Points
from octopi.inference.predictor import segmentation_of
from octopi.models import check_size, size_divisor
from octopi.project import (
    PicksQuery,
    Project,
    Run,
    SegmentationQuery,
    TomogramQuery,
    find_tomograms,
)
from octopi.training.callbacks import BestModel, CleanStop, History, LastCheckpoint
from octopi.training.curves import draw_curves
from octopi.training.metrics import check_metric
from octopi.training.module import PickingModule, Stages

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Facts:
    """What only the data knows.

    Args:
        runs: those that hold the target.
        target: the label volumes.
        tomograms: type and spacing of what is trained on, the one validated on first.
        labels: object name -> label.
        picks: object name -> the picks its spheres were painted from.
        radii: particle name -> radius in Å.
        weights: particle name -> weight in the total score.
    """

    runs: list[Run]
    target: SegmentationQuery
    tomograms: list[TomogramQuery]
    labels: dict[str, int]
    picks: dict[str, PicksQuery]
    radii: dict[str, float]
    weights: dict[str, float]


def train(settings: TrainSettings) -> float | None:
    """The job folder holds the best model; returns what it scored by `best_metric`."""
    folder = job.job_folder()
    quieten()
    refuse_used_folder(folder, settings)
    pl.seed_everything(settings.seed, verbose=False)
    project: Project = build(settings.project, "project")
    facts = gather_facts(project, settings)
    check_metric(settings.best_metric, list(facts.radii))

    net = make_net(settings, facts)
    divisor = size_divisor(net)
    data = make_data(settings, facts, divisor)
    stages = make_stages(settings, facts, divisor)
    # A wrong optimizer setting is found now, not after loading.
    build(settings.optim["optimizer"], "optim.optimizer", params=list(net.parameters()))
    module = PickingModule(
        net,
        loss=build(settings.loss, "loss"),
        optimizer=partial_of(settings.optim["optimizer"], "optim.optimizer"),
        schedule=build(settings.optim["schedule"], "optim.schedule"),
        stages=stages,
        labels=facts.labels,
        best_metric=settings.best_metric,
        steps_per_epoch=data.steps_per_epoch,
        seed=settings.seed,
    )
    tracker = build(settings.logger, "logger") if settings.logger else None
    best = BestModel(BestModelFile(folder, settings, facts, data, divisor))
    trainer: pl.Trainer = build(
        settings.trainer,
        "trainer",
        precision=settings.trainer["precision"]
        or training_precision(settings.trainer["accelerator"]),
        default_root_dir=str(folder),
        logger=tracker or False,
        callbacks=[
            best,  # before weight averaging, see its docstring
            *(build(node, f"callbacks.{name}") for name, node in settings.callbacks.items()),
            History(folder / "results.json", draw=functools.partial(draw_curves, folder)),
            CleanStop(functools.partial(make_stop, folder)),
            LastCheckpoint(folder / "last.ckpt"),
        ],
        enable_checkpointing=True,
    )
    with provenance.tracked(tracker, folder, settings):
        start = check_resume(folder, settings) if settings.resume else None
        provenance.write_yaml(folder / "config.yaml", dataclasses.asdict(settings))
        data.setup()
        record_data(folder, data, resumed=start is not None)
        trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=False)
        finish(trainer, module, data)
    logger.info("Best model (%s): %s", _shown(settings.best_metric, best.best), folder)
    return best.best


def quieten() -> None:
    """Lightning's advertisements and hints about its own insides stay out of the log."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")
    # Crops are cut in this process when num_workers=0, which is often the fastest.
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    # No validation runs is a choice: the training runs are validated at the end.
    warnings.filterwarnings("ignore", message="Total length of `list` across ranks is zero")


def refuse_used_folder(folder: Path, settings: TrainSettings) -> None:
    """Raise SettingError if the folder holds another training."""
    if not settings.resume and (folder / "last.ckpt").exists():
        raise SettingError(
            f"{folder} already holds a training. Continue it with resume={folder}, or choose "
            "another folder with hydra.run.dir=…"
        )


def _shown(name: str, value: float | None) -> str:
    return f"{name} n/a" if value is None else f"{name} {value:.4f}"


def gather_facts(project: Project, settings: TrainSettings) -> Facts:
    """What the project says of the target, or an error that says what is missing."""
    target = SegmentationQuery.parse(settings.target)
    wanted = (target.name, target.user_id, target.session_id)
    runs = [
        run
        for run in project.select(settings.runs)
        if settings.runs is not None
        or any((q.name, q.user_id, q.session_id) == wanted for q in run.segmentations())
    ]
    if not runs:
        raise DataError(f"No run has the target {target}. Make it: octopi create_targets.")
    attributes = runs[0].segmentation_attributes(target)
    if "labels" not in attributes:
        raise DataError(
            f"The target {target} of run {runs[0].name} does not say which label is which object. "
            "Make it with octopi create_targets."
        )
    labels = dict(attributes["labels"])
    picks = {name: PicksQuery.parse(text) for name, text in attributes["picks"].items()}
    known = {name: project.objects[name] for name in picks if name in project.objects}
    return Facts(
        runs=runs,
        target=target,
        tomograms=tomograms_to_train_on(runs[0], settings),
        labels=labels,
        picks=picks,
        radii={name: obj.radius for name, obj in known.items() if obj.radius is not None},
        weights={n: 1.0 if obj.weight is None else obj.weight for n, obj in known.items()},
    )


def tomograms_to_train_on(run: Run, settings: TrainSettings) -> list[TomogramQuery]:
    """The tomogram types and spacings asked for; several must be asked for by name."""
    spacings = settings.voxel_spacing
    spacings = spacings if isinstance(spacings, list) else [spacings]
    found = [
        query
        for spacing in spacings
        for query in find_tomograms(run, tomo_types=settings.tomo_types, voxel_spacing=spacing)
    ]
    if settings.tomo_types is None and len(found) > len(spacings):
        types = ", ".join(q.tomo_type for q in found)
        raise SettingError(
            f"Run {run.name} has several tomogram types: {types}. Say which to train on, the one "
            "to validate on first: 'tomo_types=[…]'."
        )
    return found


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
    held = {run.name: set(run.picks()) for run in facts.runs}

    def truth(run: Run) -> Mapping[str, Points]:
        return {
            name: run.read_picks(query)
            for name, query in facts.picks.items()
            if query in held[run.name]
        }

    return build(
        settings.data,
        "data",
        runs=facts.runs,
        target=facts.target,
        tomograms=facts.tomograms,
        labels=facts.labels,
        augment=build(settings.augment, "augment") if settings.augment else None,
        truth=truth,
    )


def make_stages(settings: TrainSettings, facts: Facts, divisor: int) -> Stages:
    """The commands' own predictor, localizer and scorer, for validation."""
    predictor = build(settings.predictor, "predictor")
    predictor.check(divisor)
    localizer = build(settings.localizer, "localizer")
    scorer = build(settings.scorer, "scorer")
    channels = [facts.labels[name] - 1 for name in facts.radii]

    def score(picks: Any, truth: Any) -> dict[str, float | None]:
        report = scorer(picks, truth, radii=facts.radii, weights=facts.weights)
        return object_metrics(report)

    return Stages(
        predict=lambda net, volume: predictor([net], volume, divisor=divisor),
        segment=segmentation_of,
        localize=lambda scores, grid: localizer(scores[channels], grid=grid, radii=facts.radii),
        calibrate=functools.partial(
            calibrate,
            radii=facts.radii,
            tolerance_scale=scorer.tolerance_scale,
            beta=settings.calibrate_beta,
        ),
        score=score,
    )


def object_metrics(report: Any) -> dict[str, float | None]:
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

    def __call__(
        self, weights: dict[str, Tensor], thresholds: dict[str, float], metrics: dict[str, float]
    ) -> None:
        """Both files hold these weights."""
        recipe = self.recipe(thresholds, metrics)
        checkpoint.save(self.folder / "best_model.pth", weights, recipe)
        provenance.write_yaml(self.folder / "model_config.yaml", dataclasses.asdict(recipe))

    def recipe(self, thresholds: dict[str, float], metrics: dict[str, float]) -> Recipe:
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
            thresholds=thresholds,
            metrics=metrics,
            provenance=provenance.plain(
                {
                    "versions": provenance.versions(),
                    "commit": provenance.git_commit(),
                    "split": dataclasses.asdict(data.split),
                    "data_fingerprint": data.fingerprint(),
                    "seed": settings.seed,
                }
            ),
        )


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
    if not last.is_file():
        raise SettingError(f"There is nothing to resume in {folder}: it has no last.ckpt.")
    before = provenance.read_yaml(folder / "config.yaml")
    now = provenance.plain(dataclasses.asdict(settings))
    free = {"resume", "trainer.max_epochs", "trainer.max_time", "trainer.enable_progress_bar"}
    changed = [key for key in provenance.differences(before, now) if key not in free]
    if changed:
        raise SettingError(
            f"{', '.join(changed)} differ from what {folder} began with. A resumed training keeps "
            "its settings; to change them start anew with init_from=best_model.pth."
        )
    return str(last)


def make_stop(folder: Path, number: int, epoch: int) -> job.Stopped:
    """The end of a job that a signal asked for."""
    return job.Stopped(
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


main = job.command("train", train)

if __name__ == "__main__":
    main()
