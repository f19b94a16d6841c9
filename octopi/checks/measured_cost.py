"""Measure what a training step and a window cost on this machine, in a few seconds."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from octopi.models.precision import autocast
from octopi.models.properties import count_parameters, finest_logits
from octopi.system import resources

NUM_TIMED = 2  # repetitions after one that warms up


@dataclass(frozen=True)
class Cost:
    """The cost of one crop or window.

    Args:
        seconds: of the fastest repetition.
        num_bytes: peak memory, beyond what was in use before.
        voxels: of the crop or window.
    """

    seconds: float
    num_bytes: int
    voxels: int

    @property
    def seconds_per_voxel(self) -> float:
        """Seconds for a voxel."""
        return self.seconds / self.voxels


@dataclass(frozen=True)
class NetworkCosts:
    """The costs of a network on this machine.

    Args:
        crop: of a training step on one crop.
        window: of predicting one window.
        num_weights: number of parameters.
        num_cores: that this process may use.
        process_bytes: peak memory of this process.
        on_gpu: whether a GPU computes.
    """

    crop: Cost
    window: Cost
    num_weights: int
    num_cores: int
    process_bytes: int
    on_gpu: bool


def measure_network(
    net: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    crop_size: Sequence[int],
    *,
    num_classes: int,
    device: torch.device,
) -> NetworkCosts:
    """Measure a step of AdamW on one crop, and the prediction of a window of the same size."""
    net = net.to(device)
    image = torch.randn(1, 1, *crop_size, device=device)
    target = torch.randint(num_classes, (1, 1, *crop_size), device=device, dtype=torch.uint8)
    optimizer = torch.optim.AdamW(net.parameters())

    def step() -> None:
        with autocast(device):
            scores = finest_logits(net, image)
        loss(scores.float(), target).backward()
        optimizer.step()
        optimizer.zero_grad()

    def predict() -> None:
        with torch.inference_mode(), autocast(device):
            torch.softmax(finest_logits(net, image).float(), dim=1)

    net.train()
    crop = _measure(step, crop_size, device)
    net.eval()
    return NetworkCosts(
        crop=crop,
        window=_measure(predict, crop_size, device),
        num_weights=count_parameters(net),
        num_cores=resources.num_cores(),
        process_bytes=resources.peak_memory(),
        on_gpu=device.type == "cuda",
    )


def _measure(work: Callable[[], None], size: Sequence[int], device: torch.device) -> Cost:
    _reset_peak(device)
    before = _reset_peak(device)
    seconds = math.inf
    for _ in range(1 + NUM_TIMED):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = min(seconds, time.perf_counter() - start)
    return Cost(seconds, max(0, _reset_peak(device) - before), math.prod(size))


def _reset_peak(device: torch.device) -> int:
    """Return the peak memory in bytes since the last call; on a CPU since the process began."""
    if device.type != "cuda":
        return resources.peak_memory()
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return peak
