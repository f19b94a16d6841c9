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
    Particles,
    PixelFormat,
    format_number,
    get_orientations,
    have_orientations,
)

COLUMNS = range(1, 43)
TAG, ALIGNED, AVERAGED = 1, 2, 3
EULER = (7, 8, 9)  # tdrot, tilt, narot
CC, TOMOGRAM = 10, 20
POSITION = (24, 25, 26)
PIXEL_SIZE = 36


class Dynamo(PixelFormat):
    """Write a table of each object, and the list of tomograms that `dtcrop` needs beside it.

    Args:
        tomo_name: file of a run's tomogram, `*` for the run's own name.
        pixel_size: Å, of the voxels that positions are counted in.
        first_voxel: the coordinate of the centre of the first voxel.
    """

    def files(
        self, object_name: str, particle_sets: Sequence[Particles], *, folder: Path
    ) -> Mapping[str, str]:
        """Return `OBJECT.tbl` and `OBJECT.doc`; a table without picks is empty, as Dynamo's own."""
        del folder
        has_angles = have_orientations(particle_sets)
        rows: list[str] = []
        for index, particles in enumerate(particle_sets, start=1):
            positions, scores = self.to_pixels(particles), particles.points.scores_or_ones
            angles = np.zeros_like(positions)
            if has_angles:
                angles = dynamo_angles(get_orientations(particles))
            edge = float(np.mean(self.pixel_edges(particles)))
            for position, angle, score in zip(positions, angles, scores, strict=True):
                row = {TAG: str(len(rows) + 1), ALIGNED: "1", AVERAGED: "1"}
                row |= zip(EULER, map(format_number, angle), strict=True)
                row |= {CC: format_number(score), TOMOGRAM: str(index)}
                row |= zip(POSITION, map(format_number, position), strict=True)
                row |= {PIXEL_SIZE: format_number(edge)}
                rows.append(" ".join(row.get(column, "0") for column in COLUMNS))
        names = [f"{i} {self.bare_tomogram_name(p)}" for i, p in enumerate(particle_sets, start=1)]
        return {f"{object_name}.tbl": _lines(rows), f"{object_name}.doc": _lines(names)}


def _lines(rows: Sequence[str]) -> str:
    """Join the rows, each with an end of line."""
    return "".join(f"{row}\n" for row in rows)
