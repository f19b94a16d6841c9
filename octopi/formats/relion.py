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

from octopi.errors import DataError, SettingError, did_you_mean, shorten_list
from octopi.formats.base import Format, Particles, format_number
from octopi.formats.star import (
    OPTICS,
    PIXEL_SIZE,
    Columns,
    ListedTomogram,
    join_columns,
    particle_tables,
    read_tomograms,
    star_text,
)
from octopi.geometry import format_shape
from octopi.ranges import FactorOrZero, Share, TomogramEdges, Voltage, validated

CENTERED = tuple(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ")
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


@validated
@dataclass(kw_only=True)
class Relion5(Format):
    """Write a particle set for Extract and a list of coordinate files for Import, for each object.

    Args:
        tomo_name: rlnTomoName of a run, `*` for the run's own.
        tomograms_star: RELION's own list of its tomograms, which contains all that follows.
        pixel_size: Å, of the tilt series.
        tomogram_size: of the unbinned tomogram, pixels x y z; None = what our tomogram covers.
        voltage: kV.
        spherical_aberration: mm.
        amplitude_contrast: a fraction.

    Raises:
        SettingError: settings are out of range, contradict each other or are incomplete.
        DataError: `tomograms_star` cannot be read.
    """

    tomograms_star: str | None
    tomogram_size: TomogramEdges | None
    voltage: Voltage | None
    spherical_aberration: FactorOrZero | None
    amplitude_contrast: Share | None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.listed_tomograms = None
        if self.tomograms_star:
            if self.pixel_size or self.tomogram_size:
                raise SettingError(
                    "format.tomograms_star contains pixel size and tomogram size. Leave out "
                    "format.pixel_size and format.tomogram_size."
                )
            self.listed_tomograms = read_tomograms(Path(self.tomograms_star))
        if self.tomogram_size and self.pixel_size is None:
            raise SettingError(
                "format.tomogram_size counts unbinned pixels. Say how large they are, in Å: "
                "format.pixel_size=…"
            )
        optics = (self.voltage, self.spherical_aberration, self.amplitude_contrast)
        self.optics = tuple(float(value) for value in optics if value is not None) or None
        if self.optics and None in optics:
            raise SettingError(
                "An optics group needs all of format.voltage, format.spherical_aberration and "
                "format.amplitude_contrast. Give all three, or none."
            )

    def files(
        self, object_name: str, particle_sets: Sequence[Particles], *, folder: Path
    ) -> Mapping[str, str]:
        """Return `OBJECT.star` for Extract; `OBJECT_import.star` and a file a tomogram for Import.

        The particle set has optics groups, one a tomogram as RELION makes them, where pixel size
        and optics are known; without them RELION takes both from its tomograms.star.
        """
        frames = [self.tomogram_frame(particles) for particles in particle_sets]
        tables = particle_tables(
            particle_sets,
            ("rlnTomoName", [frame.name for frame in frames]),
            CENTERED,
            [p.points.positions - f.centre for p, f in zip(particle_sets, frames, strict=True)],
        )
        files = {f"{object_name}.star": star_text(_add_optics_groups(tables, frames))}
        import_list: dict[str, list[str]] = {"rlnTomoName": [], "rlnTomoImportParticleFile": []}
        for frame, table in zip(frames, tables, strict=True):
            if table["rlnTomoName"]:
                path = f"{object_name}/{frame.name}.star"
                files[path] = star_text({"particles": table})
                import_list["rlnTomoName"].append(frame.name)
                import_list["rlnTomoImportParticleFile"].append((folder / path).as_posix())
        files[f"{object_name}_import.star"] = star_text({"coordinate_files": import_list})
        return files

    def tomogram_frame(self, particles: Particles) -> TomogramFrame:
        """Return name, centre and optics of the tomogram of a run's picks."""
        name = self.tomogram_name(particles)
        if self.listed_tomograms is not None:
            listed = _find_tomogram(name, self.listed_tomograms)
            size = np.asarray(listed.size)
            check_same_box(particles, size, listed.pixel_size)
            centre = size / 2 * listed.pixel_size
            return TomogramFrame(name, centre, listed.pixel_size, self.optics or listed.optics)
        edges = self.pixel_edges(particles)
        if self.tomogram_size is not None:
            size = np.asarray(self.tomogram_size, float)
            check_same_box(particles, size, float(edges[0]))
            centre = size / 2 * edges
        elif particles.grid is not None:
            centre = np.multiply(particles.grid.shape, particles.grid.spacing)[::-1] / 2
        else:
            raise SettingError(
                f"Run {particles.run_name} has no tomogram, so its centre is unknown. Give "
                "format.tomograms_star, or format.pixel_size and format.tomogram_size."
            )
        return TomogramFrame(name, centre, self.pixel_size, self.optics)


def _find_tomogram(name: str, listed_tomograms: Mapping[str, ListedTomogram]) -> ListedTomogram:
    """Return a tomogram of tomograms.star; raise DataError if it has none of this name."""
    if name not in listed_tomograms:
        raise DataError(
            f"RELION's tomograms.star has no tomogram {name}."
            f"{did_you_mean(name, listed_tomograms)} It has: "
            f"{shorten_list(listed_tomograms, closest_to=name) or 'none'}. Adjust format.tomo_name."
        )
    return listed_tomograms[name]


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


def _add_optics_groups(
    tables: Sequence[Columns], frames: Sequence[TomogramFrame]
) -> dict[str, Columns]:
    """Join the tables of all tomograms; add a table of optics if all pixels and optics are known.

    Each tomogram is an optics group, as those that RELION makes from its tomograms.star.
    """
    particles = join_columns(tables)
    if not all(frame.pixel_size and frame.optics for frame in frames):
        return {"particles": particles}
    groups = [str(group) for group in range(1, len(frames) + 1)]
    optics: dict[str, list[str]] = {
        "rlnOpticsGroup": groups,
        "rlnOpticsGroupName": [frame.name for frame in frames],
        PIXEL_SIZE: [format_number(frame.pixel_size or 0) for frame in frames],
    }
    for index, name in enumerate(OPTICS):
        optics[name] = [format_number(frame.optics[index]) for frame in frames if frame.optics]
    particles["rlnOpticsGroup"] = [
        group for group, table in zip(groups, tables, strict=True) for _ in table["rlnTomoName"]
    ]
    return {"optics": optics, "particles": particles}
