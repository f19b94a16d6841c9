"""What the machine computes on and in: bf16 where its hardware has it."""

import functools

import torch

from octopi.errors import ResourceError

TOO_THIN = 2  # voxels: see `training_precision`


def check_gpu() -> None:
    """Raise ResourceError where torch sees no GPU, although one is asked for."""
    if not torch.cuda.is_available():
        raise ResourceError("accelerator=gpu, but torch sees no GPU. Use accelerator=cpu.")


@functools.cache
def computes_bf16(device_type: str) -> bool:
    """Whether the machine has bf16 arithmetic in hardware."""
    if device_type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False


def autocast(device: torch.device) -> torch.autocast:
    """bf16 where the device computes in it, plain float32 elsewhere."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=computes_bf16(device.type))


def training_precision(accelerator: str, coarsest: int) -> str:
    """Lightning's name for the precision a training takes unless told another.

    On a CPU torch 2.13 (oneDNN) reads memory that nothing was written to in the bf16 gradient of a
    convolution over two planes: NaN, or a wrong gradient, now and then.

    Args:
        accelerator: Lightning's name for it.
        coarsest: voxels of the shortest edge at the network's coarsest level.
    """
    if accelerator == "cpu" or not torch.cuda.is_available():
        return "bf16-mixed" if computes_bf16("cpu") and coarsest > TOO_THIN else "32-true"
    return "bf16-mixed" if computes_bf16("cuda") else "32-true"
