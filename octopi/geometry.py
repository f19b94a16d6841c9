"""Ångström to voxel, (x, y, z) to (z, y, x), fine to coarse: the one place that crosses over.

A voxel's index is its centre: location (Å) = index * spacing, with no half-voxel shift (copick's
convention). Arrays are (z, y, x); points are (x, y, z) in Å.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

SAME = 1e-2  # relative: spacings are rounded by whoever writes them down
NEARLY_EXACT = 1e-3  # relative: copick rounds to three decimals, headers hold single precision


def same_spacing(a: float, b: float, *, tolerance: float = SAME) -> bool:
    """Whether two voxel spacings (Å) are one, the tolerance included, whichever is named first."""
    return math.isclose(a, b, rel_tol=tolerance + 1e-9)  # 29.7 is within 1 % of 30, also in floats


@dataclass(frozen=True)
class Points:
    """Locations of particles of one object.

    Args:
        positions: (n, 3) in Å, x y z.
        scores: (n,) in 0..1, or None where nobody scored them.
    """

    positions: NDArray[np.float64]
    scores: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        positions = np.asarray(self.positions, dtype=np.float64).reshape(-1, 3)
        object.__setattr__(self, "positions", positions)
        if self.scores is not None:
            scores = np.asarray(self.scores, dtype=np.float32).reshape(-1)
            if len(scores) != len(positions):
                raise ValueError(f"{len(positions)} positions but {len(scores)} scores.")
            object.__setattr__(self, "scores", scores)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, keep: NDArray | slice) -> Self:
        """The points a mask, index array or slice keeps."""
        scores = None if self.scores is None else self.scores[keep]
        return type(self)(self.positions[keep], scores)

    def above(self, threshold: float) -> Self:
        """The points whose score is at least the threshold (all of them where none has a score)."""
        return self if self.scores is None else self[self.scores >= threshold]

    @classmethod
    def empty(cls) -> Self:
        """No points at all."""
        return cls(np.zeros((0, 3)), np.zeros(0, dtype=np.float32))


@dataclass(frozen=True)
class Grid:
    """How a volume samples space: shape in voxels and spacing in Å, both (z, y, x)."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]

    @classmethod
    def cubic(cls, shape: Sequence[int], spacing: float) -> Self:
        """A grid whose voxels are cubes with an edge of `spacing` Å."""
        z, y, x = (int(n) for n in shape)
        edge = float(spacing)
        return cls((z, y, x), (edge, edge, edge))

    def to_voxels(self, positions: ArrayLike) -> NDArray[np.float64]:
        """Positions (n, 3) in Å, x y z, as fractional voxel indices (n, 3), z y x."""
        xyz = np.asarray(positions, dtype=np.float64).reshape(-1, 3)
        return xyz[:, ::-1] / np.asarray(self.spacing)

    def to_angstrom(self, voxels: ArrayLike) -> NDArray[np.float64]:
        """Fractional voxel indices (n, 3), z y x, as positions (n, 3) in Å, x y z."""
        zyx = np.asarray(voxels, dtype=np.float64).reshape(-1, 3)
        return (zyx * np.asarray(self.spacing))[:, ::-1]

    def contains(self, positions: ArrayLike) -> NDArray[np.bool_]:
        """Which positions (Å, x y z) lie in some voxel of the volume."""
        voxels = self.to_voxels(positions)
        return np.all((voxels >= -0.5) & (voxels < np.asarray(self.shape) - 0.5), axis=1)

    def at_spacing(self, working_spacing: float) -> Self:
        """The coarser grid of the same box nearest to `working_spacing` Å.

        The first voxel's centre stays where it is; spacings are exact quotients of the voxel
        counts, so picks convert back without drift. A spacing within 1 % gives the same grid.
        """
        shape = tuple(
            n if same_spacing(s, working_spacing) else max(1, round(n * s / working_spacing))
            for n, s in zip(self.shape, self.spacing, strict=True)
        )
        return self.with_shape(shape)

    def with_shape(self, shape: Sequence[int]) -> Self:
        """The grid of another shape over the same box."""
        z, y, x = (int(n) for n in shape)
        dz, dy, dx = (
            s * n / m for s, n, m in zip(self.spacing, self.shape, (z, y, x), strict=True)
        )
        return type(self)((z, y, x), (dz, dy, dx))


def fourier_resample(volume: NDArray[np.float32], shape: Sequence[int]) -> NDArray[np.float32]:
    """The volume on another shape over the same box, by cropping or padding its spectrum.

    Works axis by axis, so that the largest copy is one half-cropped volume. The mean and the
    first voxel's centre stay where they were.
    """
    out = np.asarray(volume, dtype=np.float32)
    for axis, size in enumerate(shape):
        held = out.shape[axis]
        if size != held:
            spectrum = np.asarray(scipy.fft.rfft(out, axis=axis, workers=-1))
            cropped = spectrum.take(range(min(size // 2 + 1, spectrum.shape[axis])), axis=axis)
            smaller = np.asarray(scipy.fft.irfft(cropped, n=size, axis=axis, workers=-1))
            out = smaller * np.float32(size / held)
    return np.ascontiguousarray(out, dtype=np.float32)
