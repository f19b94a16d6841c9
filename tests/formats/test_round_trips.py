"""Positions written and read back, by the other programs' rules or code, agree within 1e-3 Å."""

import csv
import io

import numpy as np
import pytest
import starfile
from particle_files import FOLDER, grid_of, make, picks, rows
from scipy.spatial.transform import Rotation

from octopi.project.copick_api import keep_log_handlers

with keep_log_handlers():
    from copick.util.handlers.picks.dynamo import dynamo_handler
    from copick.util.handlers.picks.star import star_handler

PIXEL = 2.171
BINNINGS = [1, 2, 3.7, 6]
SIZES = [(256, 250, 128), (255, 251, 127)]  # unbinned pixels x y z
CLOSE = {"rtol": 0, "atol": 1e-3}


@pytest.fixture(params=BINNINGS)
def binning(request):
    return request.param


@pytest.fixture(params=SIZES, ids=["even", "odd"])
def size(request):
    return request.param


def planted(size, binning):
    """Make picks all over a tomogram that was binned from so many pixels."""
    grid = grid_of(*(round(n / binning) for n in size), PIXEL * binning)
    rng = np.random.default_rng(5)
    positions = rng.random((40, 3)) * size * PIXEL
    rotations = Rotation.random(40, rng=rng).as_matrix()
    return picks(positions, grid=grid, scores=rng.random(40), rotations=rotations)


def relion_file(tmp_path, particles, size):
    """Write the particle set of a tomogram of this unbinned size."""
    writer = make("relion5", pixel_size=PIXEL, tomogram_size=size)
    path = tmp_path / "a.star"
    path.write_text(writer.files("a", [particles], folder=FOLDER)["a.star"], encoding="utf-8")
    return path


def test_relion_finds_the_voxel_that_was_picked(tmp_path, size, binning):
    particles = planted(size, binning)
    table = starfile.read(relion_file(tmp_path, particles, size))
    centred = table[[f"rlnCenteredCoordinate{a}Angst" for a in "XYZ"]].to_numpy()
    # ParticleSet::getParticleCoordDecenteredPixel, then the voxel of the tomogram that
    # relion_tomo_reconstruct_tomogram makes of that pixel.
    decentred = centred / PIXEL + np.array(size) / 2.0
    voxels = decentred / binning
    expected = particles.grid.to_voxels(particles.points.positions)[:, ::-1]
    edge = PIXEL * binning
    np.testing.assert_allclose(voxels * edge, expected * edge, **CLOSE)


def test_copick_reads_the_same_picks_from_our_star_file(tmp_path, size, binning):
    particles = planted(size, binning)
    path = relion_file(tmp_path, particles, size)
    positions, transforms, *_ = star_handler.read(
        str(path), None, tomogram_center=tuple(np.array(size) / 2 * PIXEL)
    )
    np.testing.assert_allclose(positions, particles.points.positions, **CLOSE)
    np.testing.assert_allclose(transforms[:, :3, :3], particles.orientations, atol=1e-6)


def test_without_an_unbinned_size_the_centre_is_that_of_the_tomogram_itself(tmp_path):
    particles = planted((256, 250, 128), 2)
    text = make("relion5").files("a", [particles], folder=FOLDER)["a.star"]
    centre = np.array([128, 125, 64]) / 2 * PIXEL * 2
    centred = np.array([row[1:4] for row in rows(text)], dtype=float)
    np.testing.assert_allclose(centred + centre, particles.points.positions, **CLOSE)


def test_warp_computes_our_positions_in_angstrom(tmp_path, size, binning):
    particles = planted(size, binning)
    for settings, angpix in (({}, PIXEL * binning), ({"pixel_size": PIXEL}, PIXEL)):
        text = make("warp", **settings).files("a", [particles], folder=FOLDER)["a.star"]
        path = tmp_path / "warp.star"
        path.write_text(text, encoding="utf-8")
        table = starfile.read(path)
        pixels = table[[f"rlnCoordinate{a}" for a in "XYZ"]].to_numpy()
        np.testing.assert_allclose(pixels * angpix, particles.points.positions, **CLOSE)
        assert set(table["rlnMicrographName"]) == {"TS_1.tomostar"}
        assert f"--coords_angpix {angpix:.6g}\n" in text
        np.testing.assert_allclose(
            table["rlnAutopickFigureOfMerit"], particles.points.scores, atol=1e-6
        )


def test_copick_reads_the_same_picks_from_our_dynamo_table(tmp_path, size, binning):
    particles = planted(size, binning)
    path = tmp_path / "a.tbl"
    writer = make("dynamo", first_voxel=0)  # copick counts from the centre of the first voxel
    path.write_text(writer.files("a", [particles], folder=FOLDER)["a.tbl"], encoding="utf-8")
    positions, transforms, scores, *_ = dynamo_handler.read(str(path), PIXEL * binning)
    np.testing.assert_allclose(positions, particles.points.positions, **CLOSE)
    np.testing.assert_allclose(transforms[:, :3, :3], particles.orientations, atol=1e-6)
    np.testing.assert_allclose(scores, particles.points.scores, atol=1e-6)


def test_dynamo_counts_from_the_corner_of_the_first_voxel():
    one = picks([[0, 10, 25]], grid=grid_of(32, 32, 16, 10.0))
    row = make("dynamo").files("a", [one], folder=FOLDER)["a.tbl"].split()
    assert [float(v) for v in row[23:26]] == [0.5, 1.5, 3.0]


def test_a_csv_file_has_coordinates_in_both_units(size, binning):
    particles = planted(size, binning)
    text = make("csv").files("a", [particles], folder=FOLDER)["a.csv"]
    table = list(csv.DictReader(io.StringIO(text)))
    angstrom = np.array([[float(row[f"{a}_angstrom"]) for a in "xyz"] for row in table])
    voxel = np.array([[float(row[f"{a}_voxel"]) for a in "xyz"] for row in table])
    edge = np.array([float(row["voxel_size_angstrom"]) for row in table])
    np.testing.assert_allclose(angstrom, particles.points.positions, **CLOSE)
    np.testing.assert_allclose(voxel * edge[:, None], particles.points.positions, **CLOSE)
    rotations = [[float(row[f"rotation_{a}{b}"]) for a in "xyz" for b in "xyz"] for row in table]
    np.testing.assert_allclose(
        np.array(rotations).reshape(-1, 3, 3), particles.orientations, atol=1e-6
    )
