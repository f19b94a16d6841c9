"""The sections of the config: what each may build, and with which arguments."""

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from octopi.config.settings import Count, Duration, NotNegative, Spacing


@dataclass(frozen=True)
class Section:
    """What a section of the config may build.

    Args:
        allowed_base: dotted name of the class that a target must derive from or, for functions, the
            target itself.
        passed_at_build: the arguments that the command passes at build, so that YAML need not.
        limits: argument -> an annotation narrower than that of the class.
        several: whether it holds named targets, of which null leaves one out.
    """

    allowed_base: str
    passed_at_build: tuple[str, ...] = ()
    limits: Mapping[str, Any] = field(default_factory=dict)
    several: bool = False


# Whose classes a config from a file may name; others are imported only where the user trusts them.
LIBRARIES = ("octopi", "monai", "torch", "pytorch_lightning", "optuna")

# batches, or a part of them; with none nothing would be trained, or validated and kept
_Part = typing.Annotated[int, Field(ge=1)] | typing.Annotated[float, Field(gt=0, le=1)]


class _TrainerLimits:
    """Values that make sense; Lightning accepts more, or refuses others only while it trains."""

    max_epochs: Count
    max_time: Duration | None
    devices: Count | list[int] | typing.Literal["auto", -1]
    check_val_every_n_epoch: Count
    log_every_n_steps: Count
    accumulate_grad_batches: Count
    gradient_clip_val: NotNegative | None
    accelerator: str
    limit_train_batches: _Part | None
    limit_val_batches: _Part | None
    overfit_batches: NotNegative
    val_check_interval: _Part | None
    min_epochs: Count | None
    min_steps: Count | None
    max_steps: Count | typing.Literal[-1]
    num_nodes: Count
    num_sanity_val_steps: typing.Annotated[int, Field(ge=-1)]


SECTIONS = {
    "project": Section("octopi.project.open_project|octopi.phantom.make_phantom"),
    "data": Section(
        "octopi.data.datamodule.build_data_module",
        ("runs", "target", "tomograms", "labels", "augment", "truth"),
        {"working_spacing": Spacing | None},
    ),
    "augment": Section("octopi.data.augment", several=True),
    "model": Section("torch.nn.Module", ("out_channels",)),
    "loss": Section("torch.nn.Module"),
    "optim.optimizer": Section("torch.optim.Optimizer", ("params",)),
    "optim.lr_scheduler": Section(
        "octopi.training.schedule.Schedule|torch.optim.lr_scheduler.LRScheduler", ("optimizer",)
    ),
    "trainer": Section(
        "pytorch_lightning.Trainer",
        ("callbacks", "logger", "default_root_dir", "precision"),
        typing.get_type_hints(_TrainerLimits, include_extras=True),
    ),
    # A pruner is an argument of the callback that a sweep adds to its trials.
    "callbacks": Section("pytorch_lightning.Callback|optuna.pruners.BasePruner", several=True),
    "logger": Section("pytorch_lightning.loggers.Logger"),
    "pruner": Section("optuna.pruners.BasePruner"),
    "predictor": Section("octopi.inference.predictor.Predictor"),
    "localizer": Section("octopi.localization.localizer.Localizer"),
    "scorer": Section("octopi.evaluation.scores.Scorer"),
    "format": Section("octopi.formats.base.Format"),
}


def node_at(config: Mapping[str, Any], path: str) -> Any:
    """Return what a config has at a dotted path; None if it lacks that."""
    node: Any = config
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node
