"""What the machine computes in: bf16 where its hardware has it."""

import functools

import torch


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


def training_precision(accelerator: str) -> str:
    """Lightning's name for the precision a training takes unless told another."""
    on_cpu = accelerator == "cpu" or not torch.cuda.is_available()
    return "bf16-mixed" if computes_bf16("cpu" if on_cpu else "cuda") else "32-true"
