"""What a network learns from a target: its labels, heatmaps, or offsets to centres as well."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from octopi.ranges import NotNegative, Radii, validated

REACH = 3.0  # standard deviations, where a Gaussian ends
LOOSE = 1.25  # times the radius of a ball of as many voxels: farther voxels are of no single ball


def needs_particles(painter: "Painter | Spheres") -> bool:
    """Return whether a painter must be told which particle a voxel is of; one of the user is."""
    return getattr(painter, "needs_particles", True)


class Painter(ABC):
    """Paints what a loss compares the scores of objects with."""

    needs_particles = True  # else it is given no particles

    @abstractmethod
    def __call__(
        self, labels: Tensor, particles: Tensor, radii: Sequence[float], stride: int
    ) -> Tensor:
        """Return the score of each object, (b, object, z, y, x), 0..1; NaN where it is unknown.

        Args:
            labels: uint8, (b, 1, z, y, x), 0 = background, 255 = unknown.
            particles: (b, 1, z, y, x), the number of the particle that a voxel is of, 0 = none.
            radii: of each object, voxels of the labels; NaN of one that is no particle.
            stride: voxels of the labels along an edge of a voxel of the result.
        """


class Spheres:
    """The labels as they are."""

    needs_particles = False


@validated
@dataclass(kw_only=True)
class Heatmaps(Painter):
    """A Gaussian around the centre of each particle; other objects are as in the labels.

    Args:
        sigma: standard deviation, in radii of the object.
    """

    sigma: Radii

    def __call__(
        self, labels: Tensor, particles: Tensor, radii: Sequence[float], stride: int
    ) -> Tensor:
        """Return the heatmaps; a particle that the crop cuts is unknown."""
        shape = [n // stride for n in labels.shape[2:]]
        heat = torch.zeros((len(labels), len(radii), *shape), device=labels.device)
        for k in (k for k, radius in enumerate(radii) if math.isnan(radius)):
            heat[:, k] = functional.avg_pool3d((labels == k + 1).float(), stride)[:, 0]
        found = find_particles(labels, particles)
        rows = zip(found.batch.tolist(), found.label.tolist(), found.is_whole.tolist(), strict=True)
        for (batch, label, is_whole), centre in zip(rows, found.centres.tolist(), strict=True):
            if is_whole and not math.isnan(radii[label - 1]):
                sigma = max(self.sigma * radii[label - 1], stride / 2)
                _add_gaussian(heat[batch, label - 1], centre, sigma, stride)
        cut = found.voxels[~found.is_whole[found.index]]
        cut_labels = labels[cut[:, 0], 0, *cut[:, 1:].T].long()
        heat[cut[:, 0], cut_labels - 1, *(cut[:, 1:] // stride).T] = torch.nan
        return heat


@validated
@dataclass(kw_only=True)
class Offsets(Spheres):
    """The labels, and the way from each voxel of a particle to its centre.

    Args:
        weight: of the mean smooth L1 distance, in voxels of the output, beside the loss.
    """

    needs_particles = True

    weight: NotNegative

    def offsets(self, labels: Tensor, particles: Tensor, stride: int) -> Tensor:
        """Return the offsets (b, 3, z, y, x), z y x, in voxels of the output; NaN where none is.

        Args:
            labels: as in `Painter`.
            particles: as in `Painter`.
            stride: as in `Painter`.
        """
        found = find_particles(labels, particles)
        places = found.voxels[:, 1:]
        is_sampled = (places % stride == stride // 2).all(dim=1) & found.is_whole[found.index]
        voxels, index = found.voxels[is_sampled], found.index[is_sampled]
        coarse = voxels[:, 1:] // stride
        middles = coarse * stride + (stride - 1) / 2
        shape = [n // stride for n in labels.shape[2:]]
        out = torch.full((len(labels), *shape, 3), torch.nan, device=labels.device)
        out[voxels[:, 0], *coarse.T] = (found.centres[index] - middles) / stride
        return out.movedim(-1, 1)

    def loss(self, predicted: Tensor, offsets: Tensor) -> Tensor:
        """Return the weighted mean smooth L1 distance where there are offsets; 0 where none are."""
        is_known = ~offsets.isnan()
        if not is_known.any():
            return predicted.sum() * 0
        distance = functional.smooth_l1_loss(predicted[is_known], offsets[is_known])
        return self.weight * distance


@dataclass(frozen=True)
class FoundParticles:
    """The particles in a batch of crops.

    Args:
        voxels: (m, 4), crop z y x of every voxel of a particle.
        index: (m,) which particle a voxel is of.
        batch: (n,) crop of each particle.
        label: (n,) its label.
        centres: (n, 3) mean of its voxels, z y x.
        is_whole: (n,) whether its voxels are those of one ball that the crop does not cut.
    """

    voxels: Tensor
    index: Tensor
    batch: Tensor
    label: Tensor
    centres: Tensor
    is_whole: Tensor


def find_particles(labels: Tensor, particles: Tensor) -> FoundParticles:
    """Find the particles of a batch, after any augmentation, by the numbers of their voxels.

    Args:
        labels: as in `Painter`.
        particles: as in `Painter`.
    """
    voxels = (particles[:, 0] > 0).nonzero()
    places, positions = tuple(voxels.T), voxels[:, 1:].float()
    kinds = places[0] * 256 + labels[:, 0][places].long()
    keys, index = torch.unique(kinds * 2**24 + particles[:, 0][places].long(), return_inverse=True)
    zeros = positions.new_zeros(len(keys))
    counts = torch.bincount(index, minlength=len(keys))
    centres = zeros[:, None].repeat(1, 3).index_add_(0, index, positions) / counts[:, None]
    distances = (positions - centres[index]).norm(dim=1)
    farthest = zeros.scatter_reduce(0, index, distances, "amax")
    last = torch.tensor(labels.shape[2:], device=voxels.device) - 1
    is_at_border = ((voxels[:, 1:] == 0) | (voxels[:, 1:] == last)).any(dim=1)
    is_cut = zeros.scatter_reduce(0, index, is_at_border.float(), "amax") > 0
    ball_radii = (3 * counts / (4 * math.pi)) ** (1 / 3)
    return FoundParticles(
        voxels,
        index,
        batch=keys // 2**32,
        label=keys // 2**24 % 256,
        centres=centres,
        is_whole=~is_cut & (farthest <= LOOSE * ball_radii + 1),
    )


def _add_gaussian(heat: Tensor, centre: Sequence[float], sigma: float, stride: int) -> None:
    """Raise a heatmap (z, y, x), in place, to a Gaussian.

    Args:
        heat: at every `stride`th voxel.
        centre: voxels z y x, of the finer grid, as is sigma.
        sigma: standard deviation.
        stride: voxels along an edge of a coarse one.
    """
    box, profiles = [], []
    for middle, length in zip(centre, heat.shape, strict=True):
        place = (middle - (stride - 1) / 2) / stride
        reach = REACH * sigma / stride
        low, high = max(0, math.ceil(place - reach)), min(length, math.floor(place + reach) + 1)
        distances = torch.arange(low, high, device=heat.device) - place
        profiles.append(torch.exp(-0.5 * (distances * stride / sigma) ** 2))
        box.append(slice(low, high))
    z, y, x = profiles
    gaussian = z[:, None, None] * y[:, None] * x
    heat[tuple(box)] = torch.maximum(heat[tuple(box)], gaussian)
