"""Simulate tomograms of a density: contrast transfer, missing wedge, noise, and denoising.

Beam along z, tilt axis y. By the projection theorem each tilt fills one plane of the spectrum, so
a tilt series with one defocus is a radial transfer function times a wedge-shaped mask.
"""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

WAVELENGTH = 0.0197  # Å, electrons of 300 kV
SPHERICAL_ABERRATION = 2.7e7  # Å
AMPLITUDE_CONTRAST = 0.07
MAX_TILT = 60.0  # degrees
FALLOFF = 1500.0  # Å², B-factor of radiation damage and misaligned tilts


def frequencies(shape: tuple[int, int, int], spacing: float) -> list[NDArray[np.float32]]:
    """Return the frequencies of scipy.fft.rfftn along z, y, x in 1/Å, ready to broadcast.

    Args:
        shape: of the volume.
        spacing: of its voxels, Å.
    """
    nz, ny, nx = shape
    z, y = scipy.fft.fftfreq(nz, spacing)[:, None, None], scipy.fft.fftfreq(ny, spacing)[:, None]
    return [axis.astype(np.float32) for axis in (z, y, scipy.fft.rfftfreq(nx, spacing))]


def contrast_transfer(squared: NDArray[np.float32], *, defocus: float) -> NDArray[np.float32]:
    """Return the contrast transfer function, positive where density is dark.

    Args:
        squared: squared frequencies, 1/Å².
        defocus: underfocus, Å.
    """
    phase = (
        np.pi
        * WAVELENGTH
        * squared
        * (defocus - 0.5 * SPHERICAL_ABERRATION * WAVELENGTH**2 * squared)
    )
    return np.sin(phase + np.float32(np.arcsin(AMPLITUDE_CONTRAST)))


def simulate_tomograms(
    density: NDArray[np.float32],
    *,
    spacing: float,
    defocus: float,
    snr: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Simulate the weighted back-projection and the denoised tomogram of a density.

    Args:
        density: protein positive, (z, y, x).
        spacing: voxel edge in Å.
        defocus: underfocus in Å.
        snr: variance of the signal over that of the noise in the weighted back-projection.
        rng: draws the noise.

    Returns:
        Both tomograms, of the density's shape.
    """
    z, y, x = frequencies(density.shape, spacing)
    squared = z**2 + y**2 + x**2
    is_measured = np.abs(z) <= np.float32(np.tan(np.radians(MAX_TILT))) * np.abs(x)  # no wedge
    transfer = contrast_transfer(squared, defocus=defocus)
    signal = _spectrum(density)
    signal *= -transfer * np.exp(-FALLOFF / 4 * squared) * is_measured
    signal[0, 0, 0] = 0
    noise = _spectrum(rng.standard_normal(density.shape, dtype=np.float32))
    # Back-projection adds up more tilts near the axis, and its ramp filter evens out the signal,
    # so that the power of the noise grows with the distance from the axis.
    noise *= np.sqrt(np.hypot(z, x)) * is_measured
    noise *= np.float32(np.sqrt(_power(signal) / (snr * _power(noise))))
    signal += noise
    wbp = _volume(signal, density.shape)
    signal *= _deconvolution(squared, transfer)
    denoised = _volume(signal, density.shape)
    return wbp, smooth(normalize(denoised), num_steps=5, edge=1.5)


def _spectrum(volume: NDArray[np.float32]) -> NDArray[np.complex64]:
    return np.asarray(scipy.fft.rfftn(volume), dtype=np.complex64)


def _volume(spectrum: NDArray[np.complex64], shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.asarray(scipy.fft.irfftn(spectrum, s=shape), dtype=np.float32)


def _power(spectrum: NDArray[np.complex64]) -> float:
    return float(np.sum(np.abs(spectrum) ** 2, dtype=np.float64))


def _deconvolution(
    squared: NDArray[np.float32], transfer: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return a Wiener filter that assumes a signal-to-noise ratio falling with the frequency."""
    frequency = np.sqrt(squared)
    snr_estimate = 100 * np.exp(-frequency * 120) * (1 - np.exp(-squared * 700**2))
    return transfer * snr_estimate / (transfer**2 * snr_estimate + 1)


def smooth(volume: NDArray[np.float32], *, num_steps: int, edge: float) -> NDArray[np.float32]:
    """Smooth a volume by diffusion that stops at edges: differences well above `edge` stay."""
    out = np.array(volume, dtype=np.float32)
    for _ in range(num_steps):
        change = np.zeros_like(out)
        for axis in range(3):
            step = np.diff(out, axis=axis)
            step /= 1 + (step / edge) ** 2
            before = (slice(None),) * axis
            change[(*before, slice(None, -1))] += step
            change[(*before, slice(1, None))] -= step
        change /= 7
        out += change
    return out


def normalize(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the volume with zero mean and unit variance.

    Training normalises by another function: a change of that must not change the phantom.
    """
    mean, std = volume.mean(dtype=np.float64), volume.std(dtype=np.float64)
    return ((volume - mean) / std).astype(np.float32)
