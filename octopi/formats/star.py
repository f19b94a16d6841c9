"""STAR files: tables of named columns, and RELION's list of tomograms.

`starfile.to_string` writes its version and the date into each file; files written here stay the
same as long as the picks do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octopi.errors import DataError, SettingError

SIZE = ("rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ")
PIXEL_SIZE = "rlnTomoTiltSeriesPixelSize"
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
    heads = [f"_{column} #{index}" for index, column in enumerate(columns, start=1)]
    rows = [" ".join(row) for row in zip(*columns.values(), strict=True)]
    return "\n".join([f"data_{name}", "", "loop_", *heads, *rows, "", ""])


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
        # As numbers, names such as 001 would lose their zeros.
        tables: Any = starfile.read(path, always_dict=True, parse_as_string=["rlnTomoName"])
    except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a STAR file: {error}.") from error
    table: Any = tables.get("global", next(iter(tables.values()), {}))
    needed = ("rlnTomoName", PIXEL_SIZE, *SIZE)
    missing = [column for column in needed if column not in table]
    if missing:
        raise DataError(
            f"{path} lacks {', '.join(missing)}. Name the tomograms.star of RELION's job "
            "Reconstruct tomograms."
        )
    if isinstance(table, dict):  # a list of one tomogram, written without loop_
        table = {key: [value] for key, value in table.items()}
    rows = zip(*(list(table[column]) for column in needed), strict=True)
    optics = list(zip(*(list(table[c]) for c in OPTICS), strict=True)) if _has_optics(table) else []
    return {
        str(name): ListedTomogram(
            tuple(map(float, size)),
            float(pixel_size),
            tuple(map(float, optics[index])) if optics else None,
        )
        for index, (name, pixel_size, *size) in enumerate(rows)
    }


def _has_optics(table: Any) -> bool:
    """Return whether the table has all columns of optics."""
    return all(column in table for column in OPTICS)
