"""Files as a person would write them by hand, from the definitions of the formats.

The tomogram has voxels of 10 Å, binned by 4 from a tilt series of 2.5 Å and 127 x 85 x 41 pixels
(x, y, z), whose centre is therefore at 158.75, 106.25, 51.25 Å.

The first pick is at voxel (16, 10.5, 5), turned by 90° about z (x of the object points along y of
the tomogram): rot -90. The second is at the first voxel, turned by 90° about y (z of the object
points along x): rot 180, tilt 90, psi 180 in RELION; tdrot 90, tilt 90, narot -90 in Dynamo. The
third, in another run, is as it was.
"""

from pathlib import Path

import numpy as np
import pytest
from particle_files import FOLDER, grid_of, make, picks

GOLDEN = Path(__file__).with_name("golden")
ABOUT_Z = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
ABOUT_Y = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
GRID = grid_of(32, 21, 10, 10.0)
SETS = [
    picks([[160, 105, 50], [0, 0, 0]], grid=GRID, scores=[0.75, 0.5], rotations=[ABOUT_Z, ABOUT_Y]),
    picks([[180, 110, 50]], run="TS_2", grid=GRID, scores=[0.25], rotations=[np.eye(3)]),
]
MICROSCOPE = {"voltage": 300, "spherical_aberration": 2.7, "amplitude_contrast": 0.1}
RELION = {"pixel_size": 2.5, "tomogram_size": [127, 85, 41], **MICROSCOPE}
CASES = [
    ("relion5", RELION, "ribosome.star", "relion5.star"),
    ("relion5", RELION, "ribosome/TS_1.star", "relion5_TS_1.star"),
    ("relion5", RELION, "ribosome_import.star", "relion5_import.star"),
    ("warp", {"pixel_size": 2.5}, "ribosome.star", "warp.star"),
    ("dynamo", {}, "ribosome.tbl", "dynamo.tbl"),
    ("dynamo", {}, "ribosome.doc", "dynamo.doc"),
    ("csv", {}, "ribosome.csv", "table.csv"),
]


@pytest.mark.parametrize(("name", "settings", "written", "golden"), CASES)
def test_a_file_is_the_same_as_the_one_written_by_hand(name, settings, written, golden):
    files = make(name, **settings).files("ribosome", SETS, folder=FOLDER)
    assert files[written] == (GOLDEN / golden).read_text(encoding="utf-8")
