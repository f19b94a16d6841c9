"""`octopi export` on a project: which picks are written, and which files are replaced."""

import json

import numpy as np
import pytest
import starfile

from octopi.geometry import Points
from octopi.project import open_project
from octopi.project.queries import PicksQuery

POSITIONS = np.array([[100.0, 200.0, 60.0], [400.0, 500.0, 120.0]])
CENTRE = np.array([48, 48, 24]) / 2 * 20.0


@pytest.fixture
def project(here):
    """Write two scored apo-ferritins of octopi's, and no ribosomes, to every run."""
    project = open_project(here / "project.json")
    for number, run in enumerate(project.runs):
        points = Points(POSITIONS + number, [0.9, 0.3])
        run.write_picks(PicksQuery("apo-ferritin", "octopi", "1"), points)
        run.write_picks(PicksQuery("ribosome", "octopi", "1"), Points.empty())
    return project


def centred(table):
    return table[[f"rlnCenteredCoordinate{a}Angst" for a in "XYZ"]].to_numpy()


def test_every_object_has_a_file_with_the_picks_of_all_runs(project, here, octopi_command, capfd):
    assert octopi_command("export", "format=relion5", "out=relion") == 0
    table = starfile.read(here / "relion/apo-ferritin.star")
    assert list(table["rlnTomoName"]) == ["TS_01"] * 2 + ["TS_02"] * 2 + ["TS_03"] * 2
    expected = np.concatenate([POSITIONS + number for number in range(3)])
    np.testing.assert_allclose(centred(table) + CENTRE, expected, atol=1e-3)
    np.testing.assert_allclose(table["rlnAutopickFigureOfMerit"], [0.9, 0.3] * 3, atol=1e-6)
    assert not any("Angle" in column for column in table)  # octopi knows no orientations
    assert len(starfile.read(here / "relion/ribosome.star")) == 0
    output = "".join(capfd.readouterr())
    assert "apo-ferritin 6" in output
    assert "ribosome 0" in output


def test_the_list_for_relions_import_names_existing_files(project, here, octopi_command):
    assert octopi_command("export", "format=relion5", "out=relion", "objects=[apo-ferritin]") == 0
    index = starfile.read(here / "relion/apo-ferritin_import.star")
    for name, path in zip(index["rlnTomoName"], index["rlnTomoImportParticleFile"], strict=True):
        table = starfile.read(here / path)
        assert set(table["rlnTomoName"]) == {name}
        assert len(table) == 2
    assert len(index) == 3


def test_picks_are_exported_with_their_orientations(project, here, octopi_command):
    command = ("export", "format=relion5", "user_id=curation", "session_id=0")
    assert octopi_command(*command, "objects=[ribosome]", "out=turned") == 0
    table = starfile.read(here / "turned/ribosome.star")
    run = project.runs[0]
    rotations = run.read_oriented(PicksQuery("ribosome", "curation", "0"))[1]
    angles = table[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy()[: len(rotations)]
    # The particle's own z axis in the tomogram, from RELION's definition of tilt and psi.
    _, tilt, psi = np.radians(angles).T
    axis = [-np.cos(psi) * np.sin(tilt), np.sin(psi) * np.sin(tilt), np.cos(tilt)]
    np.testing.assert_allclose(np.transpose(axis), rotations[:, :, 2], atol=1e-5)
    assert octopi_command(*command, "objects=[ribosome]", "out=plain", "orientations=false") == 0
    assert "rlnAngleRot" not in starfile.read(here / "plain/ribosome.star")


@pytest.mark.parametrize("min_score", ["min_score=0.5", "min_score={apo-ferritin: 0.5}"])
def test_picks_below_the_minimum_score_are_left_out(project, here, octopi_command, min_score):
    assert octopi_command("export", "format=warp", min_score, "out=warp") == 0
    assert len(starfile.read(here / "warp/apo-ferritin.star")) == 3


def test_names_runs_and_pixels_are_chosen_on_the_command_line(project, here, octopi_command):
    overrides = ("format.tomo_name=lam1_*.tomostar", "format.pixel_size=5", "runs=[TS_02]")
    assert octopi_command("export", "format=warp", *overrides, "out=warp") == 0
    table = starfile.read(here / "warp/apo-ferritin.star")
    assert set(table["rlnMicrographName"]) == {"lam1_TS_02.tomostar"}
    np.testing.assert_allclose(table["rlnCoordinateX"], (POSITIONS[:, 0] + 1) / 5, atol=1e-6)


def test_without_out_the_files_are_in_the_jobs_folder(project, here, octopi_command):
    assert octopi_command("export", "format=csv", "hydra.run.dir=job") == 0
    assert (here / "job/apo-ferritin.csv").is_file()
    assert (here / "job/export.log").is_file()


def tree(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_files_are_replaced_only_with_overwrite(project, here, octopi_command, capfd):
    assert octopi_command("export", "format=dynamo", "out=d") == 0
    before = tree(here / "d")
    assert octopi_command("export", "format=dynamo", "min_score=0.5", "out=d") == 2
    assert "overwrite=true" in capfd.readouterr().err
    assert tree(here / "d") == before
    assert (
        octopi_command("export", "format=dynamo", "min_score=0.5", "out=d", "overwrite=true") == 0
    )
    after = tree(here / "d")
    assert after.keys() == before.keys()
    assert len((here / "d/apo-ferritin.tbl").read_text(encoding="utf-8").splitlines()) == 3


def test_the_same_export_again_finishes_what_a_killed_one_began(project, here, octopi_command):
    assert octopi_command("export", "format=dynamo", "out=d") == 0
    before = tree(here / "d")
    next(iter(before)).unlink()
    assert octopi_command("export", "format=dynamo", "out=d") == 0
    assert tree(here / "d") == before


def test_files_of_an_older_export_with_more_runs_are_named(project, here, octopi_command, capfd):
    words = ("export", "format=relion5", "format.pixel_size=5", "out=r")
    assert octopi_command(*words) == 0
    assert "does not write" not in capfd.readouterr().err
    written = tree(here / "r")
    assert octopi_command(*words, "runs=[TS_01]", "overwrite=true", "dry_run=true") == 0
    (line,) = [x for x in capfd.readouterr().err.splitlines() if "does not write" in x]
    assert "TS_02" in line
    assert "TS_01" not in line
    assert tree(here / "r") == written


def all_paths(folder):
    return {p: p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def test_a_dry_run_lists_the_files_and_writes_none(project, here, octopi_command, capfd):
    assert octopi_command("export", "format=csv", "out=csv", "objects=[ribosome]") == 0
    before = all_paths(here)
    command = ("export", "format=csv", "out=csv", "dry_run=true")
    assert octopi_command(*command) == 0  # the file that exists is the same
    (here / "csv" / "ribosome.csv").write_text("other", encoding="utf-8")
    before = all_paths(here)
    assert octopi_command(*command) == 2
    capfd.readouterr()
    assert octopi_command(*command, "overwrite=true") == 0
    output = "".join(capfd.readouterr())
    assert "written    apo-ferritin.csv" in output
    assert "replaced   ribosome.csv" in output
    assert "apo-ferritin 6" in output
    assert all_paths(here) == before


def test_an_export_that_fails_writes_nothing(project, here, octopi_command, capfd):
    overrides = ("format=relion5", "format.pixel_size=5", "format.tomogram_size=[96,192,192]")
    assert octopi_command("export", *overrides, "out=relion") == 2
    assert "x, y, z" in capfd.readouterr().err
    assert not (here / "relion").exists()


def test_a_file_that_cannot_be_written_leaves_none(project, here, octopi_command, capfd):
    (here / "blocked").mkdir()
    (here / "blocked/apo-ferritin").write_text(
        "where RELION's files of tomograms should go", encoding="utf-8"
    )
    assert octopi_command("export", "format=relion5", "out=blocked") == 4
    assert "out=" in capfd.readouterr().err
    assert [p.name for p in (here / "blocked").iterdir()] == ["apo-ferritin"]


@pytest.mark.parametrize(
    ("overrides", "code", "message"),
    [
        (["user_id=nobody"], 3, "nobody/1"),
        (["objects=[ribosom]"], 3, "ribosom"),
        (["runs=[TS_9]"], 3, "TS_9"),
        (["tomo_type=raw"], 3, "raw"),
        (["min_score={apo: 0.5}"], 2, "apo-ferritin"),
        (["min_score=0.5", "user_id=others"], 2, "no scores"),
        (["format.tomo_nam=a"], 2, "tomo_name"),
        (["format._target_=os.system"], 2, "refused"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(
    project, here, octopi_command, capfd, overrides, code, message
):
    points = {"pickable_object_name": "ribosome", "user_id": "others", "session_id": "1"}
    location = {"location": {"x": 1, "y": 2, "z": 3}}
    folder = here / "overlay/ExperimentRuns/TS_01/Picks"
    folder.joinpath("others_1_ribosome.json").write_text(
        json.dumps({**points, "points": [location]}), encoding="utf-8"
    )
    assert octopi_command("export", "format=csv", "out=csv", *overrides) == code
    assert message in capfd.readouterr().err
    assert not (here / "csv").exists()


def test_a_run_that_is_named_must_have_picks(project, here, octopi_command, capfd):
    folder = here / "overlay/ExperimentRuns/TS_01/Picks"
    for path in folder.glob("octopi_1_*"):
        path.unlink()
    assert octopi_command("export", "format=csv", "out=some") == 0
    log = "".join(capfd.readouterr())
    assert "from 2 runs" in log
    assert "1 of 3 runs have no picks ribosome:octopi/1 and are left out: TS_01." in log
    assert octopi_command("export", "format=csv", "runs=[TS_01,TS_02]", "out=two") == 3
    assert "Run TS_01 has no picks" in capfd.readouterr().err


@pytest.mark.parametrize("dry_run", ["true", "false"])
def test_picks_outside_their_tomograms_are_counted_by_run(project, octopi_command, capfd, dry_run):
    outside = Points([*POSITIONS, [5000, 10, 10], [10, 10, -30]], [0.9, 0.9, 0.9, 0.1])
    project.runs[1].write_picks(PicksQuery("apo-ferritin", "octopi", "1"), outside)
    command = ("export", "format=csv", "out=csv", f"dry_run={dry_run}")
    assert octopi_command(*command, "min_score=0.5") == 0
    assert "1 picks of apo-ferritin lie outside their tomogram, in 1 runs: TS_02 (1)" in "".join(
        capfd.readouterr()
    )
