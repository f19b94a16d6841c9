"""Draw the crops of a training step, and read them from the cached tomograms."""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from octopi.data.cache import CODE_BYTES, IMAGE_BYTES, TARGET_BYTES, VolumeCache
from octopi.errors import SettingError, shorten, users_definition
from octopi.geometry import Grid
from octopi.targets import UNKNOWN, rejected_value

REJECTED = -1  # in place of a label: voxels around places found to be no particle
MAX_POSITIONS = 4096  # kept per class and tomogram: plenty to draw from, little to hold


@dataclass(frozen=True)
class CachedTomogram:
    """A tomogram of a run on its working grid, and its target.

    Args:
        name: type and spacing of the tomogram.
        volume: cache key of the normalised tomogram.
        target: cache key of the label volume.
        grid: the grid of both.
        positions: label (0: background; REJECTED) -> flat indices of voxels with it.
        not_annotated: labels of the objects that nobody annotated in the run.
        codes: cache key of the target with the particles numbered, see `particles`; None where
            nobody needs their numbers.
    """

    name: str
    volume: str
    target: str
    grid: Grid
    positions: Mapping[int, NDArray[np.integer]] = field(repr=False)
    not_annotated: frozenset[int] = frozenset()
    codes: str | None = None

    @property
    def crop_target(self) -> str:
        """Cache key of the target that crops are cut from."""
        return self.codes or self.target

    def num_bytes(self) -> dict[str, int]:
        """Return the bytes of the volumes, by cache key."""
        voxels = math.prod(self.grid.shape)
        codes = {self.codes: CODE_BYTES * voxels} if self.codes else {}
        return {self.volume: IMAGE_BYTES * voxels, self.target: TARGET_BYTES * voxels, **codes}


@dataclass(frozen=True)
class Crop:
    """The location of a crop: its tomogram and first voxel."""

    variant: CachedTomogram
    start: tuple[int, int, int]


@dataclass(frozen=True)
class CropSettings:
    """How crops are drawn.

    Args:
        crop_size: voxels, z y x.
        crops_per_step: number of crops of a process, from as many different runs as there are.
        background_fraction: part of the crops centred on background; the classes share the rest.
        center_jitter: part of the crop within which the voxel it is drawn for may lie; 0 is the
            middle.
        seed: seed of every draw.
    """

    crop_size: tuple[int, ...]
    crops_per_step: int
    background_fraction: float
    center_jitter: float
    seed: int


class CropChooser(ABC):
    """Chooses the crops of a step, in place of equal shares of the objects."""

    @abstractmethod
    def __call__(
        self,
        runs: Sequence[Sequence[CachedTomogram]],
        num_crops: int,
        rng: np.random.Generator,
    ) -> list[tuple[CachedTomogram, Sequence[int]]]:
        """Return a tomogram and the middle voxel, z y x, of each crop.

        Args:
            runs: for each run, its tomograms.
            num_crops: of the step.
            rng: for all random numbers.
        """


def find_positions(target: NDArray[np.uint8]) -> dict[int, NDArray[np.integer]]:
    """Return label -> flat indices of its voxels, at most MAX_POSITIONS drawn evenly.

    Unknown voxels have none.
    """
    rng = np.random.default_rng(0)  # the same voxels whatever seed the user chooses
    flat = target.reshape(-1)
    dtype = np.int32 if flat.size < 2**31 else np.int64
    painted = np.flatnonzero(flat != 0).astype(dtype)  # six times as fast on booleans
    labels = flat[painted]
    positions = {int(k): painted[labels == k] for k in np.unique(labels)}
    anywhere = rng.integers(flat.size, size=MAX_POSITIONS, dtype=dtype)
    positions[0] = anywhere[flat[anywhere] == 0]
    if positions.pop(UNKNOWN, None) is not None:  # what is known may be small
        positions[0] = np.flatnonzero(flat == 0).astype(dtype)
    return {
        label: data
        if len(data) <= MAX_POSITIONS
        else rng.choice(data, MAX_POSITIONS, replace=False)
        for label, data in positions.items()
        if len(data)
    }


def pool_rejected(
    positions: Mapping[int, NDArray[np.integer]], labels: Collection[int]
) -> dict[int, NDArray[np.integer]]:
    """Put the voxels of all values but background and labels under REJECTED.

    Args:
        positions: value of a target -> flat indices of voxels.
        labels: of the objects.
    """
    pooled = {value: voxels for value, voxels in positions.items() if value in (0, *labels)}
    rejected = [voxels for value, voxels in positions.items() if value not in pooled]
    return {**pooled, REJECTED: np.concatenate(rejected)} if rejected else pooled


class CropSampler:
    """Draws the crops of a step; the same for the same seed, epoch and step.

    The ranks divide one draw among them, so that together they train on what one process with
    as many crops would.

    Args:
        cache: of the volumes.
        runs: for each run, its tomograms; together they have every label.
        labels: labels that crops are centred on in equal shares, without background. Rejected
            places have a share as well, smaller where there are fewer of them than particles.
        settings: how crops are drawn.
        choose: chooses the crops instead; None for equal shares.
    """

    def __init__(
        self,
        cache: VolumeCache,
        runs: Sequence[Sequence[CachedTomogram]],
        *,
        labels: Sequence[int],
        settings: CropSettings,
        choose: CropChooser | None = None,
    ) -> None:
        self.cache = cache
        self.runs = runs
        self.num_classes = max(labels) + 1
        self.choose = choose
        has_rejected = choose is None and any(
            REJECTED in variant.positions for run in runs for variant in run
        )
        self.labels = np.asarray([*labels, *([REJECTED] if has_rejected else [])])
        self.rejected_share = self._rejected_share(labels) if has_rejected else 1.0
        self.settings = settings
        self._size = np.asarray(settings.crop_size)
        self._runs_with_label = {
            label: [i for i, run in enumerate(runs) if any(label in v.positions for v in run)]
            for label in (0, *self.labels.tolist())
        }

    def read(self, crops: Sequence[Crop]) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
        """Read crops: images and targets, or codes of targets, both (b, 1, z, y, x)."""
        return (
            self._read_crops(crops, [crop.variant.volume for crop in crops], "reflect"),
            self._read_crops(crops, [crop.variant.crop_target for crop in crops], "constant"),
        )

    def _read_crops(self, crops: Sequence[Crop], keys: Sequence[str], padding: str) -> NDArray:
        """Read crops (b, 1, z, y, x) of the volumes with these keys; padding as of `read_crop`."""
        volumes = map(self.cache.open, keys)
        pairs = zip(volumes, crops, strict=True)
        return np.stack([read_crop(v, c.start, self._size, padding) for v, c in pairs])[:, None]

    def not_annotated(self, crops: Sequence[Crop]) -> NDArray[np.bool_]:
        """Return which classes (b, c), background first, are not annotated in each crop's run."""
        classes = range(self.num_classes)
        return np.array([[k in crop.variant.not_annotated for k in classes] for crop in crops])

    def draw_crops(self, *, epoch: int, step: int, rank: int = 0, num_ranks: int = 1) -> list[Crop]:
        """Draw the crops of a step for all ranks together; return those of one rank."""
        key = np.random.SeedSequence((self.settings.seed, epoch, step, 0))
        rng = np.random.Generator(np.random.Philox(key))
        num_crops = self.settings.crops_per_step * num_ranks
        if self.choose is not None:
            return self._chosen_crops(self.choose, num_crops, rng)[rank::num_ranks]
        labels = self._draw_labels(num_crops, rng)
        crops = [
            self._crop_around(label, self.runs[run], rng)
            for label, run in zip(labels, self._draw_runs(labels, rng), strict=True)
        ]
        return crops[rank::num_ranks]

    def _rejected_share(self, labels: Sequence[int]) -> float:
        """Return the rejected places per particle, summed over the labels; 1 at most.

        Spheres of a label are of one size: numbers of voxels tell those of places and particles.
        """
        counts = np.zeros(UNKNOWN + 1, dtype=int)
        for run in self.runs:
            for plane in self.cache.open(run[0].target):
                counts += np.bincount(plane.ravel(), minlength=len(counts))
        share = 0.0
        for label in labels:
            marks = [rejected_value(label, else_unknown=outside) for outside in (False, True)]
            share += counts[marks].sum() / max(counts[label], 1)
        return min(1.0, share)

    def _draw_labels(self, num_crops: int, rng: np.random.Generator) -> list[int]:
        """Draw a label for each crop, so that every label gets an equal share."""
        rounds = -(-num_crops // len(self.labels))
        shuffled_labels = np.concatenate([rng.permutation(self.labels) for _ in range(rounds)])
        shuffled_labels = shuffled_labels[:num_crops]
        if self.rejected_share < 1:
            is_replaced = rng.random(num_crops) >= self.rejected_share
            others = rng.choice(self.labels[:-1], num_crops)
            shuffled_labels = np.where(
                is_replaced & (shuffled_labels == REJECTED), others, shuffled_labels
            )
        background = rng.random(num_crops) < self.settings.background_fraction
        labels = np.where(background & bool(self._runs_with_label[0]), 0, shuffled_labels)
        # rare labels first: later their only runs might be used already
        return sorted(map(int, labels), key=lambda label: len(self._runs_with_label[label]))

    def _draw_runs(self, labels: Sequence[int], rng: np.random.Generator) -> list[int]:
        """Choose a run for each label, the least used first."""
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
        """Draw a crop around a voxel of the label, in one of the run's tomograms that have it."""
        with_label = [variant for variant in run if label in variant.positions]
        variant = with_label[rng.integers(len(with_label))]
        voxel = np.unravel_index(rng.choice(variant.positions[label]), variant.grid.shape)
        jitter = rng.uniform(-0.5, 0.5, 3) * self.settings.center_jitter
        relative_position = 0.5 + jitter  # of the voxel in the crop, 0..1
        start = np.asarray(voxel) - (relative_position * self._size).astype(int)
        return self._crop_at(variant, start)

    def _chosen_crops(
        self, choose: CropChooser, num_crops: int, rng: np.random.Generator
    ) -> list[Crop]:
        """Return the crops around the voxels that the user's sampler chooses."""
        chosen = list(choose(self.runs, num_crops, rng))
        variants = {id(variant) for run in self.runs for variant in run}
        is_right = len(chosen) == num_crops and all(
            len(pair) == 2 and id(pair[0]) in variants and np.shape(pair[1]) == (3,)
            for pair in chosen
        )
        if not is_right:
            raise SettingError(
                f"sampler: {type(choose).__name__}{users_definition(choose)} must return "
                f"{num_crops} pairs of a tomogram of its runs and a voxel (z, y, x), not "
                f"{len(chosen)}: {shorten(chosen, 200)}."
            )
        return [self._crop_at(v, np.asarray(voxel, int) - self._size // 2) for v, voxel in chosen]

    def _crop_at(self, variant: CachedTomogram, start: NDArray[np.integer]) -> Crop:
        """Return a crop that begins at a voxel, moved into its tomogram."""
        last = np.maximum(np.asarray(variant.grid.shape) - self._size, 0)
        z, y, x = np.clip(start, 0, last).tolist()
        return Crop(variant, (z, y, x))


def read_crop(
    volume: NDArray, start: Sequence[int], size: Sequence[int] | NDArray, padding: str
) -> NDArray:
    """Copy a crop of the volume; pad it on both sides where the volume is thinner than the crop.

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
