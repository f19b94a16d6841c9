"""Picks as Dynamo's table: a row of numbers for each particle.

Columns as `dthelp` lists them. Dynamo counts positions from the corner of the first voxel, whose
centre is at 0.5 (Dynamo wiki, "Volume center": centres of voxels are semi-integers); copick and
dynamo2m copy a position that counts from its centre, which `format.first_voxel=0` does as well.
Column 20 numbers the tomograms as the .doc file beside the table does.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from octopi.formats.angles import dynamo_angles
from octopi.formats.base import (
    Format,
    Particles,
    format_number,
    have_orientations,
    orientations_of,
    scores_of,
)

NUM_COLUMNS = 42
TAG, ALIGNED, AVERAGED = 1, 2, 3
EULER = (7, 8, 9)  # tdrot, tilt, narot
CC, TOMOGRAM = 10, 20
POSITION = (24, 25, 26)
PIXEL_SIZE = 36


class Dynamo(Format):
    """Write a table of each object, and the list of tomograms that `dtcrop` needs beside it.

    Args:
        tomo_name: file of a run's tomogram, `*` for the run's own name.
        pixel_size: Å, of the voxels that positions are counted in.
        binning: how many of them make a voxel of our tomogram.
        first_voxel: the coordinate of the centre of the first voxel.
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
        """Return `OBJECT.tbl` and `OBJECT.doc`; a table without picks is empty, as Dynamo's own."""
        del folder
        has_angles = have_orientations(sets)
        rows: list[str] = []
        for index, particles in enumerate(sets, start=1):
            positions = self.pixels(particles, self.first_voxel)
            angles = np.zeros_like(positions)
            if has_angles and len(positions):
                angles = dynamo_angles(orientations_of(particles))
            edge = float(np.mean(self.pixel(particles)))
            for position, angle, score in zip(positions, angles, scores_of(particles), strict=True):
                row = ["0"] * NUM_COLUMNS
                row[TAG - 1] = str(len(rows) + 1)
                row[ALIGNED - 1] = row[AVERAGED - 1] = "1"
                for columns, values in ((EULER, angle), (POSITION, position)):
                    for column, value in zip(columns, values, strict=True):
                        row[column - 1] = format_number(value)
                row[CC - 1] = format_number(score)
                row[TOMOGRAM - 1] = str(index)
                row[PIXEL_SIZE - 1] = format_number(edge)
                rows.append(" ".join(row))
        names = [f"{i} {self.name_of(p)}" for i, p in enumerate(sets, start=1)]
        return {f"{object_name}.tbl": _lines(rows), f"{object_name}.doc": _lines(names)}


def _lines(rows: Sequence[str]) -> str:
    """Join the rows, each with an end of line."""
    return "".join(f"{row}\n" for row in rows)
