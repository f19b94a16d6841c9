"""Picks as a CSV table for people and spreadsheets; names of columns end in their unit."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from octopi.formats.base import (
    Format,
    Particles,
    common_scores,
    format_number,
    have_orientations,
    orientations_of,
    scores_of,
)

ANGSTROM = ("x_angstrom", "y_angstrom", "z_angstrom")
VOXEL = ("x_voxel", "y_voxel", "z_voxel")
ROTATION = tuple(f"rotation_{row}{column}" for row in "xyz" for column in "xyz")


class Csv(Format):
    """Write a CSV file of each object.

    Args:
        tomo_name: name of a run's tomogram, `*` for the run's own name.
        pixel_size: Å, of the voxels of the voxel columns.
        binning: how many of them make a voxel of our tomogram.
        first_voxel: the voxel coordinate of the centre of the first voxel.
    """

    def __init__(
        self,
        *,
        tomo_name: str,
        pixel_size: float | None,
        binning: float | None,
        first_voxel: float,
    ) -> None:
        super().__init__(tomo_name=tomo_name, pixel_size=pixel_size, binning=binning)
        self.first_voxel = first_voxel

    def files(
        self, object_name: str, sets: Sequence[Particles], *, folder: Path
    ) -> Mapping[str, str]:
        """Return `OBJECT.csv`; rotations, if any, are matrices from object to tomogram."""
        del folder
        has_angles, has_scores = have_orientations(sets), common_scores(sets)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = ["tomogram", "object", *ANGSTROM, *VOXEL, "voxel_size_angstrom"]
        writer.writerow([*names, *(["score"] * has_scores), *(ROTATION if has_angles else ())])
        for particles in sets:
            numbers = [particles.points.positions, self.pixels(particles, self.first_voxel)]
            edge = np.full((len(particles.points), 1), np.mean(self.pixel(particles)))
            numbers += [edge, scores_of(particles)[:, None]] if has_scores else [edge]
            if has_angles and len(particles.points):
                numbers.append(orientations_of(particles).reshape(-1, 9))
            for row in np.hstack(numbers):
                writer.writerow([self.name_of(particles), object_name, *map(format_number, row)])
        return {f"{object_name}.csv": text.getvalue()}
