"""Picks as a CSV table for people and spreadsheets; names of columns end in their unit."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from octopi.errors import DataError
from octopi.formats.base import (
    Particles,
    PixelFormat,
    format_number,
    get_orientations,
    have_orientations,
    have_scores,
    warn_of_numbers,
)

FORMULA_SIGNS = ("=", "+", "-", "@")
ANGSTROM = ("x_angstrom", "y_angstrom", "z_angstrom")
VOXEL = ("x_voxel", "y_voxel", "z_voxel")
ROTATION = tuple(f"rotation_{row}{column}" for row in "xyz" for column in "xyz")


class Csv(PixelFormat):
    """Write a CSV file of each object.

    Args:
        tomo_name: name of a run's tomogram, `*` for the run's own name.
        pixel_size: Å, of the voxels of the voxel columns.
        first_voxel: the voxel coordinate of the centre of the first voxel.
    """

    def files(
        self, object_name: str, particle_sets: Sequence[Particles], *, folder: Path
    ) -> Mapping[str, str]:
        """Return `OBJECT.csv`; rotations, if any, are matrices from object to tomogram."""
        del folder
        _check_is_no_formula(object_name, "Rename the object in the copick config.")
        warn_of_numbers(map(self.tomogram_name, particle_sets))
        has_angles, has_scores = have_orientations(particle_sets), have_scores(particle_sets)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = ["tomogram", "object", *ANGSTROM, *VOXEL, "voxel_size_angstrom"]
        writer.writerow([*names, *(["score"] * has_scores), *(ROTATION if has_angles else ())])
        for particles in particle_sets:
            numbers = [particles.points.positions, self.to_pixels(particles)]
            edge = np.full((len(particles.points), 1), np.mean(self.pixel_edges(particles)))
            numbers += [edge, particles.points.scores_or_ones[:, None]] if has_scores else [edge]
            if has_angles:
                numbers.append(get_orientations(particles).reshape(-1, 9))
            tomogram = self.tomogram_name(particles)
            _check_is_no_formula(
                tomogram, "Rename the run, or begin with a letter, as in 'format.tomo_name=ts_*'."
            )
            for row in np.hstack(numbers):
                writer.writerow([tomogram, object_name, *map(format_number, row)])
        return {f"{object_name}.csv": text.getvalue()}


def _check_is_no_formula(name: str, cure: str) -> None:
    """Raise DataError for a name that spreadsheets would compute instead of show."""
    if name.startswith(FORMULA_SIGNS):
        raise DataError(
            f"The name {name!r} cannot be written in a table: a spreadsheet takes what begins with "
            f"{' '.join(FORMULA_SIGNS)} for a formula, and runs it. {cure}"
        )
