"""What a training checks of its parts before it begins, in the dry run too."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from octopi.errors import SettingError
from octopi.training.metrics import check_metric

TRAINING_METRICS = ("train/loss",)  # that are logged beside val/METRIC
_EDGE = 8  # voxels


def check_loss(loss: nn.Module, num_classes: int) -> None:
    """Raise SettingError unless the loss takes what the network and the data give it.

    Args:
        loss: of the training.
        num_classes: of the logits, background included.
    """
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, num_classes, *[_EDGE] * 3), generator=generator, requires_grad=True)
    target = torch.zeros((2, 1, *[_EDGE] * 3), dtype=torch.uint8)
    target[..., 0] = num_classes - 1
    try:
        with torch.random.fork_rng(devices=[]):
            value = loss.cpu()(logits, target)
        if not (isinstance(value, Tensor) and value.numel() == 1 and value.requires_grad):
            raise TypeError("it does not return a number with a gradient.")
        if not torch.autograd.grad(value, logits)[0].any():
            raise ValueError("nothing changes it. Are all of its weights 0?")
    except Exception as error:  # a loss of the user may raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise SettingError(
            f"loss: {type(loss).__name__} cannot be computed from logits of shape "
            f"(2, {num_classes}, z, y, x) and labels (2, 1, z, y, x): {reason} Choose another, as "
            "octopi train --help lists them, or wrap it in a class of yours."
        ) from error


def check_monitors(callbacks: Iterable[Any], object_names: Sequence[str]) -> None:
    """Raise SettingError where a callback watches a metric that no training logs."""
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        if not isinstance(monitor, str) or monitor in TRAINING_METRICS:
            continue
        name = type(callback).__name__
        if not monitor.startswith("val/"):
            raise SettingError(
                f"{name} watches {monitor}, which is not logged. Set its monitor to "
                f"{' or '.join(TRAINING_METRICS)}, or to val/METRIC such as val/object_fbeta."
            )
        try:
            check_metric(monitor.removeprefix("val/"), object_names)
        except SettingError as error:
            raise SettingError(f"{name} watches {monitor}. {error}") from error
