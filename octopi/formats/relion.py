"""Picks as RELION 5 reads them: Å from the centre of the tomogram.

rlnCenteredCoordinateXAngst = x - size_x / 2 * pixel_size, likewise y and z, where x is our Å (index
of the voxel times its spacing), and size and pixel size are those of the unbinned tomogram.

That is what RELION's programs undo when they read: `TomogramSet::loadTomogram` puts the centre at
w0 / 2.0 (not rounded: half a pixel in odd boxes), `ParticleSet::getParticleCoordDecenteredPixel`
adds it to coordinate / pixel size, and `relion_tomo_reconstruct_tomogram` takes voxel i of a
tomogram binned by b to be at pixel i * b, from 0. copick 1.31 reads and writes the same. RELION's
picker in napari subtracts (size / 2 - 1) * pixel_size instead (3dem/relion#1137), which its own
programs then place one unbinned pixel further; we do not repeat that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from octopi.errors import DataError, SettingError, did_you_mean
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
from octopi.formats.star import (
    OPTICS,
    PIXEL_SIZE,
    ListedTomogram,
    read_tomograms,
    star_text,
)
from octopi.geometry import format_shape

CENTERED = tuple(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ")
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
SCORE = "rlnAutopickFigureOfMerit"
SIZE_SLACK = 2.0  # voxels of the binned tomogram that rounding may have cost a side


@dataclass(frozen=True)
class TomogramFrame:
    """A tomogram in RELION.

    Args:
        name: its rlnTomoName.
        centre: Å from the centre of the first voxel, x y z.
        pixel_size: Å, of the tilt series; None where it is unknown.
        optics: kV, mm and amplitude contrast; None where they are unknown.
    """

    name: str
    centre: NDArray[np.float64]
    pixel_size: float | None
    optics: tuple[float, ...] | None


class Relion5(Format):
    """Write a particle set for Extract and a list of coordinate files for Import, for each object.

    Args:
        tomo_name: rlnTomoName of a run, `*` for the run's own.
        tomograms_star: RELION's own list of its tomograms, which contains all that follows.
        pixel_size: Å, of the tilt series.
        binning: of our tomogram against the tilt series.
        tomogram_size: of the unbinned tomogram, pixels x y z; None = what our tomogram covers.
        voltage: kV.
        spherical_aberration: mm.
        amplitude_contrast: a fraction.

    Raises:
        SettingError: settings are out of range, contradict each other or are incomplete.
        DataError: `tomograms_star` cannot be read.
    """

    def __init__(
        self,
        *,
        tomo_name: str,
        tomograms_star: str | None,
        pixel_size: float | None,
        binning: float | None,
        tomogram_size: Sequence[int] | None,
        voltage: float | None,
        spherical_aberration: float | None,
        amplitude_contrast: float | None,
    ) -> None:
        super().__init__(tomo_name=tomo_name, pixel_size=pixel_size, binning=binning)
        if tomogram_size is not None:
            self._check_size(tomogram_size)
        if tomograms_star and (pixel_size or binning or tomogram_size):
            raise SettingError(
                "format.tomograms_star tells pixel size and tomogram size. Leave out "
                "format.pixel_size, format.binning and format.tomogram_size."
            )
        self.tomogram_size = tomogram_size
        self.listed = None if tomograms_star is None else read_tomograms(Path(tomograms_star))
        self.optics = _complete_optics(voltage, spherical_aberration, amplitude_contrast)

    def _check_size(self, tomogram_size: Sequence[int]) -> None:
        """Raise SettingError unless the size has three edges of pixels of a known size."""
        if len(tomogram_size) != 3 or min(tomogram_size) < 1:
            raise SettingError(
                f"format.tomogram_size is the unbinned size [x,y,z], not {list(tomogram_size)}."
            )
        if self.pixel_size is None and self.binning is None:
            raise SettingError(
                "format.tomogram_size counts unbinned pixels. Say how large they are: "
                "format.pixel_size=… (Å) or format.binning=…"
            )

    def files(
        self, object_name: str, sets: Sequence[Particles], *, folder: Path
    ) -> Mapping[str, str]:
        """Return `OBJECT.star` for Extract; `OBJECT_import.star` and a file a tomogram for Import.

        The particle set has optics groups, one a tomogram as RELION makes them, where pixel size
        and optics are known; without them RELION takes both from its tomograms.star.
        """
        tomograms = [self.geometry(particles) for particles in sets]
        has_angles, has_scores = have_orientations(sets), common_scores(sets)
        parts = [
            _columns(particles, tomogram, has_angles=has_angles, has_scores=has_scores)
            for particles, tomogram in zip(sets, tomograms, strict=True)
        ]
        names = ["rlnTomoName", *CENTERED, *(ANGLES if has_angles else ()), *([SCORE] * has_scores)]
        particle_set = {name: [v for part in parts for v in part[name]] for name in names}
        tables: dict[str, Mapping[str, Sequence[str]]] = {"particles": particle_set}
        if tomograms and all(t.pixel_size and t.optics for t in tomograms):
            tables = {"optics": _optics_groups(tomograms), **tables}
            groups = [[str(i)] * len(p.points) for i, p in enumerate(sets, start=1)]
            particle_set["rlnOpticsGroup"] = [group for part in groups for group in part]
        files = {f"{object_name}.star": star_text(tables)}
        index: dict[str, list[str]] = {"rlnTomoName": [], "rlnTomoImportParticleFile": []}
        for particles, tomogram, part in zip(sets, tomograms, parts, strict=True):
            if len(particles.points):
                path = f"{object_name}/{tomogram.name}.star"
                files[path] = star_text({"particles": part})
                index["rlnTomoName"].append(tomogram.name)
                index["rlnTomoImportParticleFile"].append((folder / path).as_posix())
        return {**files, f"{object_name}_import.star": star_text({"coordinate_files": index})}

    def geometry(self, particles: Particles) -> TomogramFrame:
        """Return name, centre and optics of the tomogram of a run's picks."""
        name = self.name_of(particles)
        if self.listed is not None:
            listed = self._listed(name)
            check_same_box(particles, np.asarray(listed.size), listed.pixel_size)
            centre = np.asarray(listed.size) / 2 * listed.pixel_size
            return TomogramFrame(name, centre, listed.pixel_size, self.optics or listed.optics)
        pixel_size_known = self.pixel_size is not None or self.binning is not None
        pixel = self.pixel(particles)
        if self.tomogram_size is not None:
            size = np.asarray(self.tomogram_size, dtype=np.float64)
            check_same_box(particles, size, float(pixel[0]))
            centre = size / 2 * pixel
        elif particles.grid is not None:
            centre = np.multiply(particles.grid.shape, particles.grid.spacing)[::-1] / 2
        else:
            raise SettingError(
                f"Run {particles.run_name} has no tomogram, so nothing tells where its centre is. "
                "Give format.tomograms_star, or format.pixel_size and format.tomogram_size."
            )
        return TomogramFrame(
            name, centre, float(pixel[0]) if pixel_size_known else None, self.optics
        )

    def _listed(self, name: str) -> ListedTomogram:
        """Return the tomogram of this name in tomograms.star."""
        assert self.listed is not None
        if name not in self.listed:
            raise DataError(
                f"RELION's tomograms.star has no tomogram {name}.{did_you_mean(name, self.listed)} "
                f"It has: {', '.join(self.listed) or 'none'}. Adjust format.tomo_name."
            )
        return self.listed[name]


def _complete_optics(*values: float | None) -> tuple[float, ...] | None:
    """Return kV, mm and amplitude contrast, None without any; SettingError if some are missing."""
    optics = tuple(float(value) for value in values if value is not None)
    if 0 < len(optics) < len(values):
        raise SettingError(
            "An optics group needs all of format.voltage, format.spherical_aberration and "
            "format.amplitude_contrast. Give all three, or none."
        )
    return optics or None


def check_same_box(particles: Particles, size: NDArray[np.float64], pixel_size: float) -> None:
    """Raise SettingError if a box (pixels x y z) is not what the run's tomogram covers.

    A wrong size would shift all picks.
    """
    if particles.grid is None:
        return
    covered = np.multiply(particles.grid.shape, particles.grid.spacing)[::-1]
    slack = SIZE_SLACK * np.asarray(particles.grid.spacing[::-1])
    if np.all(np.abs(size * pixel_size - covered) <= slack):
        return
    raise SettingError(
        f"Run {particles.run_name}: {format_shape(size)} pixels of {pixel_size:g} Å (x, y, z) are "
        f"{format_shape(size * pixel_size)} Å, but its tomogram covers {format_shape(covered)} Å. "
        "Correct the unbinned size or the pixel size; sizes are x, y, z."
    )


def _columns(
    particles: Particles, tomogram: TomogramFrame, *, has_angles: bool, has_scores: bool
) -> dict[str, list[str]]:
    """Format the columns of one tomogram's picks."""
    centred = particles.points.positions - tomogram.centre
    columns = {"rlnTomoName": [tomogram.name] * len(centred)}
    columns |= {name: list(map(format_number, centred[:, i])) for i, name in enumerate(CENTERED)}
    if has_angles:
        angles = relion_angles(orientations_of(particles))
        columns |= {name: list(map(format_number, angles[:, i])) for i, name in enumerate(ANGLES)}
    if has_scores:
        columns[SCORE] = list(map(format_number, scores_of(particles)))
    return columns


def _optics_groups(tomograms: Sequence[TomogramFrame]) -> dict[str, list[str]]:
    """Make an optics group for each tomogram, as RELION does from its tomograms.star."""
    columns = {
        "rlnOpticsGroup": [str(index) for index in range(1, len(tomograms) + 1)],
        "rlnOpticsGroupName": [tomogram.name for tomogram in tomograms],
        PIXEL_SIZE: [format_number(tomogram.pixel_size or 0) for tomogram in tomograms],
    }
    for index, name in enumerate(OPTICS):
        columns[name] = [format_number(t.optics[index]) for t in tomograms if t.optics]
    return columns
