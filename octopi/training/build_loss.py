"""Build the loss of a training, with weights by object name, for the targets that it is given."""

import logging
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from octopi.arguments import TARGET, import_target, parameters_of
from octopi.config.build import build
from octopi.errors import SettingError, did_you_mean, shorten_list
from octopi.losses import TargetForm

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
    form: TargetForm,
    volumes: Callable[[], Mapping[str, float]] = dict,
) -> Loss:
    """Build the loss that `loss` describes.

    Args:
        node: of the config; `weights` maps names of objects to weights, or is `frequency`.
        labels: object name -> label.
        form: of the targets.
        volumes: reads the volume of all particles of each object, for weights by frequency.

    Raises:
        SettingError: a weight is of an unknown object, the loss takes no weights, or it cannot be
            computed from such targets.
    """
    target = import_target(str(node[TARGET]), f"loss={node[TARGET]}")
    node = fit_to_form(node, target, form)
    weights = None if "weights" in parameters_of(target) else node.get("weights")
    if weights == FREQUENCY:
        weights = frequency_weights(volumes())
        text = ", ".join(f"{name} {weight:.3g}" for name, weight in weights.items()) or "all 1"
        logger.info("Weights of the objects in the loss: %s.", text)
    if not weights:
        return adapt_loss(build(node, "loss"), form)
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
    weight = class_weights(weights, labels, target, node, form)
    return adapt_loss(build(node, "loss", weight=weight), form)


def fit_to_form(node: Mapping[str, Any], target: Any, form: TargetForm) -> dict[str, Any]:
    """Return the arguments by which a loss of octopi or MONAI takes targets of a form.

    Args:
        node: of the config, which is for labels.
        target: the class of the loss.
        form: of the targets.

    Raises:
        SettingError: MONAI's loss is of exclusive classes alone.
    """
    parameters = parameters_of(target)
    if form == "labels" or "form" in parameters:
        return {**node, **({"form": form} if "form" in parameters else {})}
    fitted = {"to_onehot_y": False}
    if form == "objects":
        if target.__name__ == "DiceCELoss":
            raise _wrong_form(target.__name__)
        fitted |= {"softmax": False, "use_softmax": False, "sigmoid": True}
        fitted |= {"include_background": True}  # the first channel is an object
    return {**node, **{key: value for key, value in fitted.items() if key in parameters}}


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


def class_weights(
    weights: Mapping[str, float],
    labels: Mapping[str, int],
    target: Any,
    node: Mapping[str, Any],
    form: TargetForm,
) -> Tensor:
    """Return the weight of each channel in the order that a loss wants them, background first.

    Args:
        weights: object name -> weight.
        labels: object name -> label.
        target: the class of the loss.
        node: its arguments; MONAI's `include_background` says whether background is a class.
        form: of the targets.
    """
    by_class = torch.full((max(labels.values()) + 1,), BACKGROUND_WEIGHT)
    for name, weight in weights.items():
        by_class[labels[name]] = weight
    if form == "objects":
        is_torchs = isinstance(target, type) and issubclass(target, nn.BCEWithLogitsLoss)
        return by_class[1:].view(-1, 1, 1, 1) if is_torchs else by_class[1:]
    background = parameters_of(target).get("include_background")
    is_included = node.get("include_background", background is None or background.default)
    takes_all = is_included or target.__name__ == "DiceCELoss"  # which leaves it out by itself
    return by_class if takes_all else by_class[1:]


def adapt_loss(loss: Loss, form: TargetForm) -> Loss:
    """Return a loss that takes targets of a form, whatever torch's own loss takes.

    Raises:
        SettingError: torch's loss is of exclusive classes, or of independent objects.
    """
    is_of_classes = isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss | nn.MultiMarginLoss)
    if is_of_classes and form == "objects":
        raise _wrong_form(type(loss).__name__)
    if isinstance(loss, nn.BCEWithLogitsLoss) and form != "objects":
        raise SettingError(
            "loss: BCEWithLogitsLoss is of objects that overlap, a sigmoid for each. Set "
            "outputs=independent, or choose another loss, as octopi train --help lists them."
        )
    return ClassIndexLoss(loss) if is_of_classes and form == "labels" else loss


def _wrong_form(name: str) -> SettingError:
    return SettingError(
        f"loss: {name} is of classes that exclude each other, but outputs=independent. Choose "
        "loss=tversky_ce, tversky, dice, focal or torch.nn.BCEWithLogitsLoss, or outputs=exclusive."
    )
