"""Picks as Warp and M read them: in pixels from the first voxel, by name of the tilt series.

`WarpTools ts_export_particles` multiplies rlnCoordinateX by `--coords_angpix` to get Å, counted
from 0 at the centre of the first voxel, and looks for rlnMicrographName = NAME.tomostar. An optics
table is left out: the pixel size is the command's own argument, and the file's first line says it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from octopi.errors import SettingError
from octopi.formats.base import Particles, PixelFormat
from octopi.formats.star import join_columns, particle_tables, star_text
from octopi.geometry import EXACT, same_spacing

PIXELS = tuple(f"rlnCoordinate{axis}" for axis in "XYZ")


class Warp(PixelFormat):
    """Write a STAR file of each object, for `ts_export_particles --input_star`.

    Args:
        tomo_name: rlnMicrographName of a run, `*` for the run's own name.
        pixel_size: Å, of the pixels of the coordinates.
        first_voxel: the coordinate of the centre of the first voxel.
    """

    def files(
        self, object_name: str, particle_sets: Sequence[Particles], *, folder: Path
    ) -> Mapping[str, str]:
        """Return `OBJECT.star`."""
        del folder
        tables = particle_tables(
            particle_sets,
            ("rlnMicrographName", list(map(self.bare_tomogram_name, particle_sets))),
            PIXELS,
            list(map(self.to_pixels, particle_sets)),
        )
        edge = f"{self._common_pixel_size(particle_sets):.6g}"
        note = f"# coordinates in pixels of {edge} Å: --coords_angpix {edge}\n\n"
        return {f"{object_name}.star": note + star_text({"particles": join_columns(tables)})}

    def _common_pixel_size(self, particle_sets: Sequence[Particles]) -> float:
        """Return the pixel size (Å) of all tomograms; raise SettingError if they differ."""
        edges = np.array([self.pixel_edges(particles) for particles in particle_sets])
        if not same_spacing(edges.min(), edges.max(), tolerance=EXACT):
            raise SettingError(
                f"The tomograms have voxels of {edges.min():g} to {edges.max():g} Å, but Warp "
                "takes one pixel size for all. Choose one: format.pixel_size=…"
            )
        return float(edges[0, 0])
