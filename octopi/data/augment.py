"""Random changes of a batch of crops, on the device that trains.

Each takes and returns image float32 (b, 1, z, y, x) and target uint8 (b, 1, z, y, x). The generator
lives on the CPU, so that the same choices are made on any device and none waits for the GPU.
The electron beam runs along z: turns in the y-x plane and flips keep what a tomogram looks like,
while the missing wedge allows only small tilts out of the plane.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from octopi.ranges import (
    FactorOrZero,
    HalfTurn,
    QuarterTurn,
    Share,
    ShareBelowOne,
    validated,
)

Batch = tuple[Tensor, Tensor]  # image, target
AXES = {"z": 1, "y": 2, "x": 3}  # of one crop (1, z, y, x)


class Augmentation(Protocol):
    """Changes a batch at random."""

    def __call__(self, image: Tensor, target: Tensor, rng: torch.Generator) -> Batch:
        """Return the changed image and target."""
        ...


class Compose:
    """Several augmentations, one after the other in the order of their names in the config.

    Args:
        steps: name -> augmentation; overrides use the names.
    """

    def __init__(self, **steps: Augmentation) -> None:
        for name, step in steps.items():
            if not callable(step):
                raise ValueError(f"The augmentation {name} needs a _target_; it is {step!r}.")
        self.steps = {
            name: DictionaryTransform(step) if hasattr(step, "set_random_state") else step
            for name, step in steps.items()
        }

    def __call__(self, image: Tensor, target: Tensor, rng: torch.Generator) -> Batch:
        """Apply every step."""
        for step in self.steps.values():
            image, target = step(image, target, rng)
        return image, target


class DictionaryTransform:
    """A random dictionary transform of MONAI, whose keys are image and target, on each crop.

    Args:
        transform: such as `monai.transforms.RandGaussianSmoothd`.
    """

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __call__(self, image: Tensor, target: Tensor, rng: torch.Generator) -> Batch:
        """Transform every crop."""
        crops = []
        for pair in zip(image, target, strict=True):
            self.transform.set_random_state(int(torch.randint(2**31, (1,), generator=rng)))
            out = self.transform(dict(zip(("image", "target"), pair, strict=True)))
            crops.append([torch.as_tensor(out[key]) for key in ("image", "target")])
        images, targets = (
            torch.stack([getattr(crop, "as_tensor", lambda c=crop: c)() for crop in column])
            for column in zip(*crops, strict=True)
        )
        return images, targets.to(target.dtype)


@validated
@dataclass(kw_only=True)
class Flip:
    """Mirror each crop along each axis, independently.

    Args:
        axes: some of z, y, x.
        prob: chance of a flip, per crop and axis.
    """

    axes: Sequence[str]
    prob: Share

    def __post_init__(self) -> None:
        if unknown := set(self.axes) - set(AXES):
            raise ValueError(f"Axes to flip are some of z, y, x, not {sorted(unknown)}.")

    def __call__(self, image: Tensor, target: Tensor, rng: torch.Generator) -> Batch:
        """Mirror some of the crops."""
        flips = _uniform(rng, len(image), len(self.axes)) < self.prob
        dims = [[AXES[a] for a, flip in zip(self.axes, row, strict=True) if flip] for row in flips]
        return (
            torch.stack([crop.flip(d) for crop, d in zip(image, dims, strict=True)]),
            torch.stack([crop.flip(d) for crop, d in zip(target, dims, strict=True)]),
        )


@validated
@dataclass(kw_only=True)
class Rot90:
    """Turn each crop by 90°, 180° or 270° about z; only by 180° where y and x differ in size.

    Args:
        prob: chance of a turn, per crop.
    """

    prob: Share

    def __call__(self, image: Tensor, target: Tensor, rng: torch.Generator) -> Batch:
        """Turn some of the crops."""
        turns = torch.randint(1, 4, (len(image),), generator=rng)
        if image.shape[-1] != image.shape[-2]:
            turns = torch.full_like(turns, 2)
        turns = (turns * (_uniform(rng, len(image)) < self.prob)).tolist()
        return (
            torch.stack([crop.rot90(k, (2, 3)) for crop, k in zip(image, turns, strict=True)]),
            torch.stack([crop.rot90(k, (2, 3)) for crop, k in zip(target, turns, strict=True)]),
        )


@validated
@dataclass(kw_only=True)
class Affine:
    """Turn, tilt and scale each crop about its centre; borders are filled by reflection.

    The image is interpolated linearly; a target voxel takes its nearest neighbour's label.

    Args:
        angle_in_plane: largest turn about z, degrees.
        angle_tilt: largest tilt about an axis in the y-x plane, degrees.
        scale: largest relative change of size.
        prob: chance per crop.
    """

    angle_in_plane: HalfTurn
    angle_tilt: QuarterTurn
    scale: ShareBelowOne
    prob: Share

    def __call__(self, image: Tensor, target: Tensor, rng: torch.Generator) -> Batch:
        """Turn, tilt and scale some of the crops."""
        matrices = self._draw(len(image), rng)
        chosen = (_uniform(rng, len(image)) < self.prob).nonzero()[:, 0]
        if not len(chosen):
            return image, target
        grid = _sampling_grid(matrices[chosen].to(image.device), image.shape[2:])
        chosen = chosen.to(image.device)
        image, target = image.clone(), target.clone()
        image[chosen] = _sample(image[chosen], grid, "bilinear")
        target[chosen] = _sample(target[chosen].float(), grid, "nearest").to(target.dtype)
        return image, target

    def _draw(self, num_crops: int, rng: torch.Generator) -> Tensor:
        """Draw matrices (b, 3, 3), x y z, that map a voxel of the result to its source voxel."""
        limits = torch.deg2rad(torch.tensor([self.angle_in_plane, self.angle_tilt]))
        angle_in_plane, tilt = (_symmetric(rng, num_crops, 2) * limits).unbind(1)
        azimuth = _uniform(rng, num_crops) * torch.pi
        size = 1 + _symmetric(rng, num_crops) * self.scale
        x, y, z = range(3)
        tilted = _rotation(azimuth, x, y) @ _rotation(tilt, y, z) @ _rotation(-azimuth, x, y)
        return _rotation(angle_in_plane, x, y) @ tilted / size[:, None, None]


@validated
@dataclass(kw_only=True)
class Intensity:
    """Multiply and shift the values of each crop.

    Args:
        scale: largest relative change of the values.
        shift: largest shift, in standard deviations of the tomogram.
        prob: chance per crop.
    """

    scale: ShareBelowOne
    shift: FactorOrZero
    prob: Share

    def __call__(self, image: Tensor, target: Tensor, rng: torch.Generator) -> Batch:
        """Change brightness and contrast of some of the crops."""
        chosen = _uniform(rng, len(image)) < self.prob
        factor = 1 + _symmetric(rng, len(image)) * self.scale * chosen
        offset = _symmetric(rng, len(image)) * self.shift * chosen
        factor, offset = (v.to(image.device).view(-1, 1, 1, 1, 1) for v in (factor, offset))
        return torch.addcmul(offset, image, factor), target


@validated
@dataclass(kw_only=True)
class Ramp:
    """Add a part of a ramp of density to each crop, such as a change of thickness makes.

    Args:
        height: largest difference of two opposite sides along each axis, in standard deviations of
            the tomogram; the middle is raised or lowered by up to half of it.
        prob: chance per crop.
    """

    height: FactorOrZero
    prob: Share

    def __call__(self, image: Tensor, target: Tensor, rng: torch.Generator) -> Batch:
        """Add a ramp to some of the crops."""
        chosen = _uniform(rng, len(image), 1) < self.prob
        heights = _symmetric(rng, len(image), 4) * self.height * chosen
        if not chosen.any():
            return image, target
        middle, *slopes = heights.to(image.device).view(len(image), 4, 1, 1, 1).split(1, dim=1)
        ramp = middle / 2
        for axis, slope in enumerate(slopes, start=2):
            shape = [-1 if k == axis else 1 for k in range(image.ndim)]
            line = torch.linspace(-0.5, 0.5, image.shape[axis], device=image.device)
            ramp = ramp + slope * line.view(shape)
        return image + ramp, target


@validated
@dataclass(kw_only=True)
class GaussianNoise:
    """Add white noise to each crop.

    Args:
        std: largest standard deviation, in those of the tomogram; drawn evenly from 0 up.
        prob: chance per crop.
    """

    std: FactorOrZero
    prob: Share

    def __call__(self, image: Tensor, target: Tensor, rng: torch.Generator) -> Batch:
        """Add noise to some of the crops."""
        std = (_uniform(rng, len(image)) * self.std).to(image.device)
        chosen = (_uniform(rng, len(image)) < self.prob).nonzero()[:, 0].to(image.device)
        on_device = torch.Generator(image.device)
        on_device.manual_seed(int(torch.randint(2**62, (1,), generator=rng)))
        shape = (len(chosen), *image.shape[1:])
        noise = torch.randn(shape, generator=on_device, device=image.device)
        return image.index_add(0, chosen, noise * std[chosen].view(-1, 1, 1, 1, 1)), target


def _uniform(rng: torch.Generator, *shape: int) -> Tensor:
    """Draw numbers in 0..1."""
    return torch.rand(shape, generator=rng)


def _symmetric(rng: torch.Generator, *shape: int) -> Tensor:
    """Draw numbers in -1..1."""
    return 2 * _uniform(rng, *shape) - 1


def _rotation(angle: Tensor, first: int, second: int) -> Tensor:
    """Return rotations (b, 3, 3) in the plane of two axes, acting on x y z."""
    matrix = torch.eye(3).repeat(len(angle), 1, 1)
    matrix[:, first, first] = matrix[:, second, second] = angle.cos()
    matrix[:, first, second], matrix[:, second, first] = -angle.sin(), angle.sin()
    return matrix


def _sampling_grid(matrices: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the points that `grid_sample` reads, (b, z, y, x, 3).

    As sums of three vectors they take an eighth of the time of torch.nn.functional.affine_grid.

    Args:
        matrices: (b, 3, 3) in x y z, maps of voxels about the crop's centre.
        shape: of the crop, z y x.
    """
    x, y, z = (
        (torch.arange(n, device=matrices.device) + 0.5 - n / 2)[None, :, None]
        * matrices[:, None, :, i]
        for i, n in enumerate(shape[::-1])
    )
    half = torch.tensor(shape[::-1], device=matrices.device) / 2  # grid_sample's unit
    plane = y[:, :, None] / half + x[:, None] / half
    return (z / half)[:, :, None, None] + plane[:, None]


def _sample(crops: Tensor, grid: Tensor, mode: str) -> Tensor:
    return functional.grid_sample(
        crops, grid, mode=mode, padding_mode="reflection", align_corners=False
    )
