"""Checks of stored volumes: every chunk file counted and, on request, every voxel read."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.project.attributes import octopi_attributes
from octopi.project.outliers import VoxelSample, describe_outliers, describe_spread, ordinary_range
from octopi.project.pick_contrast import PickContrast
from octopi.project.queries import SegmentationQuery, TomogramQuery
from octopi.project.read_volume import check_chunks, read_chunks
from octopi.project.run import Run
from octopi.project.storage import storage_errors_as_data_error
from octopi.project.stored_volume import StoredVolume, background, chunk_regions, stored_files
from octopi.project.voxel_values import LabelValues, ValueRange


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
    low, high, _ = ordinary_range(sample)
    remarks = describe_spread(sample)
    if report.values.low < low or report.values.high > high:
        chunks = (chunk for _, _, chunk in read_chunks(volume, [], []))
        number = sum(int(((chunk < low) | (chunk > high)).sum()) for chunk in chunks)
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
    report = VolumeReport(volume, all_chunks_required, attributes=octopi_attributes(volume))
    if not voxels:
        with storage_errors_as_data_error(volume.where):
            files = stored_files(volume)
        names = [name for name, _ in chunk_regions(volume)]
        report.missing = [name for name in names if name not in files]
        report.damaged = [n for n in names if n in files and not files[n].get("size", 1)]
        return report
    digest = hashlib.sha256()
    for name, region, chunk in read_chunks(volume, report.missing, report.damaged, digest):
        if report.values.add(chunk):
            report.constant_chunks.append(name)
        for visit in visitors:
            visit(chunk.reshape(chunk.shape[-3:]), region[-3:])
    report.digest = digest.hexdigest()
    return report
