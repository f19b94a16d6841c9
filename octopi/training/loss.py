"""Build the loss of a training, with weights by object name, for the targets that it is given."""

import logging
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from octopi.arguments import TARGET, parameters_of
from octopi.config.build import build
from octopi.config.nodes import import_target
from octopi.errors import SettingError, did_you_mean, shorten_list

logger = logging.getLogger(__name__)

Loss = Callable[[Tensor, Tensor], Tensor]  # (logits, target) -> a number
FREQUENCY = "frequency"  # a value of loss.weights
BACKGROUND_WEIGHT = 1.0  # and that of objects which loss.weights does not name


class ClassIndexLoss(nn.Module):
    """A loss of torch that takes classes by their index, (b, z, y, x), without a channel.

    Args:
        loss: `torch.nn.CrossEntropyLoss` or one alike.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss for labels (b, 1, z, y, x)."""
        return self.loss(logits, target[:, 0].long())


def build_loss(
    node: Mapping[str, Any],
    labels: Mapping[str, int],
    volumes: Callable[[], Mapping[str, float]] = dict,
) -> Loss:
    """Build the loss that `loss` describes.

    Args:
        node: of the config; `weights` maps names of objects to weights, or is `frequency`.
        labels: object name -> label.
        volumes: reads the volume of all particles of each object, for weights by frequency.

    Raises:
        SettingError: a weight is of an unknown object, or the loss takes no weights.
    """
    target = import_target(str(node[TARGET]), "loss")
    weights = None if "weights" in parameters_of(target) else node.get("weights")
    if weights == FREQUENCY:
        weights = frequency_weights(volumes())
        logger.info("Weights of the objects in the loss: %s.", _describe_weights(weights))
    if not weights:
        return adapt_loss(build(node, "loss"))
    if unknown := sorted(weights.keys() - labels.keys()):
        raise SettingError(
            f"loss.weights names {unknown[0]}.{did_you_mean(unknown[0], labels)} "
            f"Objects: {shorten_list(labels, closest_to=unknown[0])}."
        )
    if "weight" not in parameters_of(target):
        raise SettingError(
            f"loss.weights: {node[TARGET]} has no parameter weight, a tensor with a number for "
            "each class. Choose a loss that has one, as loss=tversky_ce, focal_tversky, dice_ce or "
            "focal, or give yours one."
        )
    if node.get("weight") is not None:
        raise SettingError("loss.weight and loss.weights say the same: leave one of them out.")
    return adapt_loss(build(node, "loss", weight=class_weights(weights, labels, target, node)))


def frequency_weights(volumes: Mapping[str, float]) -> dict[str, float]:
    """Return weights that let each object count alike: the median volume over its own.

    Source: median frequency balancing of Eigen and Fergus 2015, arXiv:1411.4734, among objects.

    Args:
        volumes: object name -> volume of all its particles; 0 where there are none.
    """
    present = {name: volume for name, volume in volumes.items() if volume > 0}
    if not present:
        return {}
    median = statistics.median(present.values())
    return {name: median / volume for name, volume in present.items()}


def _describe_weights(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {weight:.3g}" for name, weight in weights.items()) or "all 1"


def class_weights(
    weights: Mapping[str, float], labels: Mapping[str, int], target: Any, node: Mapping[str, Any]
) -> Tensor:
    """Return the weight of each class in the order that a loss wants them, background first.

    Args:
        weights: object name -> weight.
        labels: object name -> label.
        target: the class of the loss.
        node: its arguments; MONAI's `include_background` says whether background is a class.
    """
    by_class = torch.full((max(labels.values()) + 1,), BACKGROUND_WEIGHT)
    for name, weight in weights.items():
        by_class[labels[name]] = weight
    background = parameters_of(target).get("include_background")
    is_included = node.get("include_background", background is None or background.default)
    takes_all = is_included or target.__name__ == "DiceCELoss"  # which leaves it out by itself
    return by_class if takes_all else by_class[1:]


def adapt_loss(loss: Loss) -> Loss:
    """Return a loss that takes labels (b, 1, z, y, x), whatever torch's own loss takes."""
    is_of_indices = isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss | nn.MultiMarginLoss)
    return ClassIndexLoss(loss) if is_of_indices else loss
