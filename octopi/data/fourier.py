"""Random changes of crops in Fourier space: what another microscope session would have recorded.

As in `augment`, each takes and returns a batch, and the target stays as it is. Crops are
transformed on the device that trains; frequencies are in cycles per voxel, the beam runs along z.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from octopi.data.augment import Augmentation, Batch
from octopi.ranges import Factor, FactorOrZero, QuarterTurn, Share, Spacing, validated

WAVELENGTH = 0.0197  # Å, of electrons at 300 kV
SPHERICAL_ABERRATION = 2.7e7  # Å
AMPLITUDE_CONTRAST = 0.07  # part of the contrast, as usual in ice
WIENER_CONSTANT = 0.1  # keeps a change of defocus finite where nothing was recorded


@validated
@dataclass(kw_only=True)
class FourierAugmentation(Augmentation):
    """Multiplies the Fourier transform of some of the crops by a filter.

    Args:
        prob: chance per crop.
    """

    prob: Share

    def filters(self, image: Tensor, spectrum: Tensor, rng: torch.Generator) -> Tensor:
        """Return real factors (b, 1, z, y, x // 2 + 1) for every crop.

        Args:
            image: (b, 1, z, y, x).
            spectrum: (b, 1, z, y, x // 2 + 1), its transform.
            rng: for the choices.
        """
        raise NotImplementedError

    def __call__(self, image: Tensor, target: Tensor, rng: torch.Generator) -> Batch:
        """Filter some of the crops; mean and standard deviation of each stay as they were."""
        chosen = (torch.rand(len(image), generator=rng) < self.prob).to(image.device)
        spectrum = torch.fft.rfftn(image, dim=(2, 3, 4))
        factors = self.filters(image, spectrum, rng)
        if not chosen.any():
            return image, target
        filtered = torch.fft.irfftn(spectrum * factors, s=image.shape[2:], dim=(2, 3, 4))
        axes = (1, 2, 3, 4)
        std, mean = torch.std_mean(image, dim=axes, keepdim=True)
        new_std, new_mean = torch.std_mean(filtered, dim=axes, keepdim=True)
        filtered = (filtered - new_mean) * (std / new_std.clamp_min(1e-12)) + mean
        return torch.where(chosen.view(-1, 1, 1, 1, 1), filtered, image), target


@validated
@dataclass(kw_only=True)
class MissingWedge(FourierAugmentation):
    """Remove what a tilt series with a smaller range of tilts would not have recorded.

    The tilt axis is y, so this comes before turns. Source: the wedge of Liu et al. 2022, IsoNet,
    doi:10.1038/s41467-022-33957-8.

    Args:
        min_tilt: degrees, of the largest tilt that is drawn.
        max_tilt: degrees, of the same.
        prob: chance per crop.
    """

    min_tilt: QuarterTurn
    max_tilt: QuarterTurn

    def __post_init__(self) -> None:
        if self.min_tilt > self.max_tilt:
            raise ValueError(f"min_tilt={self.min_tilt:g} is above max_tilt={self.max_tilt:g}.")

    def filters(self, image: Tensor, spectrum: Tensor, rng: torch.Generator) -> Tensor:
        """Return 1 where the beam of some tilt lies across, 0 in the wedge."""
        low, high = self.min_tilt, self.max_tilt
        tilts = low + (high - low) * torch.rand(len(image), generator=rng)
        slopes = torch.tan(torch.deg2rad(tilts)).to(image.device).view(-1, 1, 1, 1, 1)
        z, _, x = frequencies(image.shape[2:], image.device)
        return (z.abs() <= slopes * x.abs() + 1e-6).expand(spectrum.shape).float()


@validated
@dataclass(kw_only=True)
class MatchSpectrum(FourierAugmentation):
    """Give a crop the rotationally averaged amplitudes of another one of the batch.

    Source: spectrum matching of Lamm et al. 2022, MemBrain, doi:10.1016/j.cmpb.2022.106990;
    amplitudes of another domain as in Yang and Soatto 2020, arXiv:2004.05498.

    Args:
        strength: largest part of the way to the other spectrum, drawn evenly from 0 up.
        prob: chance per crop.
    """

    strength: Share

    def filters(self, image: Tensor, spectrum: Tensor, rng: torch.Generator) -> Tensor:
        """Return the other crop's amplitude over the own one, in each shell of frequencies."""
        strength = torch.rand(len(image), generator=rng) * self.strength
        shells = shells_of(image.shape[2:], image.device)
        profiles = radial_profiles(spectrum.abs(), shells)
        ratios = (profiles.roll(1, 0) / profiles.clamp_min(1e-12)).clamp(0.1, 10)
        ratios = ratios ** strength.to(image.device)[:, None]
        return ratios[:, shells][:, None]


@validated
@dataclass(kw_only=True)
class ChangeDefocus(FourierAugmentation):
    """Replace the contrast transfer of one defocus by that of another.

    The tomograms are taken to be corrected for phases, so that transfer is |CTF|, and it is the
    same in all directions of the crop. Source: the CTF of Rohou and Grigorieff 2015,
    doi:10.1016/j.jsb.2015.08.008, at 300 kV; the Wiener filter is that of Tegunov and Cramer 2019,
    doi:10.1038/s41592-019-0580-y.

    Args:
        voxel_spacing: Å, of the crops.
        defocus: µm underfocus of the tomograms.
        change: largest change of it, µm.
        prob: chance per crop.
    """

    voxel_spacing: Spacing | None
    defocus: Factor
    change: FactorOrZero

    def __post_init__(self) -> None:
        if self.voxel_spacing is None:
            raise ValueError(
                "a change of defocus needs the voxel spacing of the crops: set "
                "data.working_spacing, or augment.defocus.voxel_spacing, in Å."
            )
        if self.change > self.defocus:
            raise ValueError(
                f"change={self.change:g} is more than the defocus itself, {self.defocus:g} µm."
            )

    def filters(self, image: Tensor, spectrum: Tensor, rng: torch.Generator) -> Tensor:
        """Return the new transfer over the old one, regularised."""
        change = (2 * torch.rand(len(image), generator=rng) - 1) * self.change
        z, y, x = frequencies(image.shape[2:], image.device)
        assert self.voxel_spacing is not None
        squared = (z**2 + y**2 + x**2) / self.voxel_spacing**2
        old = transfer(squared, torch.tensor(self.defocus, device=image.device))
        new = transfer(squared, (self.defocus + change).to(image.device).view(-1, 1, 1, 1, 1))
        return (new * old + WIENER_CONSTANT) / (old**2 + WIENER_CONSTANT)


def frequencies(shape: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the frequencies of `rfftn` along z, y and x, cycles per voxel, ready to broadcast."""
    depth, height, width = shape
    z = torch.fft.fftfreq(depth, device=device)[:, None, None]
    y = torch.fft.fftfreq(height, device=device)[:, None]
    return z, y, torch.fft.rfftfreq(width, device=device)


def shells_of(shape: Sequence[int], device: torch.device) -> Tensor:
    """Return the shell (z, y, x // 2 + 1) of each frequency: as wide as the coarsest axis has."""
    z, y, x = frequencies(shape, device)
    return ((z**2 + y**2 + x**2).sqrt() * min(shape)).round().long()


def radial_profiles(amplitudes: Tensor, shells: Tensor) -> Tensor:
    """Average amplitudes (b, 1, z, y, x // 2 + 1) in each shell; return (b, shells)."""
    num_shells = int(shells.max()) + 1
    counts = torch.bincount(shells.flatten(), minlength=num_shells)
    sums = amplitudes.new_zeros((len(amplitudes), num_shells))
    sums.index_add_(1, shells.flatten(), amplitudes.flatten(1))
    return sums / counts.clamp_min(1)


def transfer(squared_frequency: Tensor, defocus: Tensor) -> Tensor:
    """Return |CTF| at squared frequencies, 1/Å², for an underfocus in µm."""
    phase = (
        math.pi
        * WAVELENGTH
        * squared_frequency
        * (defocus * 1e4 - 0.5 * SPHERICAL_ABERRATION * WAVELENGTH**2 * squared_frequency)
    )
    return torch.sin(phase + math.asin(AMPLITUDE_CONTRAST)).abs()
