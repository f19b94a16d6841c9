"""Picks on their way out: where they lie, in whose pixels, and what their tomogram is called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from octopi.errors import DataError, SettingError
from octopi.geometry import Grid, Points, same_spacing


@dataclass(frozen=True)
class Particles:
    """The picks of one object in one run.

    Args:
        run_name: of the run they are in.
        grid: of its tomogram; None where it has none.
        points: Å from the centre of the tomogram's first voxel, x y z.
        orientations: (n, 3, 3), from the frame of the object to that of the tomogram, both x y z;
            None where nobody knows them.
    """

    run_name: str
    grid: Grid | None
    points: Points
    orientations: NDArray[np.float64] | None = None


class Format:
    """How another program writes picks down.

    Args:
        tomo_name: what it calls the tomogram of a run; `*` stands for the name of the run.
        pixel_size: Å, of the pixels that it counts in; None = by `binning`.
        binning: how many of those pixels make a voxel of our tomogram; None = 1, or whatever
            follows from `pixel_size`.
    """

    def __init__(self, *, tomo_name: str, pixel_size: float | None, binning: float | None) -> None:
        if tomo_name.count("*") != 1 or any(c.isspace() for c in tomo_name):
            raise SettingError(
                f"format.tomo_name={tomo_name!r}: write one * for the name of the run and no "
                "blanks, as in *.tomostar."
            )
        for key, value in {"pixel_size": pixel_size, "binning": binning}.items():
            if value is not None and value <= 0:
                raise SettingError(f"format.{key} must be above zero, not {value}.")
        self.tomo_name = tomo_name
        self.pixel_size = pixel_size
        self.binning = binning

    def files(
        self, object_name: str, sets: Sequence[Particles], *, folder: Path
    ) -> Mapping[str, str]:
        """The text of each file of an object, by its name.

        Args:
            object_name: gives the files their names.
            sets: the object's picks, a set for each run; sets without picks are no fault.
            folder: where the files will lie, as the other program is told.
        """
        raise NotImplementedError

    def name_of(self, particles: Particles) -> str:
        """What the other program calls the tomogram."""
        return self.tomo_name.replace("*", particles.run_name)

    def pixel(self, particles: Particles) -> NDArray[np.float64]:
        """The edges (x, y, z) in Å of the pixels that the other program counts in."""
        if self.pixel_size is not None:
            self._refuse_other_spacing(particles)
            return np.full(3, self.pixel_size)
        if particles.grid is None:
            raise SettingError(
                f"Run {particles.run_name} has no tomogram, so nothing tells the pixel size. "
                "Say it in Å: format.pixel_size=…"
            )
        return np.asarray(particles.grid.spacing[::-1]) / (self.binning or 1)

    def pixels(self, particles: Particles, first_voxel: float) -> NDArray[np.float64]:
        """Positions (n, 3) in those pixels, x y z.

        Args:
            particles: the picks.
            first_voxel: the coordinate that the program gives the centre of the first voxel.
        """
        return particles.points.positions / self.pixel(particles) + first_voxel

    def _refuse_other_spacing(self, particles: Particles) -> None:
        if self.binning is None or self.pixel_size is None or particles.grid is None:
            return
        binned, spacing = self.pixel_size * self.binning, particles.grid.spacing[0]
        if not same_spacing(binned, spacing):
            raise SettingError(
                f"format.pixel_size={self.pixel_size:g} times format.binning={self.binning:g} is "
                f"{binned:g} Å, but the tomogram of run {particles.run_name} has {spacing:g} Å. "
                "Give only one of them."
            )


def common_orientations(sets: Sequence[Particles]) -> bool:
    """Whether the picks carry orientations; an error where only some of the sets do.

    Sets whose orientations are all the identity do not count: that is what programs write when
    they know none.
    """
    filled = [p for p in sets if len(p.points)]
    turned = [
        p
        for p in filled
        if p.orientations is not None and not np.allclose(p.orientations, np.eye(3), atol=1e-6)
    ]
    if not turned:
        return False
    for particles in filled:
        if particles.orientations is None:
            raise DataError(
                f"The picks of run {turned[0].run_name} have orientations but those of run "
                f"{particles.run_name} have none. Export them apart: runs=[…]"
            )
    return True


def common_scores(sets: Sequence[Particles]) -> bool:
    """Whether any of the picks have scores."""
    return any(len(p.points) and p.points.scores is not None for p in sets)


def scores_of(particles: Particles) -> NDArray[np.floating]:
    """The scores; 1 where there are none beside sets that have some, as copick has it."""
    scores = particles.points.scores
    return np.ones(len(particles.points)) if scores is None else scores


def orientations_of(particles: Particles) -> NDArray[np.float64]:
    """The orientations (n, 3, 3), known to be rotations."""
    turns = particles.orientations
    if turns is None:
        return np.zeros((0, 3, 3))
    proper = np.allclose(turns @ turns.transpose(0, 2, 1), np.eye(3), atol=1e-3)
    if not proper or np.any(np.linalg.det(turns) < 0):
        raise DataError(
            f"Run {particles.run_name}: some orientations are no rotations. Correct the "
            "transformations of its picks, or export without them: orientations=false"
        )
    return turns


def number(value: float) -> str:
    """A number with six decimals, and no minus before a zero."""
    return f"{round(float(value), 6) + 0.0:.6f}"
