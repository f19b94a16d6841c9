"""Properties of any network: its output heads, legal input sizes and costs.

Networks themselves are MONAI's, or the user's own, named in YAML. A network takes
(b, 1, z, y, x) and gives logits (b, c, z, y, x), or several of them under deep supervision.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from octopi.errors import SettingError, describe_error
from octopi.models.logits import mean_logits
from octopi.models.net_output import NetOutput

EXCLUSIVE = NetOutput()
DIVISORS = (1, 2, 4, 8, 16, 32, 64)
COST_METRICS = ("inference_gflop", "parameters")  # what a network costs; less is better
WEIGHT_BYTES = 4  # of a parameter, float32
COPIES_IN_LAST_CHECKPOINT = 5  # of the weights: themselves, AdamW's two, their mean, the best


def logits_per_head(output: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """Split the output of a network into the logits of its heads, finest first.

    MONAI's nets give one tensor, a list of them, or (DynUNet) a stack (b, heads, c, z, y, x).
    """
    if isinstance(output, Tensor):
        return list(output.unbind(1)) if output.ndim == 6 else [output]
    return list(output)


def finest_logits(net: nn.Module, image: Tensor) -> Tensor:
    """Return the logits (b, c, z, y, x) of the network's finest head for an image."""
    return logits_per_head(net(image))[0]


class EnsembleNet(nn.Module):
    """Several networks as one, whose scores are the mean of theirs.

    Args:
        nets: with the same inputs and classes.
        net_output: what their logits mean.
    """

    def __init__(self, nets: Sequence[nn.Module], net_output: NetOutput = EXCLUSIVE) -> None:
        super().__init__()
        if not nets:
            raise ValueError("EnsembleNet needs at least one network.")
        self.nets = nn.ModuleList(nets)
        self.net_output = net_output

    def forward(self, image: Tensor) -> Tensor:
        """Return logits whose scores are the mean of the networks' scores."""
        all_logits = [finest_logits(net, image).float() for net in self.nets]
        return mean_logits(all_logits, self.net_output)


def size_divisor(net: nn.Module) -> int:
    """Find the number of voxels of which every edge of the network's input must be a multiple.

    The output has the grid of the input, or a coarser one: see `output_stride`. Only shapes, not
    numbers, are sent through the network.
    """
    meta_net = copy.deepcopy(net).to("meta").eval()
    problem = ""
    for divisor in DIVISORS:
        try:
            first, second = (_find_stride(meta_net, divisor * n) for n in (3, 5))
        except ValueError as error:
            problem = str(error)
            continue
        if first == second:
            return divisor
        problem = f"one cube becomes {first} times smaller, another {second} times"
    raise SettingError(
        f"{type(net).__name__} maps no cube with edges of up to {5 * DIVISORS[-1]} voxels onto "
        f"logits of that size, or of a whole part of it: {problem:.200}. octopi needs "
        "(b, 1, z, y, x) -> (b, c, z / stride, y / stride, x / stride)."
    )


def output_stride(net: nn.Module, divisor: int) -> int:
    """Return how many voxels of the input are an edge of a voxel of the network's output.

    Args:
        net: whose finest head counts.
        divisor: see `size_divisor`, which found that there is a stride.
    """
    return _find_stride(copy.deepcopy(net).to("meta").eval(), 3 * divisor)


def _find_stride(meta_net: nn.Module, edge: int) -> int:
    """Return the stride of a network's output for a cube; raise ValueError if it has none."""
    image = torch.empty(1, 1, *[edge] * 3, device="meta")
    try:
        shape = list(finest_logits(meta_net, image).shape)
    except Exception as error:  # a network of the user may raise anything
        raise ValueError(describe_error(error)) from error
    is_cube = len(shape) == 5 and len(set(shape[2:])) == 1 and shape[2] > 0
    if not is_cube or edge % shape[2]:
        raise ValueError(f"{list(image.shape)} becomes {shape}")
    return edge // shape[2]


def check_num_classes(net: nn.Module, divisor: int, num_classes: int) -> None:
    """Raise SettingError unless each head of a network gives logits of so many classes.

    Args:
        net: the network.
        divisor: voxels of which every edge of its input is a multiple.
        num_classes: channels of logits; background included, where it has one.
    """
    image = torch.empty(1, 1, *[divisor * 3] * 3, device="meta")
    for logits in logits_per_head(copy.deepcopy(net).to("meta").eval()(image)):
        if logits.shape[1] != num_classes:
            raise SettingError(
                f"{type(net).__name__} maps {list(image.shape)} onto {list(logits.shape)}, but "
                f"{num_classes} channels are needed. A network makes out_channels of them, in each "
                "of its heads."
            )


def network_costs(net: nn.Module, size: Sequence[int]) -> dict[str, float]:
    """Count the parameters of a network and its GFLOP for a million voxels, by the COST_METRICS.

    Args:
        net: only shapes, not numbers, are sent through it.
        size: voxels z y x of the input that is counted.
    """
    meta_net = copy.deepcopy(net).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        meta_net(torch.empty(1, 1, *size, device="meta"))
    return {
        "inference_gflop": counter.get_total_flops() / math.prod(size) / 1e3,
        "parameters": float(count_parameters(net)),
    }


def unused_parameters(net: nn.Module, size: Sequence[int]) -> list[str]:
    """Return the names of the parameters that get no gradient from any head of the network.

    Args:
        net: only shapes, not numbers, are sent through it.
        size: voxels z y x of a crop.
    """
    meta_net = backward_on_meta(net, size)
    return [n for n, p in meta_net.named_parameters() if p.requires_grad and p.grad is None]


def backward_on_meta(net: nn.Module, size: Sequence[int]) -> nn.Module:
    """Send the shapes of two crops through a copy of the network, and back; return the copy.

    Args:
        net: that is copied; every head of it counts.
        size: voxels z y x of a crop.
    """
    meta_net = copy.deepcopy(net).to("meta").train()
    heads = logits_per_head(meta_net(torch.empty(2, 1, *size, device="meta")))
    torch.stack([head.float().sum() for head in heads]).sum().backward()
    return meta_net


def count_parameters(net: nn.Module) -> int:
    """Count the trainable and fixed parameters of a network."""
    return sum(p.numel() for p in net.parameters())


def checkpoint_bytes(num_parameters: int) -> tuple[int, int]:
    """Return about how many bytes a training's `best_model.pth` and `last.ckpt` take."""
    weights = WEIGHT_BYTES * num_parameters
    return weights, COPIES_IN_LAST_CHECKPOINT * weights


def activation_bytes(net: nn.Module, size: Sequence[int]) -> int:
    """Count the bytes of the layers' outputs for one crop, the least that a training step keeps.

    Args:
        net: only shapes, not numbers, are sent through it.
        size: voxels z y x of the crop.
    """
    meta_net = copy.deepcopy(net).to("meta")
    num_values = 0

    def count(_layer: nn.Module, _input: Any, output: Any) -> None:
        nonlocal num_values
        if isinstance(output, Tensor):
            num_values += output.numel()

    for layer in meta_net.modules():
        if not list(layer.children()):
            layer.register_forward_hook(count)
    with torch.no_grad():
        meta_net(torch.empty(1, 1, *size, device="meta"))
    return 2 * num_values  # in bf16; more in float32


def check_size(size: Sequence[int], *, divisor: int, key: str) -> None:
    """Raise SettingError, with the nearest legal size, unless the network takes this one."""
    if any(n % divisor or n <= 0 for n in size):
        legal = [max(divisor, round(n / divisor) * divisor) for n in size]
        raise SettingError(
            f"{key}={list(size)} does not fit the network, whose input edges must be multiples "
            f"of {divisor}. Nearest: {key}={legal}."
        )
