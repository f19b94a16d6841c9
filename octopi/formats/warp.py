"""Picks as Warp and M read them: in pixels from the first voxel, by name of the tilt series.

`WarpTools ts_export_particles` multiplies rlnCoordinateX by `--coords_angpix` to get Å, counted
from 0 at the centre of the first voxel, and looks for rlnMicrographName = NAME.tomostar. An optics
table is left out: the pixel size is the command's own argument, and the file's first line says it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from octopi.errors import SettingError
from octopi.formats.angles import relion_angles
from octopi.formats.base import (
    Format,
    Particles,
    common_scores,
    format_number,
    have_orientations,
    orientations_of,
    scores_of,
)
from octopi.formats.relion import ANGLES, SCORE
from octopi.formats.star import star_text

PIXELS = tuple(f"rlnCoordinate{axis}" for axis in "XYZ")


class Warp(Format):
    """Write a STAR file of each object, for `ts_export_particles --input_star`.

    Args:
        tomo_name: rlnMicrographName of a run, `*` for the run's own name.
        pixel_size: Å, of the pixels of the coordinates.
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
        """Return `OBJECT.star`."""
        del folder
        edges = self._one_pixel_size(sets)
        has_angles, has_scores = have_orientations(sets), common_scores(sets)
        names = ["rlnMicrographName", *PIXELS]
        names += [*(ANGLES if has_angles else ()), *([SCORE] * has_scores)]
        columns: dict[str, list[str]] = {name: [] for name in names}
        for particles in sets:
            pixels = self.pixels(particles, self.first_voxel)
            columns["rlnMicrographName"] += [self.name_of(particles)] * len(pixels)
            for axis, name in enumerate(PIXELS):
                columns[name] += map(format_number, pixels[:, axis])
            if has_angles:
                angles = relion_angles(orientations_of(particles))
                for axis, name in enumerate(ANGLES):
                    columns[name] += map(format_number, angles[:, axis])
            if has_scores:
                columns[SCORE] += map(format_number, scores_of(particles))
        note = f"# coordinates in pixels of {edges:.6g} Å: --coords_angpix {edges:.6g}\n\n"
        return {f"{object_name}.star": note + star_text({"particles": columns})}

    def _one_pixel_size(self, sets: Sequence[Particles]) -> float:
        """Return the pixel size (Å) of all tomograms; SettingError if they differ."""
        edges = np.array([self.pixel(particles) for particles in sets])
        if np.ptp(edges) > 1e-4 * edges.max():
            raise SettingError(
                f"The tomograms have voxels of {edges.min():g} to {edges.max():g} Å, but Warp "
                "takes one pixel size for all. Say which: format.pixel_size=…"
            )
        return float(edges[0, 0])
