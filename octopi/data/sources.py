"""Read the target and the tomograms of a run on its working grid."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from octopi.data.cache import (
    NORMALISATION,
    VolumeCache,
    prepare_volume,
    resample_labels,
    working_grid,
)
from octopi.data.crops import CachedTomogram, find_positions, pool_rejected
from octopi.data.particles import number_particles
from octopi.errors import DataError, NotInProjectError, ResourceError
from octopi.geometry import Grid, Points
from octopi.project.digests import digest_points
from octopi.project.objects import WRITE_TARGET_AGAIN, check_labels
from octopi.project.provenance import describe_changed_inputs
from octopi.project.queries import SegmentationQuery, TomogramQuery
from octopi.project.run import Run
from octopi.system import resources
from octopi.system.worker_pool import run_in_threads

logger = logging.getLogger(__name__)

Positions = dict[int, NDArray[np.integer]]


@dataclass(frozen=True)
class RunVolumes:
    """The cached volumes of a run: its target, and its tomograms once `cache_tomograms` has run.

    Args:
        run_name: of the run.
        variants: its tomograms in the order of the settings.
        loaders: cache key of a tomogram -> function that reads and prepares it.
        classes: names of the objects in its target, on every grid.
        not_annotated: names of the objects that nobody annotated in the run.
    """

    run_name: str
    variants: tuple[CachedTomogram, ...]
    loaders: Mapping[str, Callable[[], NDArray[np.float16]]]
    classes: frozenset[str]
    not_annotated: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SourceReader:
    """Reads targets and prepares tomograms.

    Args:
        cache: of the prepared volumes.
        target: the label volumes.
        tomograms: to use of each run; it must have the first's type, and may lack others.
        labels: object name -> label.
        working_spacing: Å; None keeps each tomogram's own.
        num_threads: runs read at once.
        particles: gives the particles of a run, by object, that are to be numbered; None where
            nobody needs their numbers.

    Raises:
        ValueError: the working spacing is not positive.
    """

    cache: VolumeCache
    target: SegmentationQuery
    tomograms: Sequence[TomogramQuery]
    labels: Mapping[str, int]
    working_spacing: float | None
    num_threads: int
    particles: Callable[[Run], Mapping[str, Points]] | None = None

    def cache_targets(self, runs: Sequence[Run]) -> dict[str, RunVolumes]:
        """Cache the targets of runs; return the volumes of each run by its name."""
        read = run_in_threads(self._read_run, runs, num_threads=self.num_threads)
        volumes = {run_volumes.run_name: run_volumes for run_volumes in read}
        return {run.name: volumes[run.name] for run in runs}

    def cache_tomograms(self, tomograms: Sequence[tuple[RunVolumes, CachedTomogram]]) -> None:
        """Cache tomograms, each of which is given with the volumes of its run.

        Raises:
            ResourceError: the disk has too little room.
        """
        loaders = {v.volume: volumes.loaders[v.volume] for volumes, v in tomograms}
        sizes = {v.volume: v.num_bytes()[v.volume] for _, v in tomograms}
        missing = {key: size for key, size in sizes.items() if key not in self.cache}
        self._check_room(sum(sizes.values()), sum(missing.values()))
        if missing:
            logger.info("Caching %d tomograms in %s.", len(missing), self.cache.directory)
        self.cache.fill(loaders, num_threads=self.num_threads)

    def _check_room(self, needed: int, missing: int) -> None:
        """Raise ResourceError if the disk has too little room; warn if the memory has.

        Args:
            needed: bytes of all tomograms.
            missing: bytes of those that are not cached yet.
        """
        free, memory = resources.free_space(self.cache.directory), resources.memory()
        if missing > free:
            raise ResourceError(
                f"The tomograms need {resources.format_bytes(missing)} more in the cache "
                f"{self.cache.directory}; free are {resources.format_bytes(free)}. Set "
                "data.cache_dir to a larger disk, or choose a coarser data.working_spacing or "
                "fewer runs."
            )
        if needed > memory:
            logger.warning(
                "The prepared tomograms take %s, free memory is %s: crops will be read from disk "
                "again and again. A coarser data.working_spacing needs less.",
                resources.format_bytes(needed),
                resources.format_bytes(memory),
            )

    def _read_run(self, run: Run) -> RunVolumes:
        attributes = run.segmentation_attributes(self.target)
        if message := describe_changed_inputs(run, attributes):
            logger.warning("Run %s: %s", run.name, message)
        not_annotated = frozenset(attributes.get("not_annotated", ())) & self.labels.keys()
        unknown_labels = frozenset(self.labels[name] for name in not_annotated)
        fingerprint = run.fingerprint(self.target)
        targets: dict[Grid, tuple[str, Positions, str | None]] = {}
        variants, loaders = [], {}
        for query in self._find_tomograms(run):
            grid = working_grid(run.tomogram_grid(query), self.working_spacing)
            if grid not in targets:
                target_key, positions = self._cache_target(run, grid, fingerprint)
                targets[grid] = target_key, positions, self._cache_codes(run, grid, target_key)
            key = f"{run.name} {query} {run.fingerprint(query)} {grid.shape} {NORMALISATION}"
            target_key, positions, codes_key = targets[grid]
            variants.append(
                CachedTomogram(
                    str(query), key, target_key, grid, positions, unknown_labels, codes_key
                )
            )
            loaders[key] = partial(_prepare, run, query, grid)
        classes = [
            name
            for name, label in self.labels.items()
            if all(label in v.positions for v in variants)
        ]
        return RunVolumes(run.name, tuple(variants), loaders, frozenset(classes), not_annotated)

    def _find_tomograms(self, run: Run) -> list[TomogramQuery]:
        """Find the tomograms that the run has of the settings'; warn of those it lacks.

        Raises:
            NotInProjectError: it has none of the first type.
        """
        tomograms, missing = [], []
        for query in self.tomograms:
            try:
                tomograms.append(run.find_tomogram(query.tomo_type, query.voxel_spacing))
            except NotInProjectError as error:
                missing.append((query, error))
        first_type = self.tomograms[0].tomo_type
        if not any(query.tomo_type == first_type for query in tomograms):
            raise missing[0][1]
        if missing:
            lacks = ", ".join(str(query) for query, _ in missing)
            logger.warning(
                "Run %s lacks %s; it trains on %s.", run.name, lacks, ", ".join(map(str, tomograms))
            )
        return list(dict.fromkeys(tomograms))

    def _cache_target(self, run: Run, grid: Grid, fingerprint: str) -> tuple[str, Positions]:
        """Return the target's cache key and the voxel positions of each label; cache both.

        The next job then reads no label volume.
        """
        name = f"{run.name} {self.target} {fingerprint} {grid} {dict(self.labels)}"
        target_key, positions_key = f"target {name}", f"positions {name}"
        read_target = partial(self._read_target, run, grid)

        def find_rows() -> NDArray[np.integer]:
            positions = find_positions(self.cache.get(target_key, read_target))
            if not positions:
                raise DataError(
                    f"Run {run.name}: nothing is known in its target {self.target}, as worked on. "
                    "Leave the run out, or annotate a larger part of it."
                )
            return _positions_to_rows(positions)

        rows = self.cache.get(positions_key, find_rows)
        self.cache.fill({target_key: read_target}, num_threads=1)  # in case it was deleted alone
        return target_key, pool_rejected(_rows_to_positions(rows), self.labels.values())

    def _cache_codes(self, run: Run, grid: Grid, target_key: str) -> str | None:
        """Cache the target with its particles numbered; return its key, None if nobody needs it."""
        if self.particles is None:
            return None
        particles = self.particles(run)
        digests = {name: digest_points(points) for name, points in particles.items()}
        key = f"codes {target_key} {digests}"

        def number() -> NDArray[np.int32]:
            return number_particles(self.cache.open(target_key), grid, particles, self.labels)

        self.cache.fill({key: number}, num_threads=1)
        return key

    def _read_target(self, run: Run, grid: Grid) -> NDArray[np.uint8]:
        """Read the target onto a working grid, after a check of its labels."""
        labels, stored_grid, attributes = run.read_segmentation(self.target)
        where = run.open_segmentation(self.target).where
        values = np.unique(labels)
        check_labels(values, self.labels, attributes, where=where, advice=WRITE_TARGET_AGAIN)
        try:
            return resample_labels(labels.astype(np.uint8, copy=False), stored_grid, grid)
        except DataError as error:
            raise DataError(f"Run {run.name}: target {self.target}: {error}") from error


def _positions_to_rows(positions: Positions) -> NDArray[np.integer]:
    """Return one array (n, 2) with the rows label, position."""
    rows = [np.column_stack([np.full(len(voxels), k), voxels]) for k, voxels in positions.items()]
    return np.concatenate(rows)


def _rows_to_positions(rows: NDArray[np.integer]) -> Positions:
    labels, positions = rows.T
    return {int(k): positions[labels == k] for k in np.unique(labels)}


def _prepare(run: Run, query: TomogramQuery, grid: Grid) -> NDArray[np.float16]:
    where = f"Run {run.name}: tomogram {query}"
    return prepare_volume(run.read_tomogram(query), grid, np.float16, where=where)
