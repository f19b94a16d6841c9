"""The base class of formats: picks in another program's pixels and under its tomogram names."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from octopi.errors import DataError, SettingError, shorten_list
from octopi.geometry import Grid, Points
from octopi.ranges import Number, PixelSize, validated

logger = logging.getLogger(__name__)

# A STAR file has a meaning of its own for words that begin so.
BARE_WORD = re.compile(r"(?!_|data_|loop_|save_|;|\$|\[)[^\s\"'#\x00-\x1f\x7f]+")


@dataclass(frozen=True)
class Particles:
    """The picks of one object in one run.

    Args:
        run_name: of the run.
        grid: of its tomogram; None where it has none.
        points: Å from the centre of the tomogram's first voxel, x y z.
        orientations: (n, 3, 3), from the frame of the object to that of the tomogram, both x y z;
            None where they are unknown.
    """

    run_name: str
    grid: Grid | None
    points: Points
    orientations: NDArray[np.float64] | None = None


@validated
@dataclass(kw_only=True)
class Format:
    """Write picks as another program reads them.

    Args:
        tomo_name: its name for the tomogram of a run; `*` stands for the name of the run.
        pixel_size: Å, of the pixels of its coordinates; None = our tomogram's voxels.

    Raises:
        SettingError: a setting is out of its range.
    """

    tomo_name: str
    pixel_size: PixelSize | None

    def __post_init__(self) -> None:
        if self.tomo_name.count("*") != 1 or any(c.isspace() for c in self.tomo_name):
            raise SettingError(
                f"format.tomo_name={self.tomo_name!r}: write one * for the name of the run and no "
                "blanks, as in *.tomostar."
            )

    def files(
        self, object_name: str, particle_sets: Sequence[Particles], *, folder: Path
    ) -> Mapping[str, str]:
        """Return the text of each file of an object, by the file's path in the folder.

        Args:
            object_name: names the files.
            particle_sets: the object's picks, a set for each run; a set may be without picks.
            folder: the files' folder, for files that contain the paths of others.

        Raises:
            SettingError: a setting that the format needs is missing or does not fit the data.
            DataError: only some sets have orientations, or some are no rotations.
        """
        raise NotImplementedError

    def tomogram_name(self, particles: Particles) -> str:
        """Return the other program's name for the tomogram."""
        return self.tomo_name.replace("*", particles.run_name)

    def bare_tomogram_name(self, particles: Particles) -> str:
        """Return the name for a program that knows no quotes and splits lines at blanks.

        Raises:
            DataError: the program would not read the name back.
        """
        name = self.tomogram_name(particles)
        if not BARE_WORD.fullmatch(name):
            raise DataError(
                f"Run {particles.run_name} would be the tomogram {name!r}, which "
                f"{type(self).__name__} does not read back: its names hold no blanks, quotes or #. "
                "Rename the run, or export with format=csv."
            )
        return name

    def pixel_edges(self, particles: Particles) -> NDArray[np.float64]:
        """Return the edges (x, y, z) in Å of the pixels of the other program's coordinates."""
        if self.pixel_size is not None:
            return np.full(3, self.pixel_size)
        if particles.grid is None:
            raise SettingError(
                f"Run {particles.run_name} has no tomogram, so its pixel size is unknown. "
                "Give it in Å: format.pixel_size=…"
            )
        return np.asarray(particles.grid.spacing[::-1])


@validated
@dataclass(kw_only=True)
class PixelFormat(Format):
    """Write picks as another program reads them: in pixels from the tomogram's first voxel.

    Args:
        tomo_name: its name for the tomogram of a run; `*` stands for the name of the run.
        pixel_size: Å, of its pixels; None = our tomogram's voxels.
        first_voxel: its coordinate, on each axis, of the centre of the first voxel.
    """

    first_voxel: Number

    def to_pixels(self, particles: Particles) -> NDArray[np.float64]:
        """Convert the positions of picks to the other program's pixels (n, 3), x y z."""
        return particles.points.positions / self.pixel_edges(particles) + self.first_voxel


def have_orientations(particle_sets: Sequence[Particles]) -> bool:
    """Return whether the picks have orientations.

    Orientations that are all the identity do not count: programs write them when they know none.

    Raises:
        DataError: only some of the sets with picks have orientations.
    """
    with_picks = [p for p in particle_sets if len(p.points)]
    oriented = [
        p
        for p in with_picks
        if p.orientations is not None and not np.allclose(p.orientations, np.eye(3), atol=1e-6)
    ]
    if not oriented:
        return False
    for particles in with_picks:
        if particles.orientations is None:
            raise DataError(
                f"The picks of run {oriented[0].run_name} have orientations but those of run "
                f"{particles.run_name} have none. Export them separately: runs=[…]"
            )
    return True


def have_scores(particle_sets: Sequence[Particles]) -> bool:
    """Return whether any of the picks have scores."""
    return any(len(p.points) and p.points.scores is not None for p in particle_sets)


def get_orientations(particles: Particles) -> NDArray[np.float64]:
    """Return the orientations (n, 3, 3); raise DataError if some are no rotations."""
    rotations = particles.orientations
    if rotations is None:
        return np.zeros((0, 3, 3))
    is_orthogonal = np.allclose(rotations @ rotations.transpose(0, 2, 1), np.eye(3), atol=1e-3)
    if not is_orthogonal or np.any(np.linalg.det(rotations) < 0):
        raise DataError(
            f"Run {particles.run_name}: some orientations are no rotations. Correct the "
            "transformations of its picks, or export without them: orientations=false"
        )
    return rotations


def warn_of_numbers(names: Iterable[str]) -> None:
    """Warn if all names of tomograms are numbers, as which most programs would read them back."""
    names = set(names)
    if names and all(map(_is_number, names)):
        logger.warning(
            "The names of all tomograms are numbers (%s). RELION reads them as they are; pandas, "
            "starfile and spreadsheets must be told that they are text, else 007 becomes 7. Or "
            "write them with a letter, as in 'format.tomo_name=ts_*'.",
            shorten_list(sorted(names)),
        )


def _is_number(name: str) -> bool:
    try:
        float(name.replace("_", "x"))  # Python alone takes 1_0 for 10
    except ValueError:
        return False
    return True


def format_number(value: float) -> str:
    """Format a number with six decimals, and no minus before a zero."""
    return f"{round(float(value), 6) + 0.0:.6f}"
