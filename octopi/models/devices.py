"""Choose and count the devices that compute; say which, and why a GPU does not."""

import logging
import os
import re
import shutil
import subprocess
from importlib.metadata import requires
from typing import Any

import torch

from octopi.errors import ResourceError, SettingError, did_you_mean
from octopi.system import resources

logger = logging.getLogger(__name__)

ACCELERATORS = ("auto", "cpu", "gpu", "cuda")
WHEELS = "https://download.pytorch.org/whl"
CUDA_13_DRIVER, CUDA_12_DRIVER = 580, 525  # first NVIDIA drivers that run wheels for CUDA 13 and 12
CUDA_WHEELS = {13: "cu130", 12: "cu126"}  # by CUDA's major version
DRIVER_TIMEOUT = 20  # seconds


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


def log_device(accelerator: str, device_type: str, precision: str, *, number: int = 1) -> None:
    """Log what computes: name, memory, precision, threads; warn of a GPU that is not used.

    Args:
        accelerator: as the user chose it; cpu is taken at its word.
        device_type: cuda or cpu.
        precision: of the arithmetic, in a word.
        number: of the devices that share the work.
    """
    threads = f"{torch.get_num_threads()} threads"
    if device_type == "cuda":
        gpu = torch.cuda.get_device_properties(0)
        memory = resources.format_bytes(gpu.total_memory)
        logger.info(
            "Device: %d × %s, %s; %s; %s on the CPU.", number, gpu.name, memory, precision, threads
        )
        return
    memory = resources.format_bytes(resources.memory())
    logger.info("Device: %d × CPU, %s of RAM free; %s; %s.", number, memory, precision, threads)
    if accelerator != "cpu" and (reason := explain_missing_gpu()):
        logger.warning("The CPU is used: %s", reason)


def explain_missing_gpu() -> str | None:
    """Say why torch sees no GPU of this machine, and what to install.

    None where it sees one, where no driver knows of one, or where the user has hidden them.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")
    if torch.cuda.is_available() or hidden or (answer := query_driver()) is None:
        return None
    driver, gpu = answer
    wheels = torch.version.cuda
    major = int(driver.partition(".")[0])
    newest = 13 if major >= CUDA_13_DRIVER else 12 if major >= CUDA_12_DRIVER else 0
    if wheels is not None and int(wheels.partition(".")[0]) <= newest:
        advice = "The driver suits it; what fails says: python -c 'import torch; torch.cuda.init()'"
    elif newest:
        advice = (
            "Install one that suits the driver: pip install --force-reinstall "
            f"'{_torch_requirement()}' --index-url {WHEELS}/{CUDA_WHEELS[newest]}"
        )
    else:
        advice = f"Update the driver to {CUDA_13_DRIVER} or later."
    return (
        f"torch sees no GPU, although {gpu} is here with NVIDIA's driver {driver}: torch "
        f"{torch.__version__} is built for {f'CUDA {wheels}' if wheels else 'CPUs'}. {advice}"
    )


def query_driver() -> tuple[str, str] | None:
    """Ask NVIDIA's driver for its version and the name of the first GPU; None if none answers."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=driver_version,name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(
            query, check=True, capture_output=True, timeout=DRIVER_TIMEOUT, encoding="utf-8"
        ).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    version, _, gpu = answer.partition("\n")[0].partition(",")
    return (version.strip(), gpu.strip()) if version.partition(".")[0].strip().isdecimal() else None


def _torch_requirement() -> str:
    """Return the versions of torch that octopi supports, for pip."""
    return next(r for r in requires("octopi") or ["torch"] if re.match(r"torch\b", r))
