"""A few seconds of the real work on this machine: what a training step and a window cost."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from octopi.models.precision import autocast
from octopi.models.properties import finest_logits
from octopi.system import resources

NUM_TIMED = 2  # repetitions after one that warms up


@dataclass(frozen=True)
class Cost:
    """What one crop or window costs.

    Args:
        seconds: of the fastest repetition.
        num_bytes: that it takes at its peak, beside what was there before.
        voxels: of it.
    """

    seconds: float
    num_bytes: int
    voxels: int

    def per_voxel(self) -> float:
        """Seconds a voxel."""
        return self.seconds / self.voxels


def measure_training_step(
    net: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    crop_size: Sequence[int],
    *,
    num_classes: int,
    device: torch.device,
) -> Cost:
    """What learning from one crop costs: forwards, backwards, and a step of AdamW."""
    net = net.to(device).train()
    image = torch.randn(1, 1, *crop_size, device=device)
    target = torch.randint(num_classes, (1, 1, *crop_size), device=device, dtype=torch.uint8)
    optimizer = torch.optim.AdamW(net.parameters())

    def step() -> None:
        with autocast(device):
            scores = finest_logits(net, image)
        loss(scores.float(), target).backward()
        optimizer.step()
        optimizer.zero_grad()

    return _measured(step, crop_size, device)


def measure_window(net: nn.Module, window_size: Sequence[int], *, device: torch.device) -> Cost:
    """What predicting one window costs."""
    net = net.to(device).eval()
    image = torch.randn(1, 1, *window_size, device=device)

    def look() -> None:
        with torch.inference_mode(), autocast(device):
            torch.softmax(finest_logits(net, image).float(), dim=1)

    return _measured(look, window_size, device)


def _measured(work: Callable[[], None], size: Sequence[int], device: torch.device) -> Cost:
    _peak(device)
    before = _peak(device)
    seconds = math.inf
    for _ in range(1 + NUM_TIMED):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = min(seconds, time.perf_counter() - began)
    return Cost(seconds, max(0, _peak(device) - before), math.prod(size))


def _peak(device: torch.device) -> int:
    """Most bytes held at once since this was last asked, and what is held now from then on."""
    if device.type != "cuda":
        return resources.peak_memory()
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return peak
