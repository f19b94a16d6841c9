"""Picks as Warp and M read them: pixels from the first voxel, and the name of a tilt series.

`WarpTools ts_export_particles` multiplies rlnCoordinateX by `--coords_angpix` to get Å, counted
from 0 at the centre of the first voxel, and looks for rlnMicrographName = NAME.tomostar. An optics
table is left out: the pixel size is the command's own argument, and the file's first line says it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from octopi.errors import SettingError
from octopi.formats.angles import relion_angles
from octopi.formats.particles import (
    Format,
    Particles,
    common_orientations,
    common_scores,
    number,
    orientations_of,
    scores_of,
)
from octopi.formats.relion import ANGLES, SCORE
from octopi.formats.star import star_text

PIXELS = tuple(f"rlnCoordinate{axis}" for axis in "XYZ")


class Warp(Format):
    """A STAR file of each object, for `ts_export_particles --input_star`.

    Args:
        tomo_name: rlnMicrographName of a run, `*` for the run's own name.
        pixel_size: Å, of the pixels that coordinates are counted in.
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
        """`OBJECT.star`."""
        del folder
        edges = self._one_pixel_size(sets)
        turned, scored = common_orientations(sets), common_scores(sets)
        heads = ["rlnMicrographName", *PIXELS, *(ANGLES if turned else ()), *([SCORE] * scored)]
        columns: dict[str, list[str]] = {head: [] for head in heads}
        for particles in sets:
            pixels = self.pixels(particles, self.first_voxel)
            columns["rlnMicrographName"] += [self.name_of(particles)] * len(pixels)
            for axis, head in enumerate(PIXELS):
                columns[head] += map(number, pixels[:, axis])
            if turned:
                angles = relion_angles(orientations_of(particles))
                for axis, head in enumerate(ANGLES):
                    columns[head] += map(number, angles[:, axis])
            if scored:
                columns[SCORE] += map(number, scores_of(particles))
        note = f"# coordinates in pixels of {edges:.6g} Å: --coords_angpix {edges:.6g}\n\n"
        return {f"{object_name}.star": note + star_text({"particles": columns})}

    def _one_pixel_size(self, sets: Sequence[Particles]) -> float:
        edges = np.array([self.pixel(particles) for particles in sets])
        if np.ptp(edges) > 1e-4 * edges.max():
            raise SettingError(
                f"The tomograms have voxels of {edges.min():g} to {edges.max():g} Å, but Warp "
                "takes one pixel size for all. Say which: format.pixel_size=…"
            )
        return float(edges[0, 0])
