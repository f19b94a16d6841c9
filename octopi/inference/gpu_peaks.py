"""Local maxima of a smoothed channel, found on a GPU."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import max_pool3d, pad

from octopi.errors import ResourceError
from octopi.models.devices import choose_device_type

LocalMaxima = tuple[NDArray[np.intp], NDArray[np.float32]]  # voxels (n, 3) and heights (n,)


def gpu_finder() -> Callable[[NDArray, Sequence[NDArray[np.float64]], float], LocalMaxima]:
    """Return `find_local_maxima_gpu` for this machine's GPU.

    Raises:
        ResourceError: torch sees no GPU.
    """
    device = torch.device(choose_device_type("gpu"))
    return functools.partial(find_local_maxima_gpu, device=device)


def find_local_maxima_gpu(
    values: NDArray,
    kernels: Sequence[NDArray[np.float64]],
    min_height: float,
    *,
    device: torch.device,
) -> LocalMaxima:
    """Find the maxima that `octopi.localization.peaks.find_local_maxima` does, to rounding.

    Args:
        values: (z, y, x) of a channel.
        kernels: the smoothing kernels along z, y, x, each symmetric.
        min_height: in the unit of `values`; lower maxima are left out.
        device: needs memory for five volumes of float32.

    Returns:
        The maxima's voxels (n, 3), z y x, and their smoothed heights (n,) in the unit of `values`.

    Raises:
        ResourceError: the GPU has too little memory.
    """
    try:
        with torch.inference_mode():
            return _find_local_maxima(values, kernels, min_height, device)
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            f"The GPU is too small for scores of {list(values.shape)} voxels. "
            "Use accelerator=cpu, or a smaller num_workers."
        ) from error


def _find_local_maxima(
    values: NDArray, kernels: Sequence[NDArray[np.float64]], min_height: float, device: torch.device
) -> LocalMaxima:
    contiguous = np.require(values, requirements=["C", "W"])
    field = torch.from_numpy(contiguous).to(device).float()
    weight = torch.ones((), device=device)  # the part of the kernel that lies in the volume
    for axis, kernel in enumerate(kernels):
        field = _blur(field, kernel, axis)
        ones = torch.ones(field.shape[axis], device=device)
        weight = weight[..., None] * _blur(ones, kernel, 0)
    height = field / weight
    is_maximum = max_pool3d(field[None], 3, stride=1, padding=1)[0].eq_(field).bool()
    is_maximum &= height >= np.float32(min_height).item()
    return is_maximum.nonzero().cpu().numpy(), height[is_maximum].cpu().numpy()


def _blur(values: Tensor, kernel: NDArray[np.float64], axis: int) -> Tensor:
    """Convolve along an axis, zeros beyond the edges; a mirrored volume gives mirrored bits."""
    reach = len(kernel) // 2
    if not reach:
        return values
    padding = [0, 0] * (values.ndim - 1 - axis) + [reach, reach]
    padded, length = pad(values, padding), values.shape[axis]
    out = values * float(kernel[reach])
    for k, weight in enumerate(kernel[reach + 1 :].tolist(), start=1):
        pair = padded.narrow(axis, reach - k, length) + padded.narrow(axis, reach + k, length)
        out.add_(pair, alpha=weight)
    return out
