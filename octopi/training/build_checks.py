"""What a training checks of its parts before it begins, in the dry run too."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from octopi.config.settings import TrainSettings
from octopi.errors import SettingError
from octopi.models.precision import choose_device_type
from octopi.models.properties import logits_per_head
from octopi.training.metrics import check_metric

TRAINING_METRICS = ("train/loss",)  # that are logged beside val/METRIC
_EDGE = 8  # voxels
# those for which torch.use_deterministic_algorithms raises an error on a GPU, see its documentation
_NOT_DETERMINISTIC = {
    *("avg_pool3d_backward", "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward"),
    *("adaptive_max_pool2d_backward", "fractional_max_pool2d_backward"),
    *("fractional_max_pool3d_backward", "max_unpool2d", "max_unpool3d"),
    *("upsample_linear1d_backward", "upsample_bilinear2d_backward"),
    *("upsample_bicubic2d_backward", "upsample_trilinear3d_backward"),
    *("reflection_pad1d_backward", "reflection_pad2d_backward", "reflection_pad3d_backward"),
    *("nll_loss2d_forward", "grid_sampler_2d_backward", "grid_sampler_3d_backward"),
    *("cumsum", "histc", "put_"),
}


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


class _OperationNames(TorchDispatchMode):
    """Collects the names of the operations that torch does, backwards too."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def check_deterministic(
    net: nn.Module, loss: nn.Module, settings: TrainSettings, num_classes: int
) -> None:
    """Raise SettingError where a GPU cannot train this network or loss deterministically."""
    kind = choose_device_type(settings.trainer["accelerator"])
    if kind != "cuda" or settings.trainer.get("deterministic") is not True:
        return
    culprits = {
        f"the network {type(net).__name__}": net_operations(net, settings.data["crop_size"]),
        f"the loss {type(loss).__name__}": loss_operations(loss, num_classes),
    }
    for name, operations in culprits.items():
        if found := sorted(operations & _NOT_DETERMINISTIC):
            raise SettingError(
                f"trainer.deterministic=true: on a GPU torch has no deterministic {found[0]}, "
                f"which {name} needs. Choose another, or trainer.deterministic=false: seeds then "
                "still fix the data, but not the last bits of the weights."
            )


def net_operations(net: nn.Module, size: Sequence[int]) -> set[str]:
    """Return the names of torch's operations in a step of a network; only shapes are sent through.

    Args:
        net: the network.
        size: of a crop, voxels z y x.
    """
    meta_net = copy.deepcopy(net).to("meta").train()
    with _OperationNames() as operations:
        heads = logits_per_head(meta_net(torch.empty(2, 1, *size, device="meta")))
        torch.stack([head.float().sum() for head in heads]).sum().backward()
    return operations.names


def loss_operations(loss: nn.Module, num_classes: int) -> set[str]:
    """Return the names of torch's operations in a loss and its gradient."""
    logits = torch.zeros((2, num_classes, *[_EDGE] * 3), requires_grad=True)
    target = torch.zeros((2, 1, *[_EDGE] * 3), dtype=torch.uint8)
    with _OperationNames() as operations, torch.random.fork_rng(devices=[]):
        torch.autograd.grad(loss(logits, target), logits)
    return operations.names
