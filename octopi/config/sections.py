"""The sections of the config: what each may build, and with which arguments."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from octopi.ranges import (
    Edges,
    Halo,
    NotNegative,
    NumSides,
    RadiiOrZero,
    Share,
    Spacing,
)


@dataclass(frozen=True)
class Section:
    """What a section of the config may build.

    Args:
        allowed: what a target may be, as dotted names joined by "|": a class (it or a subclass), a
            function (itself alone), or a package (any class defined in it).
        passed_at_build: the arguments that the command passes at build, so that YAML need not.
        limits: argument -> its annotation, for a node that names no class.
        read: the arguments with defaults in code that octopi itself reads: none may be left out.
        several: whether it holds named targets, of which null leaves one out.
        own_arguments: argument -> its annotation, of what octopi applies itself to whatever is
            built; a class with a parameter of that name gets it as it is.
        called_with: what the built object is called with; a class or function of the user that
            can be called so may be built too, whatever it derives from.
    """

    allowed: str
    passed_at_build: tuple[str, ...] = ()
    limits: Mapping[str, Any] = field(default_factory=dict)
    read: tuple[str, ...] = ()
    several: bool = False
    own_arguments: Mapping[str, Any] = field(default_factory=dict)
    called_with: tuple[str, ...] = ()


# Whose classes a config from a file may name; others are imported only where the user trusts them.
LIBRARIES = ("octopi", "monai", "torch", "pytorch_lightning", "optuna")
SECTIONS = {
    "project": Section("octopi.project.open_project|octopi.phantom.make_phantom"),
    "data": Section(
        "octopi.data.datamodule.build_data_module",
        (
            "runs",
            "target",
            "tomograms",
            "labels",
            "augment",
            "sampler",
            "particles_of",
            "numbers_particles",
        ),
        limits={"working_spacing": Spacing | None},
    ),
    "augment": Section(
        "octopi.data.augment|octopi.data.fourier|monai.transforms.transform.RandomizableTransform",
        several=True,
        called_with=("image", "target", "rng"),
    ),
    "mix": Section("octopi.training.mixing.Mix"),
    "sampler": Section("octopi.data.crops.CropChooser", called_with=("runs", "num_crops", "rng")),
    "painter": Section(
        "octopi.training.painters", called_with=("labels", "particles", "radii", "stride")
    ),
    "model": Section("torch.nn.Module", ("out_channels",)),
    "loss": Section(
        "torch.nn.Module",
        own_arguments={"weights": dict[str, NotNegative] | Literal["frequency"] | None},
        called_with=("logits", "target"),
    ),
    "optim.optimizer": Section("torch.optim.Optimizer", ("params",)),
    "optim.lr_scheduler": Section(
        "octopi.training.schedule.Schedule|torch.optim.lr_scheduler.LRScheduler", ("optimizer",)
    ),
    "trainer": Section(
        "pytorch_lightning.Trainer",
        ("callbacks", "logger", "default_root_dir", "precision"),
        read=(
            *("max_epochs", "max_time", "accelerator", "devices", "precision"),
            *("accumulate_grad_batches", "check_val_every_n_epoch", "enable_progress_bar"),
        ),
    ),
    # A pruner is an argument of the callback that a sweep adds to its trials.
    "callbacks": Section("pytorch_lightning.Callback|optuna.pruners.BasePruner", several=True),
    "logger": Section("pytorch_lightning.loggers.Logger"),
    "pruner": Section("optuna.pruners.BasePruner"),
    "predictor": Section(
        "octopi.inference.predictor.Predictor",
        limits={
            "window_size": Edges | None,
            "halo": Halo | None,
            "num_sides": NumSides | None,
        },
    ),
    "localizer": Section(
        "octopi.localization.localizer.Localizer",
        limits={
            "min_distance": RadiiOrZero | None,
            "smoothing": RadiiOrZero | None,
            "min_score": Share | None,
            "centroid_radius": RadiiOrZero | None,
            "min_object_distance": RadiiOrZero | None,
        },
    ),
    "scorer": Section("octopi.evaluation.scores.Scorer"),
    "format": Section("octopi.formats.base.Format"),
}


def node_at(config: Mapping[str, Any], path: str) -> Any:
    """Return what a config has at a dotted path; None if it lacks that."""
    node: Any = config
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node
