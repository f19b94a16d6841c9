"""Training volumes in the memory of a GPU, where they fit."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from octopi.data.cache import VolumeCache
from octopi.data.crops import CachedTomogram, Crop
from octopi.system import resources

logger = logging.getLogger(__name__)

MAX_GPU_MEMORY_FRACTION = 1 / 3  # of its free memory, for volumes; the rest is for the step


class DeviceVolumes:
    """Tomograms and targets on a device, and crops of them.

    Args:
        cache: that they are read from.
        variants: those that crops are cut from.
        device: that they are copied to.
    """

    def __init__(
        self, cache: VolumeCache, variants: Sequence[CachedTomogram], device: torch.device
    ) -> None:
        keys = dict.fromkeys(key for v in variants for key in (v.volume, v.crop_target))
        self._volumes = {
            key: torch.from_numpy(np.array(cache.open(key))).to(device) for key in keys
        }

    def batch(self, crops: Sequence[Crop], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Cut images float16 and targets uint8, both (b, 1, z, y, x), as `CropSampler.read` does.

        Args:
            crops: within their volumes.
            size: of each, z y x.
        """
        boxes = [
            tuple(slice(s, s + n) for s, n in zip(crop.start, size, strict=True)) for crop in crops
        ]
        pairs = list(zip(crops, boxes, strict=True))
        images = [self._volumes[crop.variant.volume][box] for crop, box in pairs]
        targets = [self._volumes[crop.variant.crop_target][box] for crop, box in pairs]
        return torch.stack(images)[:, None], torch.stack(targets)[:, None]


def fits_on_gpu(
    variants: Sequence[CachedTomogram], size: Sequence[int], *, device: torch.device
) -> bool:
    """Return whether the device is a GPU with room for the volumes, and crops can be cut there.

    Args:
        variants: what crops are cut from.
        size: of a crop, z y x; crops that need padding are cut on the CPU.
        device: that trains.
    """
    padded = any(n < s for v in variants for n, s in zip(v.grid.shape, size, strict=True))
    if device.type != "cuda" or padded:
        return False
    return total_bytes(variants) <= MAX_GPU_MEMORY_FRACTION * torch.cuda.mem_get_info(device)[0]


def total_bytes(variants: Sequence[CachedTomogram]) -> int:
    """Count the bytes of the tomograms and targets that crops are cut from, each of them once."""
    sizes = {key: v.num_bytes()[key] for v in variants for key in (v.volume, v.crop_target)}
    return sum(sizes.values())


def log_location(variants: Sequence[CachedTomogram], cache: VolumeCache, *, on_gpu: bool) -> None:
    """Log where the volumes are while crops are cut from them: on the GPU, in RAM or on disk."""
    size = resources.format_bytes(total_bytes(variants))
    if on_gpu:
        logger.info("Volumes: %s on the GPU, where crops are cut.", size)
        return
    free = resources.memory()
    stays = "which stay in RAM" if total_bytes(variants) <= free else "read from disk for each crop"
    free_text = resources.format_bytes(free)
    logger.info("Volumes: %s in %s, %s (%s free).", size, cache.directory, stays, free_text)
