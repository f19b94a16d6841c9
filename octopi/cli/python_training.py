"""Translate the arguments of a training or search called from Python into overrides."""

import inspect
import logging
from collections.abc import Mapping
from typing import Any

from torch import nn

from octopi.arguments import TARGET
from octopi.cli.python_api import (
    Config,
    OneOrMoreNames,
    QueryTriple,
    as_name_list,
    config_paths,
    query_text,
    resolve_choice,
)
from octopi.config.build import build
from octopi.config.overrides import override_text, override_texts
from octopi.config.settings import TrainSettings
from octopi.errors import SettingError
from octopi.stored_parts import dotted_name
from octopi.system.files import to_builtin_types
from octopi.training.dataset_info import DatasetInfo, read_dataset_info

logger = logging.getLogger(__name__)


def training_overrides(
    config: Config,
    target: QueryTriple,
    tomo_algorithm: OneOrMoreNames,
    voxel_size: Any,
    best_metric: str,
) -> list[str]:
    """Return the overrides by which a training or search finds its data."""
    return override_texts(
        {
            "project.config": config_paths(config),
            "target": query_text(target, "target_info"),
            "tomo_types": as_name_list(tomo_algorithm),
            "voxel_spacing": voxel_size,
            "best_metric": best_metric,
        }
    )


def run_selection_overrides(
    train: OneOrMoreNames, validation: OneOrMoreNames, *, info: DatasetInfo
) -> list[str]:
    """Return overrides for training and validation runs.

    Where only the training runs are named, the others validate. Where only the validation runs are
    named, the training takes the others itself.
    """
    train, validation = as_name_list(train), as_name_list(validation)
    if train is not None and validation is None:
        validation = [run.name for run in info.runs if run.name not in train]
    selections = {"data.train_runs": train, "data.validation_runs": validation}
    return override_texts({key: names for key, names in selections.items() if names is not None})


def model_overrides(model_config: Mapping[str, Any]) -> list[str]:
    """Return the overrides that choose a network, its arguments and the crops it trains on.

    Args:
        model_config: as `octopi.workflows.train` takes it.
    """
    arguments = {k: v for k, v in model_config.items() if k != "num_classes"}
    architecture, target = arguments.pop("architecture", None), arguments.pop(TARGET, None)
    if (architecture is None) == (target is None):
        raise SettingError(
            "model_config needs one of 'architecture' (as in 'Unet') and '_target_' (a class of "
            "your own, as in 'my_package.MyNet')."
        )
    if architecture is None:
        chosen = override_text(f"model.{TARGET}", target)
    else:
        chosen = f"model={resolve_choice('model', architecture, 'architecture')}"
    edges = arguments.pop("dim_in", None)
    crop_size = [edges] * 3 if isinstance(edges, int) else edges
    return [
        chosen,
        *override_texts({f"++model.{key}": value for key, value in arguments.items()}),
        *override_texts({"data.crop_size": crop_size} if crop_size else {}),
    ]


def describe_loss(loss: nn.Module) -> dict[str, Any]:
    """Return the node that describes a loss: its class, and the arguments that it exposes."""
    parameters = inspect.signature(type(loss)).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    values = {name: to_builtin_types(getattr(loss, name)) for name in names if hasattr(loss, name)}
    arguments = {name: value for name, value in values.items() if _is_plain(value)}
    if missing := [name for name in names if name not in arguments]:
        logger.warning(
            "%s does not expose its %s: config.yaml cannot record it.",
            type(loss).__name__,
            ", ".join(missing),
        )
    return {TARGET: dotted_name(type(loss)), **arguments}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)


def read_target_info(settings: TrainSettings, num_classes: int | None) -> DatasetInfo:
    """Read what a project says of a training's target; warn of another number of classes.

    Args:
        settings: of the training.
        num_classes: as the caller counts them, with the background; None = not counted.
    """
    info = read_dataset_info(build(settings.project, "project"), settings)
    num_target_classes = len(info.labels) + 1
    if num_classes not in (None, num_target_classes):
        logger.warning(
            "%s classes were asked for, but the target %s has %d with the background: the network "
            "has %d (%s).",
            num_classes,
            settings.target,
            num_target_classes,
            num_target_classes,
            ", ".join(info.labels),
        )
    return info
