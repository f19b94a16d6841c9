"""Volumes that stay on the device that trains, so that crops are cut where they are used."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from octopi.data.cache import VolumeCache
from octopi.data.crops import CachedTomogram, Crop

MAX_GPU_MEMORY_FRACTION = (
    1 / 3
)  # of a GPU's free memory that volumes may take; the rest is for the step


class DeviceVolumes:
    """Tomograms and targets on a device, and crops of them.

    Args:
        cache: where they come from.
        variants: those that crops are cut from.
        device: where they go.
    """

    def __init__(
        self, cache: VolumeCache, variants: Sequence[CachedTomogram], device: torch.device
    ) -> None:
        keys = dict.fromkeys(key for v in variants for key in (v.volume, v.target))
        self._held = {key: torch.from_numpy(np.array(cache.open(key))).to(device) for key in keys}

    def batch(self, crops: Sequence[Crop], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Images float16 and targets uint8, both (b, 1, z, y, x), as `CropSampler.batch` gives.

        Args:
            crops: within their volumes, and without a second one to blend in.
            size: of each, z y x.
        """
        places = [
            tuple(slice(s, s + n) for s, n in zip(crop.start, size, strict=True)) for crop in crops
        ]
        cut = zip(crops, places, strict=True)
        parts = [(self._held[c.variant.volume][p], self._held[c.variant.target][p]) for c, p in cut]
        images, targets = zip(*parts, strict=True)
        return torch.stack(images)[:, None], torch.stack(targets)[:, None]


def fits_on_gpu(
    variants: Sequence[CachedTomogram], size: Sequence[int], *, blend: bool, device: torch.device
) -> bool:
    """Whether the device is a GPU that can hold the volumes and cut these crops from them.

    Args:
        variants: what crops are cut from.
        size: of a crop, z y x; crops that need padding are cut on the CPU.
        blend: whether crops are mixtures of two volumes, which are made on the CPU.
        device: that trains.
    """
    padded = any(n < s for v in variants for n, s in zip(v.grid.shape, size, strict=True))
    if device.type != "cuda" or blend or padded:
        return False
    sizes = {key: size for v in variants for key, size in v.sizes().items()}
    return sum(sizes.values()) <= MAX_GPU_MEMORY_FRACTION * torch.cuda.mem_get_info(device)[0]
