"""STAR files: tables of named columns, and RELION's list of tomograms.

`starfile.to_string` writes its version and the date into each file; files written here stay the
same as long as the picks do.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.errors import DataError, SettingError
from octopi.formats.angles import relion_angles
from octopi.formats.base import (
    BARE_WORD,
    Particles,
    format_number,
    get_orientations,
    have_orientations,
    have_scores,
    warn_of_numbers,
)

SIZE = ("rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ")
PIXEL_SIZE = "rlnTomoTiltSeriesPixelSize"
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
SCORE = "rlnAutopickFigureOfMerit"
NO_VALUE = ("nan", "NaN", "<NA>")  # to starfile, also in quotes
OPTICS = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")

Columns = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class ListedTomogram:
    """A tomogram of RELION's tomograms.star.

    Args:
        size: of the unbinned tomogram, pixels x y z.
        pixel_size: Å, of the tilt series.
        optics: kV, mm and amplitude contrast; None unless all three are in the file.
    """

    size: tuple[float, ...]
    pixel_size: float
    optics: tuple[float, ...] | None


def star_text(tables: Mapping[str, Columns]) -> str:
    """Format tables as a STAR file; columns without values give a table without rows.

    Args:
        tables: name of the table -> name of a column -> its values as text.
    """
    return "\n".join(_block(name, columns) for name, columns in tables.items())


def _block(name: str, columns: Columns) -> str:
    """Format one table."""
    header = [f"_{column} #{index}" for index, column in enumerate(columns, start=1)]
    rows = [" ".join(map(quote, row)) for row in zip(*columns.values(), strict=True)]
    return "\n".join([f"data_{name}", "", "loop_", *header, *rows, "", ""])


def quote(value: str) -> str:
    """Return the value as a word of a STAR file, in quotes unless it is plain.

    RELION and starfile read back what is in double quotes. But there is no way to write a quote in
    them (starfile takes one kind for the other), and RELION joins neighbouring blanks.

    Raises:
        DataError: the value cannot be written.
    """
    if value in NO_VALUE:
        raise DataError(
            f"{value!r} cannot be written in a STAR file, where it stands for no value. Rename the "
            "run, or write it with more letters, as in 'format.tomo_name=ts_*'."
        )
    if BARE_WORD.fullmatch(value):
        return value
    if re.fullmatch(r"\S+( \S+)*", value) and not re.search(r"[\"'\x00-\x1f\x7f]", value):
        return f'"{value}"'
    raise DataError(
        f"{value!r} cannot be written in a STAR file: names there hold no quotes, no tabs and no "
        "blanks beside each other. Rename the run or folder, or export with format=csv."
    )


def particle_tables(
    particle_sets: Sequence[Particles],
    names: tuple[str, Sequence[str]],
    axes: Sequence[str],
    coordinates: Sequence[NDArray[np.float64]],
) -> list[dict[str, list[str]]]:
    """Format a table of each set's picks, with RELION's angles and the scores where sets have any.

    Args:
        particle_sets: the picks.
        names: of the column of tomograms, and of the tomogram of each set.
        axes: names of the columns of coordinates.
        coordinates: (n, 3), x y z, of each set.
    """
    warn_of_numbers(names[1])
    has_angles, has_scores = have_orientations(particle_sets), have_scores(particle_sets)
    columns = [*axes, *(ANGLES if has_angles else ()), *[SCORE] * has_scores]
    tables = []
    for particles, name, positions in zip(particle_sets, names[1], coordinates, strict=True):
        values: list[NDArray[np.floating]] = [positions]
        if has_angles:
            values.append(relion_angles(get_orientations(particles)))
        if has_scores:
            values.append(particles.points.scores_or_ones[:, None])
        numbers = zip(columns, np.hstack(values).T, strict=True)
        texts = {column: list(map(format_number, one)) for column, one in numbers}
        tables.append({names[0]: [name] * len(positions), **texts})
    return tables


def join_columns(parts: Sequence[Columns]) -> dict[str, list[str]]:
    """Join tables of the same columns, at least one, below each other."""
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}


def read_tomograms(path: Path) -> dict[str, ListedTomogram]:
    """Read RELION's tomograms.star.

    Returns:
        rlnTomoName -> tomogram.

    Raises:
        SettingError: there is no such file.
        DataError: it is no STAR file, or lacks columns.
    """
    import starfile  # noqa: PLC0415  brings pandas, which is slow and rarely needed here

    if not path.is_file():
        raise SettingError(f"format.tomograms_star: there is no file {path}.")
    try:
        # As a number, a name such as 001 would lose its zeros.
        tables: Any = starfile.read(path, always_dict=True, parse_as_string=["rlnTomoName"])
    except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a STAR file: {error}.") from error
    table: Any = tables.get("global", next(iter(tables.values()), {}))
    needed: tuple[str, ...] = ("rlnTomoName", PIXEL_SIZE, *SIZE)
    missing = [column for column in needed if column not in table]
    if missing:
        raise DataError(
            f"{path} lacks {', '.join(missing)}. Name the tomograms.star of RELION's job "
            "Reconstruct tomograms."
        )
    if isinstance(table, dict):  # a list of one tomogram, written without loop_
        table = {key: [value] for key, value in table.items()}
    if all(column in table for column in OPTICS):
        needed += OPTICS
    rows = zip(*(list(table[column]) for column in needed), strict=True)
    tomograms: dict[str, ListedTomogram] = {}
    for name, *values in map(tuple, rows):
        tomogram = _listed_tomogram(name, values, path)
        if tomograms.setdefault(name, tomogram) != tomogram:
            raise DataError(
                f"{path} lists the tomogram {name} twice, with other values. Leave the right row."
            )
    return tomograms


def _listed_tomogram(name: str, values: Sequence[Any], path: Path) -> ListedTomogram:
    """Convert a row of tomograms.star: pixel size, x, y, z and, if any, the three of the optics.

    Raises:
        DataError: a value is no number, or pixel size or size are not above 0.
    """
    try:
        pixel_size, *numbers = map(float, values)
    except ValueError:
        pixel_size, *numbers = [math.nan] * len(values)
    is_finite = all(map(math.isfinite, (pixel_size, *numbers)))
    if not is_finite or min(pixel_size, *numbers[:3]) <= 0:
        raise DataError(
            f"{path} gives the tomogram {name} the values {', '.join(map(str, values))}: pixel "
            "size and size (x, y, z) are numbers above 0, what follows are numbers. Correct it."
        )
    return ListedTomogram(tuple(numbers[:3]), pixel_size, tuple(numbers[3:]) or None)
