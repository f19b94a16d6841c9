"""The devices of the machine, and the precision they compute in."""

import contextlib
import functools
from typing import Any

import torch

from octopi.errors import ResourceError, SettingError, did_you_mean
from octopi.models.devices import explain_missing_gpu
from octopi.system import resources

ACCELERATORS = ("auto", "cpu", "gpu", "cuda")
MAX_UNSAFE_EDGE = 2  # voxels, see `training_precision`
TRAINING_PRECISIONS = {torch.bfloat16: "bf16-mixed", torch.float16: "16-mixed", None: "32-true"}


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
        reason = explain_missing_gpu() or f"torch sees no GPU. Use {key}=cpu."
        raise ResourceError(f"{key}={accelerator}, but {reason}")
    return "cuda" if on_gpu else "cpu"


def count_devices(accelerator: Any, devices: Any, prefix: str = "", tasks: int = 1) -> int:
    """Count the devices that share the work; refuse more than there are for it.

    Args:
        accelerator: see `choose_device_type`.
        devices: a number of them or auto; of GPUs also -1 for all, or a list of their indices.
        prefix: of the two settings, for the message.
        tasks: of srun on this machine that share the work; each has cores of its own, and all see
            the same GPUs.

    Raises:
        SettingError: this machine has no such devices.
        ResourceError: a GPU is requested, but torch sees none.
    """
    on_gpu = choose_device_type(accelerator, f"{prefix}accelerator") == "cuda"
    most = torch.cuda.device_count() if on_gpu else tasks * resources.num_cores()
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
    whose = "this process" if tasks == 1 else f"the {tasks} tasks of srun on this machine"
    limit = "the GPUs that torch sees" if on_gpu else f"the cores of {whose}"
    raise SettingError(f"{prefix}devices must be 1 to {most}, {limit}; not {devices}.")


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
