"""Conversions between ångström and voxels, (x, y, z) and (z, y, x), fine and coarse grids.

A voxel's index is its centre: location (Å) = index * spacing, with no half-voxel shift (copick's
convention). Arrays are (z, y, x); points are (x, y, z) in Å.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy.spatial import KDTree

SAME = 1e-2  # relative: people and programs round spacings
NEARLY_EXACT = 1e-3  # relative: copick rounds to three decimals, headers hold single precision
MAX_OFFSET = 2  # voxels by which programs that bin differ in the length of a side
EXACT = 1e-4  # relative: less than a tenth of a voxel at the far end of a tomogram


def same_spacing(a: float, b: float, *, tolerance: float = SAME) -> bool:
    """Return whether two voxel spacings (Å) differ by at most the tolerance, in either order."""
    return math.isclose(a, b, rel_tol=tolerance + 1e-9)  # 29.7 is within 1 % of 30, also in floats


def format_shape(shape: Iterable[float]) -> str:
    """Format a volume's edges, in voxels or Å, as in 184×630×630."""
    return "×".join(f"{edge:.0f}" for edge in shape)


@dataclass(frozen=True)
class Points:
    """Locations of particles of one object.

    Args:
        positions: (n, 3) in Å, x y z.
        scores: (n,) in 0..1, or None without scores.
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
        """Return the points that a mask, index array or slice selects."""
        scores = None if self.scores is None else self.scores[keep]
        return type(self)(self.positions[keep], scores)

    @property
    def scores_or_ones(self) -> NDArray[np.float32]:
        """The scores (n,); 1 where there are none, as in copick."""
        return np.ones(len(self), np.float32) if self.scores is None else self.scores

    def above(self, threshold: float) -> Self:
        """Return the points whose score is at least the threshold; all of them without scores."""
        return self if self.scores is None else self[self.scores >= threshold]

    @classmethod
    def empty(cls) -> Self:
        """Make an empty set of points."""
        return cls(np.zeros((0, 3)), np.zeros(0, dtype=np.float32))


PicksByRun = Mapping[str, Mapping[str, Points]]  # run name -> object name -> points


@dataclass(frozen=True)
class Grid:
    """The sampling of a volume: shape in voxels and spacing in Å, both (z, y, x)."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]

    @classmethod
    def cubic(cls, shape: Sequence[int], spacing: float) -> Self:
        """Make a grid whose voxels are cubes with an edge of `spacing` Å."""
        z, y, x = (int(n) for n in shape)
        edge = float(spacing)
        return cls((z, y, x), (edge, edge, edge))

    def to_voxels(self, positions: ArrayLike) -> NDArray[np.float64]:
        """Convert positions (n, 3) in Å, x y z, to fractional voxel indices (n, 3), z y x."""
        xyz = np.asarray(positions, dtype=np.float64).reshape(-1, 3)
        return xyz[:, ::-1] / np.asarray(self.spacing)

    def to_angstrom(self, voxels: ArrayLike) -> NDArray[np.float64]:
        """Convert fractional voxel indices (n, 3), z y x, to positions (n, 3) in Å, x y z."""
        zyx = np.asarray(voxels, dtype=np.float64).reshape(-1, 3)
        return (zyx * np.asarray(self.spacing))[:, ::-1]

    def contains(self, positions: ArrayLike) -> NDArray[np.bool_]:
        """Return which positions (n, 3), in Å, x y z, lie in a voxel of the volume."""
        voxels = self.to_voxels(positions)
        return np.all((voxels >= -0.5) & (voxels < np.asarray(self.shape) - 0.5), axis=1)

    def matches(self, other: Self) -> bool:
        """Return whether another grid has this shape and, up to rounding, these spacings."""
        pairs = zip(self.spacing, other.spacing, strict=True)
        same = all(same_spacing(a, b, tolerance=EXACT) for a, b in pairs)
        return self.shape == other.shape and same

    def spans_box_of(self, other: Self, *, max_offset: float) -> bool:
        """Return whether another grid spans this box, up to `max_offset` of the larger voxels."""
        return all(
            abs(n * s - m * t) <= max_offset * max(s, t)
            for n, s, m, t in zip(self.shape, self.spacing, other.shape, other.spacing, strict=True)
        )

    def at_spacing(self, working_spacing: float) -> Self:
        """Return the grid of the same box nearest to `working_spacing` Å.

        The first voxel's centre stays where it is; spacings are exact quotients of the voxel
        counts, so picks convert back without drift. A spacing within 1 % gives the same grid.
        """
        shape = tuple(
            n if same_spacing(s, working_spacing) else max(1, round(n * s / working_spacing))
            for n, s in zip(self.shape, self.spacing, strict=True)
        )
        return self.with_shape(shape)

    def with_shape(self, shape: Sequence[int]) -> Self:
        """Return the grid of another shape over the same box."""
        z, y, x = (int(n) for n in shape)
        dz, dy, dx = (
            s * n / m for s, n, m in zip(self.spacing, self.shape, (z, y, x), strict=True)
        )
        return type(self)((z, y, x), (dz, dy, dx))


def distances_to_nearest(
    points: NDArray[np.float64], others: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the distances (n,) of points (n, 3) to the nearest of others; infinite without any."""
    if not len(others) or not len(points):
        return np.full(len(points), np.inf)
    return KDTree(others).query(points)[0]


def trim_to_cubic_voxels(
    grid: Grid, spacing: float, *, max_trimmed: int
) -> tuple[tuple[int, int, int], Grid]:
    """Make a grid of nearly cubic voxels at a coarser spacing from most of a cubic grid's box.

    Both begin at the same voxel. Each side gives up the voxels at its end that would stretch the
    new ones.

    Args:
        grid: of cubic voxels.
        spacing: of the result, Å.
        max_trimmed: voxels that a side may give up.

    Returns:
        How many voxels of the grid are used, z y x, and the coarser grid over them.
    """
    factor = spacing / grid.spacing[0]
    lengths = [_best_length(length, factor, max_trimmed) for length in grid.shape]
    used = Grid.cubic(lengths, grid.spacing[0])
    return used.shape, used.with_shape([max(1, round(length / factor)) for length in lengths])


def _best_length(length: int, factor: float, max_trimmed: int) -> int:
    """Return the longest of the lengths that a coarsening by `factor` divides most evenly."""

    def stretch(n: int) -> float:
        return round(abs(n / max(1, round(n / factor)) / factor - 1), 6)

    candidates = range(length, max(length - max_trimmed, length // 2, 1) - 1, -1)
    return min(candidates, key=stretch)  # the first, which is the longest, where several are best


def fourier_resample(
    volume: NDArray[np.float32],
    shape: Sequence[int],
    *,
    empty: Callable[[Sequence[int], DTypeLike], NDArray] = np.empty,
    max_voxels: int = 1 << 27,
) -> NDArray[np.float32]:
    """Resample a volume to another shape of the same box, by cropping or padding its spectrum.

    The mean and the first voxel's centre stay. One axis is resampled after the other, and of a
    large volume one slab after the other.

    Args:
        volume: (z, y, x).
        shape: of the result, voxels z y x.
        empty: makes the arrays for the results of each axis.
        max_voxels: resampled at once.
    """
    out = np.asarray(volume, dtype=np.float32)
    for axis, size in enumerate(shape):
        if size == out.shape[axis]:
            continue
        source, length = out, out.shape[axis]
        new_shape = [*source.shape[:axis], size, *source.shape[axis + 1 :]]
        out = empty(new_shape, np.float32)
        across = 0 if axis else 1  # lines along the axis stay whole
        layers = max(1, max_voxels * source.shape[across] // source.size)
        for start in range(0, source.shape[across], layers):
            slab = (slice(None),) * across + (slice(start, start + layers),)
            spectrum = np.asarray(scipy.fft.rfft(source[slab], axis=axis, workers=-1))
            cropped = spectrum.take(range(min(size // 2 + 1, spectrum.shape[axis])), axis=axis)
            smaller = np.asarray(scipy.fft.irfft(cropped, n=size, axis=axis, workers=-1))
            np.multiply(smaller, np.float32(size / length), out=out[slab])
    return out if out.flags.c_contiguous else np.ascontiguousarray(out)
