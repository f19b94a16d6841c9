"""Checks of stored volumes: every chunk file counted and, on request, every voxel read."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.project.attributes import octopi_attributes
from octopi.project.label_values import LabelValues
from octopi.project.outliers import (
    OrdinaryRange,
    VoxelSample,
    describe_outliers,
    describe_spread,
)
from octopi.project.pick_contrast import PickContrast
from octopi.project.queries import SegmentationQuery, TomogramQuery
from octopi.project.read_volume import UNDECODABLE, check_chunks, decode_chunk
from octopi.project.run import Run
from octopi.project.storage import storage_errors_as_data_error
from octopi.project.stored_volume import StoredVolume, background, chunk_regions, stored_files
from octopi.project.value_range import ValueRange


@dataclass
class VolumeReport:
    """The result of checking a stored volume.

    Args:
        volume: that was checked.
        all_chunks_required: whether every chunk is required; label volumes of others may leave
            out background.
        attributes: octopi's, {} in others' volumes.
        missing: chunks without a file, which zarr would read as zeros.
        damaged: chunks whose file is empty or cannot be decoded.
        values: of the voxels that were read.
        constant_chunks: chunks in which every voxel has the same value.
        label_values: of a label volume's voxels that were read; None in tomograms.
        digest: hash of all stored bytes; empty where they were not read.
        remarks: what is odd about a tomogram's voxels.
        contrasts: object -> contrast of each of its picks in a tomogram.
    """

    volume: StoredVolume
    all_chunks_required: bool
    attributes: dict[str, Any]
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    values: ValueRange = field(default_factory=ValueRange)
    constant_chunks: list[str] = field(default_factory=list)
    label_values: LabelValues | None = None
    digest: str = ""
    remarks: list[str] = field(default_factory=list)
    contrasts: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def check_chunks(self) -> None:
        """Raise DataError, as the work does, if chunks are damaged or required ones missing."""
        check_chunks(self.volume, self.missing if self.all_chunks_required else [], self.damaged)


def check_tomogram(
    run: Run,
    query: TomogramQuery,
    *,
    voxels: bool,
    positions: Mapping[str, NDArray],
    radii: Mapping[str, float],
) -> VolumeReport:
    """Check a stored tomogram; a chunk at a time is in memory.

    Args:
        run: of the tomogram.
        query: of the tomogram.
        voxels: read every voxel; False counts files.
        positions: object -> picks (n, 3) in Å, x y z, whose contrast is measured.
        radii: object -> Å.
    """
    volume = run.open_tomogram(query)
    sample = VoxelSample(volume.grid.shape)
    contrast = PickContrast(volume.grid, positions, radii)
    report = _examine(
        volume, all_chunks_required=True, voxels=voxels, visitors=[sample.add, contrast.add]
    )
    if voxels:
        report.remarks = _odd_values(volume, report, sample.values)
        report.contrasts = contrast.by_object()
    return report


def _odd_values(
    volume: StoredVolume, report: VolumeReport, sample: NDArray[np.float32]
) -> list[str]:
    """Describe the outliers, which are counted in a second pass, and the spread of the voxels."""
    low, high = OrdinaryRange.of(sample).limits
    remarks = describe_spread(sample)
    if report.values.low < low or report.values.high > high:
        regions = dict(chunk_regions(volume))
        chunks = _chunks(volume, regions, report, hashlib.sha256())
        number = sum(int(((chunk < low) | (chunk > high)).sum()) for _, chunk in chunks)
        remarks.append(describe_outliers(number, math.prod(volume.grid.shape)))
    return remarks


def check_segmentation(run: Run, query: SegmentationQuery, *, voxels: bool) -> VolumeReport:
    """Check a stored label volume as `check_tomogram` checks a tomogram."""
    volume = run.open_segmentation(query)
    values = LabelValues()
    report = _examine(
        volume,
        all_chunks_required=volume.by_octopi,
        voxels=voxels,
        visitors=[lambda chunk, _region: values.add(chunk)],
    )
    report.label_values = values
    if voxels and report.missing:
        values.add(background(volume.array))
    return report


def _examine(
    volume: StoredVolume,
    *,
    all_chunks_required: bool,
    voxels: bool,
    visitors: Sequence[Callable[[NDArray, Sequence[slice]], None]] = (),
) -> VolumeReport:
    with storage_errors_as_data_error(volume.where):
        files = stored_files(volume)
        regions = dict(chunk_regions(volume))
        report = VolumeReport(
            volume=volume,
            all_chunks_required=all_chunks_required,
            attributes=octopi_attributes(volume),
            missing=[name for name in regions if name not in files],
            damaged=[name for name in regions if name in files and not files[name].get("size", 1)],
        )
        if voxels:
            digest = hashlib.sha256()
            for name, chunk in _chunks(volume, regions, report, digest):
                _scan_chunk(name, chunk, report)
                for visit in visitors:
                    visit(chunk.reshape(chunk.shape[-3:]), regions[name][-3:])
                del chunk  # or it would stay in memory beside the next one
            report.digest = digest.hexdigest()
    return report


def _chunks(
    volume: StoredVolume, regions: dict[str, tuple[slice, ...]], report: VolumeReport, digest: Any
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the name and voxels of each chunk; note those that cannot be decoded in `report`."""
    skipped = {*report.missing, *report.damaged}
    for name, region in regions.items():
        if name in skipped:
            continue
        raw = volume.store[f"{volume.level}/{name}"]
        digest.update(name.encode())
        digest.update(raw)
        try:
            chunk = decode_chunk(volume.array, raw)
        except UNDECODABLE:
            report.damaged.append(name)
            continue
        yield name, chunk[tuple(slice(s.stop - s.start) for s in region)]


def _scan_chunk(name: str, chunk: NDArray[Any], report: VolumeReport) -> None:
    if report.values.add(chunk):
        report.constant_chunks.append(name)
