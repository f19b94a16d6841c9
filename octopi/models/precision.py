"""The devices of the machine, and the precision they compute in."""

import functools
from typing import Any

import torch

from octopi.errors import ResourceError, SettingError, did_you_mean
from octopi.system import resources

ACCELERATORS = ("auto", "cpu", "gpu", "cuda")
MAX_UNSAFE_EDGE = 2  # voxels, see `training_precision`


def choose_device_type(accelerator: Any, key: str = "accelerator") -> str:
    """Choose the type of device that an accelerator means on this machine: cuda or cpu.

    Args:
        accelerator: auto, cpu, gpu or cuda (the same).
        key: the setting, for the message.

    Raises:
        SettingError: there is no such accelerator.
        ResourceError: a GPU is requested, but torch sees none.
    """
    if accelerator not in ACCELERATORS:
        hint = did_you_mean(str(accelerator), ACCELERATORS)
        raise SettingError(f"{key} is auto, cpu or gpu, not {accelerator}.{hint}")
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    if accelerator in ("gpu", "cuda") and not on_gpu:
        raise ResourceError(f"{key}={accelerator}, but torch sees no GPU. Use {key}=cpu.")
    return "cuda" if on_gpu else "cpu"


def count_devices(accelerator: Any, devices: Any, prefix: str = "") -> int:
    """Count the devices that share the work; refuse more than this process has.

    Args:
        accelerator: see `choose_device_type`.
        devices: a number of them or auto; of GPUs also -1 for all, or a list of their indices.
        prefix: of the two settings, for the message.

    Raises:
        SettingError: this machine has no such devices.
        ResourceError: a GPU is requested, but torch sees none.
    """
    on_gpu = choose_device_type(accelerator, f"{prefix}accelerator") == "cuda"
    most = torch.cuda.device_count() if on_gpu else resources.num_cores()
    text = str(devices)
    if text == "auto":
        return most if on_gpu else 1
    if on_gpu and text == "-1":
        return most
    if text.isdecimal() and 1 <= int(text) <= most:
        return int(text)
    indices = [part.strip() for part in text.strip("[]").split(",") if part.strip()]
    is_list = isinstance(devices, list) or "," in text
    if on_gpu and is_list and set(indices) <= set(map(str, range(most))) and indices:
        return len(set(indices))
    limit = f"{most}, the GPUs that torch sees" if on_gpu else f"{most}, the cores of this process"
    raise SettingError(f"{prefix}devices must be 1 to {limit}; not {devices}.")


@functools.cache
def computes_bf16(device_type: str) -> bool:
    """Return whether the machine has bf16 arithmetic in hardware."""
    if device_type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False


def autocast(device: torch.device) -> torch.autocast:
    """Return a context that computes in bf16 where the device can, else in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=computes_bf16(device.type))


def training_precision(accelerator: str, coarsest: int) -> str:
    """Return Lightning's name for the default precision of a training.

    On a CPU torch 2.13 (oneDNN) reads memory that nothing was written to in the bf16 gradient of a
    convolution over two planes: NaN, or a wrong gradient, now and then.

    Args:
        accelerator: see `choose_device_type`.
        coarsest: voxels of the shortest edge at the network's coarsest level.
    """
    kind = choose_device_type(accelerator)
    safe = kind == "cuda" or coarsest > MAX_UNSAFE_EDGE
    return "bf16-mixed" if computes_bf16(kind) and safe else "32-true"
