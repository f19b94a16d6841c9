"""Sources: what a run gives to learn from: its tomograms and target on their working grids."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.data.cache import (
    NORMALISATION,
    VolumeCache,
    map_in_threads,
    prepare_volume,
    resample_labels,
    working_grid,
)
from octopi.data.crops import CachedTomogram, find_positions
from octopi.errors import DataError, NotInProjectError, ResourceError
from octopi.geometry import Grid
from octopi.project import Run, SegmentationQuery, TomogramQuery
from octopi.project.objects import WRITE_TARGET_AGAIN, check_labels, unknown_labels
from octopi.system import resources

logger = logging.getLogger(__name__)

Positions = dict[int, NDArray[np.integer]]


@dataclass(frozen=True)
class RunVolumes:
    """A run whose target is read and cached, and whose tomograms can be.

    Args:
        variants: its tomograms in the order asked for.
        loaders: cache key of a tomogram -> what reads and prepares it.
        classes: names of the objects that its target holds on every grid.
    """

    run_name: str
    variants: tuple[CachedTomogram, ...]
    loaders: Mapping[str, Callable[[], NDArray[np.float16]]]
    classes: frozenset[str]


@dataclass(frozen=True)
class SourceReader:
    """Reads targets and prepares tomograms.

    Args:
        cache: where they are kept.
        target: the label volumes.
        tomograms: those asked of each run; it must have the first's type, and may lack others.
        labels: object name -> label.
        working_spacing: Å; None keeps each tomogram's own.
        num_threads: how many runs are read at once.
    """

    cache: VolumeCache
    target: SegmentationQuery
    tomograms: Sequence[TomogramQuery]
    labels: Mapping[str, int]
    working_spacing: float | None
    num_threads: int

    def read(self, runs: Iterable[Run]) -> dict[str, RunVolumes]:
        """Run name -> source: targets are read now, tomograms when `fill` is called."""
        sources = map_in_threads(self._source, runs, num_threads=self.num_threads)
        return {source.run_name: source for source in sources}

    def fill(
        self, all_tomograms_of: Iterable[RunVolumes], first_only: Iterable[RunVolumes]
    ) -> None:
        """In the cache are all tomograms of the one sources, the first of each of the others."""
        wanted = [(source, v) for source in all_tomograms_of for v in source.variants]
        wanted += [(source, source.variants[0]) for source in first_only]
        makers = {variant.volume: source.loaders[variant.volume] for source, variant in wanted}
        sizes = {v.volume: v.sizes()[v.volume] for _, v in wanted}
        missing = {key: size for key, size in sizes.items() if key not in self.cache}
        self._check_room(sum(sizes.values()), sum(missing.values()))
        if missing:
            logger.info("Caching %d tomograms in %s.", len(missing), self.cache.directory)
        self.cache.fill(makers, num_threads=self.num_threads)

    def _check_room(self, needed: int, missing: int) -> None:
        """Raise ResourceError if the disk cannot take what is missing; say if RAM cannot hold all.

        Args:
            needed: bytes of all tomograms.
            missing: bytes of those that are not cached yet.
        """
        free, memory = resources.free_space(self.cache.directory), resources.memory()
        if missing > free:
            raise ResourceError(
                f"The tomograms need {resources.format_bytes(missing)} more in the cache "
                f"{self.cache.directory}; free are {resources.format_bytes(free)}. Set "
                f"data.cache_dir to "
                "a larger disk, or choose a coarser data.working_spacing or fewer runs."
            )
        if needed > memory:
            logger.warning(
                "The prepared tomograms take %s, free memory is %s: crops will be read from disk "
                "again and again. A coarser data.working_spacing needs less.",
                resources.format_bytes(needed),
                resources.format_bytes(memory),
            )

    def _source(self, run: Run) -> RunVolumes:
        self._check_same_labels(run, run.segmentation_attributes(self.target))
        target_fingerprint = run.segmentation_fingerprint(self.target)
        targets: dict[Grid, tuple[str, Positions]] = {}
        variants, makers = [], {}
        for query in self._tomograms(run):
            grid = working_grid(run.tomogram_grid(query), self.working_spacing)
            if grid not in targets:
                targets[grid] = self._target(run, grid, target_fingerprint)
            key = f"{run.name} {query} {run.fingerprint(query)} {grid.shape} {NORMALISATION}"
            variants.append(CachedTomogram(key, targets[grid][0], grid, targets[grid][1]))
            makers[key] = partial(_prepare, run, query, grid)
        present = [
            name for name, k in self.labels.items() if all(k in v.positions for v in variants)
        ]
        return RunVolumes(run.name, tuple(variants), makers, frozenset(present))

    def _tomograms(self, run: Run) -> list[TomogramQuery]:
        """Those asked for that the run has: all, or at least one of the first's type."""
        tomograms, missing = [], []
        for asked in self.tomograms:
            try:
                tomograms.append(run.find_tomogram(asked.tomo_type, asked.voxel_spacing))
            except NotInProjectError as error:
                missing.append((asked, error))
        first_type = self.tomograms[0].tomo_type
        if not any(query.tomo_type == first_type for query in tomograms):
            raise missing[0][1]
        if missing:
            lacks = ", ".join(str(asked) for asked, _ in missing)
            logger.warning(
                "Run %s lacks %s; it trains on %s.", run.name, lacks, ", ".join(map(str, tomograms))
            )
        return list(dict.fromkeys(tomograms))

    def _target(self, run: Run, grid: Grid, stamp: str) -> tuple[str, Positions]:
        """The target on a working grid: its cache key and where each label is.

        Both are kept for the next job, which then reads no label volume at all.
        """
        positions_key = f"positions {run.name} {self.target} {stamp} {grid} {dict(self.labels)}"

        def _cache_target() -> NDArray[np.int64]:
            target = self._read_target(run, grid)
            digest = hashlib.sha256(target.data).digest()
            self.cache.fill({_target_key(digest, grid): lambda: target}, num_threads=1)
            return _pack_positions(digest, find_positions(target))

        digest, positions = _unpacked(self.cache.get(positions_key, _cache_target))
        key = _target_key(digest, grid)
        if key not in self.cache:  # somebody took it out
            _cache_target()
        return key, positions

    def _read_target(self, run: Run, grid: Grid) -> NDArray[np.uint8]:
        """The target on a working grid, if its labels are those that we know."""
        labels, stored_grid, _ = run.read_segmentation(self.target)
        labels = self._checked_labels(run, labels)
        try:
            return resample_labels(labels, stored_grid, grid)
        except DataError as error:
            raise DataError(f"Run {run.name}, {self.target}: {error}") from error

    def _check_same_labels(self, run: Run, attributes: Mapping[str, Any]) -> None:
        """Raise DataError if the target was made with other labels than those we know."""
        written = attributes.get("labels")
        if written is not None and dict(written) != dict(self.labels):
            raise DataError(
                f"The target {self.target} of run {run.name} has the labels {dict(written)}, "
                f"others have {dict(self.labels)}. Make all targets with one create_targets."
            )

    def _checked_labels(self, run: Run, labels: NDArray) -> NDArray[np.uint8]:
        """The labels as uint8, if they are those of the objects we know."""
        where = f"The target {self.target} of run {run.name}"
        if labels.dtype.kind not in "biu" or labels.min() < 0 or labels.max() > 255:
            raise DataError(f"{where} is no label volume: it has values other than 0 to 255.")
        labels = labels.astype(np.uint8, copy=False)
        if unknown_labels(range(int(labels.max()) + 1), self.labels):  # else no need to count
            counts = sum(np.bincount(part.reshape(-1), minlength=256) for part in labels)
            check_labels(
                np.flatnonzero(counts), self.labels, where=where, advice=WRITE_TARGET_AGAIN
            )
        return labels


def _target_key(digest: bytes, grid: Grid) -> str:
    return f"target {digest.hex()} {grid.shape}"


def _pack_positions(digest: bytes, positions: Positions) -> NDArray[np.int64]:
    """A sha256 and positions as one array (n, 2): the digest in two rows, then label, position."""
    head = np.frombuffer(digest, np.int64).reshape(2, 2)
    rows = [np.column_stack([np.full(len(found), k), found]) for k, found in positions.items()]
    return np.concatenate([head, *rows])


def _unpacked(packed: NDArray[np.int64]) -> tuple[bytes, Positions]:
    labels, positions = packed[2:].T
    return packed[:2].tobytes(), {int(k): positions[labels == k] for k in np.unique(labels)}


def _prepare(run: Run, query: TomogramQuery, grid: Grid) -> NDArray[np.float16]:
    return prepare_volume(run.read_tomogram(query), grid, np.float16)
