"""Crops: which parts of which tomograms a training step sees, and how they are read (pure)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from octopi.data.cache import VolumeCache
from octopi.geometry import Grid

MAX_POSITIONS = 4096  # kept per class and tomogram: plenty to draw from, little to hold


@dataclass(frozen=True)
class CachedTomogram:
    """One tomogram of a run on its working grid, beside its target.

    Args:
        volume: cache key of the normalised tomogram.
        target: cache key of the label volume.
        grid: the grid of both.
        positions: label (0: background) -> flat indices of voxels that bear it.
    """

    volume: str
    target: str
    grid: Grid
    positions: Mapping[int, NDArray[np.integer]] = field(repr=False)

    def sizes(self) -> dict[str, int]:
        """Bytes of the two volumes, by cache key."""
        voxels = math.prod(self.grid.shape)
        return {self.volume: 2 * voxels, self.target: voxels}


@dataclass(frozen=True)
class Crop:
    """Where a crop lies: a tomogram, perhaps a second one to blend in, and the first voxel."""

    variant: CachedTomogram
    start: tuple[int, int, int]
    other: CachedTomogram | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class CropSettings:
    """How crops are drawn.

    Args:
        crop_size: voxels, z y x.
        crops_per_step: number of crops of a process, from as many different runs as there are.
        background_fraction: part of the crops centred on background; the classes share the rest.
        center_jitter: part of the crop within which the voxel it is drawn for may lie; 0 is the
            middle.
        blend: whether a crop is a random mixture of two of its run's tomograms.
        seed: seed of every draw.
    """

    crop_size: tuple[int, int, int]
    crops_per_step: int
    background_fraction: float
    center_jitter: float
    blend: bool
    seed: int

    def __post_init__(self) -> None:
        if len(self.crop_size) != 3 or min(self.crop_size) < 1:
            raise ValueError(f"crop_size is three voxel counts, z y x, not {self.crop_size}.")
        if self.crops_per_step < 1 or self.seed < 0:
            raise ValueError(
                f"Need crops_per_step of 1 or more and seed of 0 or more, not "
                f"{self.crops_per_step} and {self.seed}."
            )
        if not 0 <= self.background_fraction <= 1 or not 0 <= self.center_jitter <= 1:
            raise ValueError(
                "background_fraction and center_jitter lie in 0..1, not "
                f"{self.background_fraction} and {self.center_jitter}."
            )


def find_positions(target: NDArray[np.uint8]) -> dict[int, NDArray[np.integer]]:
    """Label -> flat indices of voxels that bear it, at most MAX_POSITIONS drawn evenly."""
    rng = np.random.default_rng(0)  # which of many voxels are kept is no choice of the user's
    flat = target.reshape(-1)
    dtype = np.int32 if flat.size < 2**31 else np.int64
    painted = np.flatnonzero(flat != 0).astype(dtype)  # of truth values: six times as fast
    labels = flat[painted]
    positions = {int(k): painted[labels == k] for k in np.unique(labels)}
    anywhere = rng.integers(flat.size, size=MAX_POSITIONS, dtype=dtype)
    positions[0] = anywhere[flat[anywhere] == 0]
    return {
        label: data
        if len(data) <= MAX_POSITIONS
        else rng.choice(data, MAX_POSITIONS, replace=False)
        for label, data in positions.items()
        if len(data)
    }


class CropSampler:
    """Draws the crops of a step; the same for the same seed, epoch and step.

    Ranks share out one draw: as many together as one process with so many more crops.

    Args:
        cache: where the volumes are.
        runs: for each run, its tomograms; together they hold every label.
        labels: labels that crops are centred on in equal shares, without background.
        settings: how crops are drawn.
    """

    def __init__(
        self,
        cache: VolumeCache,
        runs: Sequence[Sequence[CachedTomogram]],
        *,
        labels: Sequence[int],
        settings: CropSettings,
    ) -> None:
        self.cache = cache
        self.runs = runs
        self.labels = np.asarray(labels)
        self.settings = settings
        self._size = np.asarray(settings.crop_size)
        self._runs_with_label = {
            label: [i for i, run in enumerate(runs) if any(label in v.positions for v in run)]
            for label in (0, *labels)
        }

    def batch(
        self, *, epoch: int, step: int, rank: int, num_ranks: int
    ) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
        """A rank's crops of a step: images and targets, both (b, 1, z, y, x)."""
        crops = self.crops_of_rank(epoch=epoch, step=step, rank=rank, num_ranks=num_ranks)
        images = [self._read_image(crop) for crop in crops]
        targets = [
            read_crop(self.cache.open(c.variant.target), c.start, self._size, "constant")
            for c in crops
        ]
        return np.stack(images)[:, None], np.stack(targets)[:, None]

    def crops_of_rank(self, *, epoch: int, step: int, rank: int, num_ranks: int) -> list[Crop]:
        """Where a rank's crops of a step lie."""
        return self.draw_crops(epoch=epoch, step=step, num_ranks=num_ranks)[rank::num_ranks]

    def draw_crops(self, *, epoch: int, step: int, num_ranks: int) -> list[Crop]:
        """Where the crops of a step lie, those of every rank; a rank has each `num_ranks`th."""
        key = np.random.SeedSequence((self.settings.seed, epoch, step, 0))
        rng = np.random.Generator(np.random.Philox(key))
        labels = self._draw_labels(self.settings.crops_per_step * num_ranks, rng)
        return [
            self._crop_around(label, self.runs[run], rng)
            for label, run in zip(labels, self._draw_runs(labels, rng), strict=True)
        ]

    def _draw_labels(self, num_crops: int, rng: np.random.Generator) -> list[int]:
        """A label for each crop: dealt in turn from a shuffled deck, so that shares are even."""
        rounds = -(-num_crops // len(self.labels))
        shuffled_labels = np.concatenate([rng.permutation(self.labels) for _ in range(rounds)])
        shuffled_labels = shuffled_labels[:num_crops]
        background = rng.random(num_crops) < self.settings.background_fraction
        labels = np.where(background & bool(self._runs_with_label[0]), 0, shuffled_labels)
        # rare labels first: they must not find their only runs taken
        return sorted(map(int, labels), key=lambda label: len(self._runs_with_label[label]))

    def _draw_runs(self, labels: Sequence[int], rng: np.random.Generator) -> list[int]:
        """A run for each label, taking each run as seldom as can be."""
        order = rng.permutation(len(self.runs))
        used = np.zeros(len(self.runs), dtype=int)
        runs = []
        for label in labels:
            run = min(self._runs_with_label[label], key=lambda i: (used[i], order[i]))
            used[run] += 1
            runs.append(run)
        return runs

    def _crop_around(
        self, label: int, run: Sequence[CachedTomogram], rng: np.random.Generator
    ) -> Crop:
        """A crop around a voxel of the label, in one of the run's tomograms that have it."""
        holders = [variant for variant in run if label in variant.positions]
        variant = holders[rng.integers(len(holders))]
        voxel = np.unravel_index(rng.choice(variant.positions[label]), variant.grid.shape)
        relative_position = (
            0.5 + rng.uniform(-0.5, 0.5, 3) * self.settings.center_jitter
        )  # in the crop, 0..1
        start = np.asarray(voxel) - (relative_position * self._size).astype(int)
        last = np.maximum(np.asarray(variant.grid.shape) - self._size, 0)
        z, y, x = np.clip(start, 0, last).tolist()
        others = [v for v in run if v is not variant and v.grid == variant.grid]
        if not (self.settings.blend and others):
            return Crop(variant, (z, y, x))
        return Crop(variant, (z, y, x), others[rng.integers(len(others))], rng.random())

    def _read_image(self, crop: Crop) -> NDArray[np.float16]:
        """The voxels of a crop, of unit standard deviation as its tomograms are."""
        image = read_crop(self.cache.open(crop.variant.volume), crop.start, self._size, "reflect")
        if crop.other is None:
            return image
        first = image.astype(np.float32)
        second = read_crop(
            self.cache.open(crop.other.volume), crop.start, self._size, "reflect"
        ).astype(np.float32)
        return blend_volumes(first, second, crop.weight).astype(np.float16)


def blend_volumes(
    first: NDArray[np.float32], second: NDArray[np.float32], weight: float
) -> NDArray[np.float32]:
    """A mixture of two volumes of unit variance that keeps unit variance, however alike they are.

    Args:
        first: its part of the mixture is `weight`.
        second: the rest.
        weight: 0..1.
    """
    size = np.sqrt(np.vdot(first, first) * np.vdot(second, second))
    correlation = np.clip(np.vdot(first, second) / size, 0, 1) if size else 1.0
    variance = weight**2 + (1 - weight) ** 2 + 2 * weight * (1 - weight) * correlation
    return ((weight * first + (1 - weight) * second) / np.sqrt(variance)).astype(np.float32)


def read_crop(
    volume: NDArray, start: Sequence[int], size: Sequence[int] | NDArray, padding: str
) -> NDArray:
    """A crop of the volume; where the volume is thinner than the crop, padded on both sides.

    Args:
        volume: (z, y, x).
        start: first voxel, z y x.
        size: voxels, z y x.
        padding: "reflect" for images, "constant" (background) for targets.
    """
    crop = np.asarray(volume[tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))])
    missing_voxels = [n - length for n, length in zip(size, crop.shape, strict=True)]
    if not any(missing_voxels):
        return np.array(crop)
    widths = [(n // 2, n - n // 2) for n in missing_voxels]
    return np.pad(crop, widths, mode="reflect" if padding == "reflect" else "constant")
