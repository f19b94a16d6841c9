"""Formats with their settings as conf/format has them, and picks to write."""

from pathlib import Path

import numpy as np
import yaml

from octopi.config.files import CONF_DIR
from octopi.formats import Particles
from octopi.formats.csv_table import Csv
from octopi.formats.dynamo import Dynamo
from octopi.formats.relion import Relion5
from octopi.formats.warp import Warp
from octopi.geometry import Grid, Points

FORMATS = {"relion5": Relion5, "warp": Warp, "dynamo": Dynamo, "csv": Csv}
FOLDER = Path("picks")


def make(name, **changes):
    """Make a format with the settings of its YAML file, but for the changes."""
    settings = yaml.safe_load(
        (Path(CONF_DIR) / "format" / f"{name}.yaml").read_text(encoding="utf-8")
    )
    del settings["_target_"]
    return FORMATS[name](**{**settings, **changes})


def picks(positions, *, run="TS_1", grid=None, scores=None, rotations=None):
    rotations = None if rotations is None else np.asarray(rotations, dtype=float)
    return Particles(run, grid, Points(np.array(positions, dtype=float), scores), rotations)


def grid_of(x, y, z, spacing):
    return Grid.cubic((z, y, x), spacing)


def rows(text):
    """Split the rows of the last table of a STAR file into their values."""
    return [line.split() for line in text.splitlines() if line and line[0] not in "_#dl"]
