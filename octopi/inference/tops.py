"""Tops of a smoothed channel on a GPU, where looking for them takes no longer than reading it."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import max_pool3d, pad

from octopi.errors import ResourceError


def find_tops(
    values: NDArray, kernels: Sequence[NDArray[np.float64]], least: float, *, device: torch.device
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """What `octopi.localization.peaks.find_tops` gives, to the rounding of float32.

    Args:
        values: (z, y, x) of a channel; heights are in their unit.
        kernels: that smooth along z, y, x, each symmetric.
        least: height that tops have.
        device: that looks; it holds five volumes of float32 at once.
    """
    try:
        with torch.inference_mode():
            return _find_tops(values, kernels, least, device)
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            f"The GPU is too small for scores of {list(values.shape)} voxels. "
            "Use accelerator=cpu, or a smaller num_workers."
        ) from error


def _find_tops(
    values: NDArray, kernels: Sequence[NDArray[np.float64]], least: float, device: torch.device
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    held = np.require(values, requirements=["C", "W"])
    field = torch.from_numpy(held).to(device).float()
    inside = torch.ones((), device=device)  # the part of the kernel that lies in the volume
    for axis, kernel in enumerate(kernels):
        field = _blur(field, kernel, axis)
        ones = torch.ones(field.shape[axis], device=device)
        inside = inside[..., None] * _blur(ones, kernel, 0)
    height = field / inside
    found = max_pool3d(field[None], 3, stride=1, padding=1)[0].eq_(field).bool()
    found &= height >= np.float32(least).item()
    return found.nonzero().cpu().numpy(), height[found].cpu().numpy()


def _blur(values: Tensor, kernel: NDArray[np.float64], axis: int) -> Tensor:
    """After the kernel along an axis, zeros beyond the edges; the same from either side."""
    reach = len(kernel) // 2
    if not reach:
        return values
    frame = [0, 0] * (values.ndim - 1 - axis) + [reach, reach]
    wide, length = pad(values, frame), values.shape[axis]
    out = values * float(kernel[reach])
    for k, weight in enumerate(kernel[reach + 1 :].tolist(), start=1):
        pair = wide.narrow(axis, reach - k, length) + wide.narrow(axis, reach + k, length)
        out.add_(pair, alpha=weight)
    return out
