"""Checks of stored volumes: every chunk file counted and, on request, every voxel read."""

import contextlib
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
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
from octopi.project.storage import is_local, storage_errors_as_data_error
from octopi.project.stored_volume import StoredVolume, background, chunk_regions, stored_files
from octopi.project.voxel_values import LabelValues, ValueRange


@dataclass
class VolumeReport:
    """The result of checking a stored volume.

    Args:
        volume: that was checked.
        missing: required chunks without a file, which zarr would read as zeros.
        damaged: chunks whose file is empty or cannot be decoded.
        values: of a tomogram's voxels that were read.
        constant_chunks: of a tomogram, in which every voxel has the same value.
        attributes: octopi's of a label volume, {} in others' volumes.
        label_values: of a label volume's voxels that were read.
        digest: hash of all stored bytes; empty where they were not read.
        remarks: what is odd about a tomogram's voxels.
        contrasts: object -> contrast of each of its picks in a tomogram.
    """

    volume: StoredVolume
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    values: ValueRange = field(default_factory=ValueRange)
    constant_chunks: list[str] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    label_values: LabelValues = field(default_factory=LabelValues)
    digest: str = ""
    remarks: list[str] = field(default_factory=list)
    contrasts: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def check_chunks(self) -> None:
        """Raise DataError, as the work does, if chunks are damaged or required ones missing."""
        check_chunks(self.volume, self.missing, self.damaged)


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
    report = VolumeReport(volume)
    sample = VoxelSample(volume.grid.shape)
    contrast = PickContrast(volume.grid, positions, radii)
    for name, region, chunk in _read_chunks(report, voxels=voxels):
        if report.values.add(chunk):
            report.constant_chunks.append(name)
        sample.add(chunk, region)
        contrast.add(chunk, region)
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
    report = VolumeReport(volume, attributes=octopi_attributes(volume))
    for _, _, chunk in _read_chunks(report, voxels=voxels):
        report.label_values.add(chunk)
    if voxels and report.missing:
        report.label_values.add(background(volume.array))
    if not volume.by_octopi:  # others may leave out chunks of background
        report.missing = []
    return report


def _read_chunks(
    report: VolumeReport, *, voxels: bool
) -> Iterator[tuple[str, Sequence[slice], NDArray]]:
    """Yield the name, region and voxels of each chunk; report which are missing or damaged.

    Args:
        report: of the volume.
        voxels: False yields nothing, and counts files.
    """
    volume = report.volume
    if voxels:
        digest = hashlib.sha256()
        for name, region, chunk in read_chunks(volume, report.missing, report.damaged, digest):
            yield name, region[-3:], chunk.reshape(chunk.shape[-3:])
        report.digest = digest.hexdigest()
        return
    names = [name for name, _ in chunk_regions(volume)]
    with storage_errors_as_data_error(volume.where):
        sizes = {name: info.get("size", 1) for name, info in stored_files(volume).items()}
        # on a disk, a listing does not look behind links to folders, and finds a pipe empty
        unclear = [n for n in names if not sizes.get(n)] if is_local(volume.store.fs) else []
        for name in unclear:
            with contextlib.suppress(KeyError):
                sizes[name] = len(volume.store[f"{volume.level}/{name}"])
    report.missing = [name for name in names if name not in sizes]
    report.damaged = [name for name in names if sizes.get(name) == 0]
