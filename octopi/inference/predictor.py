"""Predict the score map of a tomogram, window by window.

Windows overlap by a halo whose scores are discarded, so nothing is blended and the only large array
is the quantised score map itself: every voxel is computed once, against 5.3 times with MONAI's
`sliding_window_inference` at its usual overlap. Training's validation calls this same class.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from octopi.inference.flips import mean_over_flips
from octopi.inference.windows import fit_window, take, windows
from octopi.models.logits import to_scores
from octopi.models.net_output import NetOutput
from octopi.models.precision import autocast
from octopi.models.properties import EXCLUSIVE, check_size, finest_logits
from octopi.ranges import Edges, Halo, NumSides, validated
from octopi.system.large_arrays import allocate

logger = logging.getLogger(__name__)

MAX_GPU_MEMORY_FRACTION = 1 / 4  # of its free memory, for a volume or its scores


@validated
@dataclass(kw_only=True)
class Predictor:
    """Predict the score map of a tomogram.

    Args:
        window_size: voxels (z, y, x) of which a window has no more, in the shape that fits the
            tomogram; None = the whole tomogram at once.
        halo: voxels (z, y, x) at a window's inner borders whose scores are discarded.
        num_sides: 1 to 8 flips over which scores are averaged.

    Raises:
        ValueError: the halo leaves nothing of a window, or `num_sides` is out of its range.
    """

    window_size: Edges | None
    halo: Halo
    num_sides: NumSides

    def __post_init__(self) -> None:
        if self.window_size is not None and any(
            w <= 2 * h for w, h in zip(self.window_size, self.halo, strict=True)
        ):
            raise ValueError(
                f"A window of {list(self.window_size)} voxels leaves nothing inside a halo of "
                f"{list(self.halo)}."
            )

    def check(self, divisor: int) -> None:
        """Raise SettingError unless the network takes windows of this size."""
        if self.window_size is not None:
            check_size(self.window_size, divisor=divisor, key="predictor.window_size")

    def __call__(
        self,
        net: nn.Module,
        volume: NDArray,
        *,
        divisor: int,
        net_output: NetOutput = EXCLUSIVE,
    ) -> NDArray[np.uint8]:
        """Return the score map of a network.

        Args:
            net: in evaluation mode; `EnsembleNet` for several.
            volume: (z, y, x), prepared as in training.
            divisor: voxels of which every edge of the network's input must be a multiple.
            net_output: what the network's logits mean.

        Returns:
            (c, z, y, x), uint8, 255 = a score of 1; a channel for each object.
        """
        device = next(net.parameters()).device

        def score(image: Tensor) -> Tensor:
            return to_scores(finest_logits(net, image).float(), net_output, image.shape[2:])

        while True:
            size = fit_window(volume.shape, self.window_size, divisor=divisor, halo=self.halo)
            try:
                return self._predict(score, volume, size, device)
            except torch.OutOfMemoryError:
                smaller = smaller_window(size, divisor=divisor, halo=self.halo)
                if smaller is None:
                    raise
                logger.warning(
                    "Windows of %s voxels do not fit into the GPU's memory: going on with %s. "
                    "Thresholds were calibrated with the larger ones.",
                    size,
                    smaller,
                )
                self.window_size = smaller
            torch.cuda.empty_cache()  # after the error, whose traceback holds the activations

    def _predict(
        self,
        score: Callable[[Tensor], Tensor],
        volume: NDArray,
        size: Sequence[int],
        device: torch.device,
    ) -> NDArray[np.uint8]:
        out: Tensor | None = None
        with torch.inference_mode(), autocast(device):
            # Where they fit, volume and scores stay on the device: no window is waited for.
            source = torch.from_numpy(np.require(volume, requirements=["C", "W"]))
            if has_room(device, source.nbytes):
                source = source.to(device)
            for window in windows(volume.shape, size, halo=self.halo):
                image = take(source, window.input_region)[None, None].to(device).float()
                image = _pad(image, size, volume.shape)
                scores = mean_over_flips(score, image, num_flips=self.num_sides)[0]
                if out is None:
                    out = _empty_scores((scores.shape[0], *volume.shape), device)
                take(out, window.output_region).copy_(
                    take(scores, window.valid_region).mul(255).round_()
                )
        assert out is not None
        return out.cpu().numpy()


def has_room(device: torch.device, num_bytes: int) -> bool:
    """Return whether an array may live on the device beside the windows that go through it."""
    if device.type != "cuda":
        return True
    return num_bytes <= MAX_GPU_MEMORY_FRACTION * torch.cuda.mem_get_info(device)[0]


def _empty_scores(shape: tuple[int, ...], device: torch.device) -> Tensor:
    if device.type == "cpu" or not has_room(device, math.prod(shape)):
        return torch.from_numpy(allocate(shape, np.uint8, purpose="A score map"))
    return torch.empty(shape, dtype=torch.uint8, device=device)


def smaller_window(size: Sequence[int], *, divisor: int, halo: Sequence[int]) -> list[int] | None:
    """Halve the longest edge of a window; return None where that leaves nothing inside the halo.

    Args:
        size: voxels z y x.
        divisor: voxels of which every edge must be a multiple.
        halo: voxels z y x.
    """
    smaller = list(size)
    axis = smaller.index(max(smaller))
    smaller[axis] = smaller[axis] // 2 // divisor * divisor
    return smaller if smaller[axis] > 2 * halo[axis] else None


def _pad(image: Tensor, size: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Pad the far ends of a window (1, 1, z, y, x) of a volume that is shorter than it.

    By reflection; by the outermost voxel where the volume is too short for that.
    """
    missing = [n - m for n, m in zip(size, image.shape[2:], strict=True)]
    if not any(missing):
        return image
    can_reflect = all(after < n for after, n in zip(missing, shape, strict=True))
    padding = [edge for after in reversed(missing) for edge in (0, after)]
    return functional.pad(image, padding, mode="reflect" if can_reflect else "replicate")
