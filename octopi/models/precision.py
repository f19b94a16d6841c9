"""The precision in which a device computes."""

import contextlib
import functools
from typing import Any

import torch

from octopi.models.devices import choose_device_type

MAX_UNSAFE_EDGE = 2  # voxels, see `training_precision`
TRAINING_PRECISIONS = {torch.bfloat16: "bf16-mixed", torch.float16: "16-mixed", None: "32-true"}


@functools.cache
def half_precision(device_type: str) -> torch.dtype | None:
    """Return the 16-bit type in which the hardware is fast; None = it has none.

    GPUs before compute capability 8 emulate bf16, but have fast float16 from 7 on.
    """
    if device_type == "cuda" and torch.cuda.is_available():
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16
        return torch.float16 if torch.cuda.get_device_capability() >= (7, 0) else None
    if device_type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"):
            return torch.bfloat16
    return None


def autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Return a context that computes in 16 bits where the device is fast in them."""
    dtype = half_precision(device.type)
    return torch.autocast(device.type, dtype=dtype) if dtype else contextlib.nullcontext()


def training_precision(accelerator: str, coarsest: int) -> str:
    """Return Lightning's name for the default precision of a training.

    Of float16 that scales the loss, so that no gradient is rounded to 0.
    On a CPU torch 2.13 (oneDNN) reads memory that nothing was written to in the bf16 gradient of a
    convolution over two planes: NaN, or a wrong gradient, now and then.

    Args:
        accelerator: see `choose_device_type`.
        coarsest: voxels of the shortest edge at the network's coarsest level.
    """
    kind = choose_device_type(accelerator)
    safe = kind == "cuda" or coarsest > MAX_UNSAFE_EDGE
    return TRAINING_PRECISIONS[half_precision(kind) if safe else None]
