"""How whole a stored volume is: every chunk file counted and, if asked, every voxel looked at."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.geometry import Grid
from octopi.project.attributes import octopi_attributes
from octopi.project.queries import SegmentationQuery, TomogramQuery
from octopi.project.read import (
    COMPLETE,
    UNDECODABLE,
    StoredVolume,
    chunk_places,
    decode_chunk,
    open_volume,
    stored_files,
)
from octopi.project.run import Run
from octopi.project.storage import reading


@dataclass
class Health:
    """What is known of a stored volume.

    Args:
        where: the volume in words.
        grid: as its metadata say.
        num_chunks: that its shape wants.
        whole: whether every chunk must be there; others' label volumes may leave out background.
        attributes: what octopi stored with it ({} for others').
        missing: chunks without a file: they would be read as zeros.
        damaged: chunks whose file is empty or cannot be decoded.
        stray: files that no chunk of this shape has.
        num_bad: voxels that are NaN or infinite.
        flat: chunks in which every voxel is the same.
        low: smallest voxel; NaN where no voxel was looked at.
        high: largest one.
        counts: value -> number of voxels, of volumes of integers.
        digest: of all stored bytes; empty where they were not read.
    """

    where: str
    grid: Grid
    num_chunks: int
    whole: bool
    attributes: dict[str, Any]
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)
    num_bad: int = 0
    flat: list[str] = field(default_factory=list)
    low: float = math.nan
    high: float = math.nan
    counts: dict[int, int] = field(default_factory=dict)
    digest: str = ""

    @property
    def is_constant(self) -> bool:
        """Whether every voxel that was looked at has the same value."""
        return self.low == self.high


def of_tomogram(run: Run, query: TomogramQuery, *, voxels: bool) -> Health:
    """How whole a tomogram is; a chunk at a time is in memory.

    Args:
        run: it is of.
        query: which.
        voxels: look at every voxel; False counts files.
    """
    with reading(f"Run {run.name}: tomogram {query}"):
        return _examine(run._open_tomogram(query), whole=True, voxels=voxels)


def of_segmentation(run: Run, query: SegmentationQuery, *, voxels: bool) -> Health:
    """How whole a label volume is; as `of_tomogram`."""
    with reading(f"Run {run.name}: segmentation {query}"):
        item, found = run._find_segmentation(query)
        volume = open_volume(item, f"Run {run.name}: {found.kind} {found}", item.voxel_size)
        return _examine(volume, whole=bool(volume.attributes.get(COMPLETE)), voxels=voxels)


def _examine(volume: StoredVolume, *, whole: bool, voxels: bool) -> Health:
    files = {name: info for name, info in stored_files(volume).items() if name != ".zarray"}
    places = dict(chunk_places(volume.array))
    health = Health(
        where=volume.where,
        grid=volume.grid,
        num_chunks=len(places),
        whole=whole,
        attributes=octopi_attributes(volume),
        missing=[name for name in places if name not in files],
        damaged=[name for name in places if name in files and not files[name].get("size", 1)],
        stray=sorted(set(files) - set(places) - {".zattrs"}),
    )
    if voxels:
        digest = hashlib.sha256()
        for name, chunk in _chunks(volume, places, health, digest):
            _look(name, chunk, health)
            del chunk  # or it would stay in memory beside the next one
        health.digest = digest.hexdigest()
    return health


def _chunks(
    volume: StoredVolume, places: dict[str, tuple[slice, ...]], health: Health, digest: Any
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Every chunk that can be decoded; those that cannot are noted."""
    skipped = {*health.missing, *health.damaged}
    for name, place in places.items():
        if name in skipped:
            continue
        raw = volume.store[f"{volume.level}/{name}"]
        digest.update(name.encode())
        digest.update(raw)
        try:
            chunk = decode_chunk(volume.array, raw)
        except UNDECODABLE:
            health.damaged.append(name)
            continue
        yield name, chunk[tuple(slice(s.stop - s.start) for s in place)]


def _look(name: str, chunk: NDArray[Any], health: Health) -> None:
    low, high = float(chunk.min()), float(chunk.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        finite = np.isfinite(chunk)
        health.num_bad += int(chunk.size - np.count_nonzero(finite))
        if not finite.any():
            return
        low, high = float(chunk[finite].min()), float(chunk[finite].max())
    elif low == high:
        health.flat.append(name)
    health.low = low if math.isnan(health.low) else min(health.low, low)
    health.high = high if math.isnan(health.high) else max(health.high, high)
    if chunk.dtype.kind in "biu":
        values, numbers = np.unique(chunk, return_counts=True)
        for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
            health.counts[int(value)] = health.counts.get(int(value), 0) + number
