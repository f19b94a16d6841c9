"""`octopi extract` on a project: a ball of an organelle, and picks at known distances from it."""

import numpy as np
import pytest

from octopi.geometry import Grid, Points
from octopi.project import open_project
from octopi.project.queries import PicksQuery, SegmentationQuery

GRID = Grid.cubic((24, 48, 48), 20.0)
CENTRE = np.array([480.0, 470.0, 235.0])
RADIUS = 180.0
DISTANCES = np.array([-150.0, -60.0, 0.0, 80.0, 200.0])
DIRECTIONS = np.array([[1, 0, 0], [0, 1, 0], [0.6, 0.8, 0], [0, -1, 0], [-1, 0, 0]])
POSITIONS = CENTRE + DIRECTIONS * (RADIUS + DISTANCES)[:, None]
SCORES = np.array([0.1, 0.3, 0.5, 0.7, 0.9], dtype=np.float32)
ORGANELLE = SegmentationQuery("organelle", "tool", "1", 20.0)
SPLIT = "membrane=organelle:tool/1"


@pytest.fixture
def project(here):
    """Write octopi's ribosomes to every run, and the organelle to all but TS_03."""
    project = open_project(here / "project.json")
    z, y, x = np.indices(GRID.shape) * 20.0
    distance = np.linalg.norm(np.stack([x, y, z], axis=-1) - CENTRE, axis=-1)
    is_shell = np.abs(distance - RADIUS + 30) <= 30  # its outside is at RADIUS
    mask = 2 * is_shell.astype(np.uint8)
    mask[1:4, 1:4, 1:4] = 1  # of something else
    for run in project.runs:
        run.write_picks(PicksQuery("ribosome", "octopi", "1"), Points(POSITIONS, SCORES))
        if run.name != "TS_03":
            labels = {"virus": 1, "vesicle": 2}
            run.write_segmentation(ORGANELLE, mask, grid=GRID, attributes={"labels": labels})
    return project


def read_group(project, session, user="octopi", run=0):
    query = PicksQuery("ribosome", user, session)
    return project.runs[run].read_oriented(query)


def test_picks_are_split_in_three_and_keep_their_scores(project, octopi_command, capfd):
    assert octopi_command("extract", SPLIT) == 0
    for session, expected in (("1-inside", [0]), ("1-near", [1, 2, 3]), ("1-outside", [4])):
        points, _ = read_group(project, session)
        np.testing.assert_allclose(points.positions, POSITIONS[expected])
        np.testing.assert_allclose(points.scores, SCORES[expected])
    log = capfd.readouterr().err
    assert "octopi/1-near: ribosome 6" in log
    assert "TS_03 has no segmentation organelle:tool/1" in log
    assert len(read_group(project, "1")[0]) == 5


def test_near_picks_are_turned_to_the_surface(project, octopi_command):
    assert octopi_command("extract", SPLIT) == 0
    _, rotations = read_group(project, "1-near")
    angles = np.degrees(np.arccos(np.sum(rotations[:, :, 2] * DIRECTIONS[1:4], axis=1)))
    assert angles.max() < 4  # a ball of nine voxels
    assert read_group(project, "1-outside")[1] is None
    assert octopi_command("extract", SPLIT, "orient_to_membrane=false") == 0
    assert read_group(project, "1-near")[1] is None


def test_picks_that_are_not_turned_keep_their_orientations(project, octopi_command):
    rotations = np.tile(np.diag([-1.0, -1, 1]), (5, 1, 1))
    query = PicksQuery("ribosome", "octopi", "1")
    project.runs[0].write_picks(query, Points(POSITIONS), orientations=rotations)
    assert octopi_command("extract", SPLIT, "runs=[TS_01]", "orient_to_membrane=false") == 0
    for session, number in (("1-inside", 1), ("1-near", 3), ("1-outside", 1)):
        np.testing.assert_array_equal(read_group(project, session)[1], rotations[:number])


def test_a_shell_that_is_not_filled_has_its_lumen_outside(project, octopi_command):
    assert octopi_command("extract", SPLIT, "fill_enclosed=false", "near_distance=[-30,30]") == 0
    near, rotations = read_group(project, "1-near")
    np.testing.assert_allclose(near.positions, POSITIONS[[1, 2]])
    assert np.sum(rotations[0, :, 2] * DIRECTIONS[1]) < -0.98  # into the lumen, away from the shell
    assert len(read_group(project, "1-inside")[0]) == 0
    assert len(read_group(project, "1-outside")[0]) == 3


@pytest.mark.parametrize("label", ["vesicle", "2"])
def test_one_label_of_several_can_be_the_membrane(project, octopi_command, label):
    beside = Points(np.array([[40.0, 40, 110]]))  # 40 Å above the virus, far from the vesicle
    project.runs[0].write_picks(PicksQuery("ribosome", "octopi", "1"), beside)
    assert octopi_command("extract", SPLIT, "runs=[TS_01]", f"membrane_label={label}") == 0
    assert len(read_group(project, "1-outside")[0]) == 1
    assert octopi_command("extract", SPLIT, "runs=[TS_01]") == 0
    assert len(read_group(project, "1-near")[0]) == 1


def test_middles_of_near_pairs_are_turned_to_the_surface_too(project, octopi_command):
    first, second = CENTRE + np.array([[200, 0, 0], [200 * 0.9, 200 * np.sqrt(1 - 0.81), 0]])
    far = CENTRE + np.array([[0, 300, 0], [0, 340, 0]])
    points = Points(np.array([first, second, *far]), np.array([0.2, 0.4, 0.9, 0.9]))
    project.runs[0].write_picks(PicksQuery("ribosome", "octopi", "1"), points)
    overrides = (SPLIT, "runs=[TS_01]", "pairs=[20,120]")
    assert octopi_command("extract", *overrides, "session_id=dimers") == 0
    middle, rotations = read_group(project, "dimers-middle")
    np.testing.assert_allclose(middle.positions, [(first + second) / 2])
    np.testing.assert_allclose(middle.scores, [0.3])
    outward = (middle.positions[0] - CENTRE) / np.linalg.norm(middle.positions[0] - CENTRE)
    assert rotations[0, :, 2] @ outward > 0.99
    np.testing.assert_allclose(read_group(project, "dimers-ends")[0].positions, [first, second])


def test_pairs_need_no_membrane(project, octopi_command):
    gaps = np.linalg.norm(POSITIONS[:, None] - POSITIONS, axis=-1)
    first, second = np.unravel_index(np.argmin(gaps + np.diag([np.inf] * 5)), gaps.shape)
    assert octopi_command("extract", f"pairs=[0,{gaps[first, second] + 1}]") == 0
    middle, rotations = read_group(project, "1-middle", run=2)
    assert len(middle) == 1
    np.testing.assert_allclose(middle.positions[0], (POSITIONS[first] + POSITIONS[second]) / 2)
    assert rotations is None
    assert not any("inside" in query.session_id for query in project.runs[2].picks())


def test_extracting_again_replaces_the_picks(project, octopi_command):
    assert octopi_command("extract", SPLIT, "near_distance=[-500,500]") == 0
    assert len(read_group(project, "1-near")[0]) == 5
    assert octopi_command("extract", SPLIT, "near_distance=[0,0]") == 0
    assert len(read_group(project, "1-near")[0]) == 0


def test_groups_that_a_person_changed_are_replaced_only_when_told(
    project, here, octopi_command, capfd
):
    overrides = (SPLIT, "user_id=somebody")
    assert octopi_command("extract", *overrides) == 0
    assert octopi_command("extract", *overrides) == 0
    path = next(here.glob("overlay/**/somebody_1-near_ribosome.json"))
    path.write_text('{"points": []}', encoding="utf-8")
    assert octopi_command("extract", *overrides, "overwrite=true") == 3
    assert "overwrite=edited" in capfd.readouterr().err
    assert path.read_text(encoding="utf-8") == '{"points": []}'
    assert octopi_command("extract", *overrides, "overwrite=edited") == 0


def test_a_dry_run_logs_the_counts_and_writes_nothing(project, here, octopi_command, capfd):
    before = sorted(here.rglob("*"))
    assert octopi_command("extract", SPLIT, "dry_run=true") == 0
    assert "octopi/1-near: ribosome 6" in "".join(capfd.readouterr())
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize(
    ("overrides", "code", "message"),
    [
        ([], 2, "membrane=NAME:USER/SESSION"),
        (
            [SPLIT, "near_distance=[1]"],
            2,
            "in Å, [from, to], the smaller first, not [1]",
        ),
        ([SPLIT, "near_distance=[10,-10]"], 2, "not [10, -10]"),
        ([SPLIT, "near_distance=null"], 2, "near_distance must be set"),
        ([SPLIT, "pairs=[5,1]"], 2, "pairs must be a list of float of 0 … 1000000 in Å"),
        ([SPLIT, "smoothing=-1"], 2, "smoothing"),
        ([SPLIT, "picks=octopi"], 2, "USER/SESSION"),
        ([SPLIT, "session_id=a_b"], 2, "a-b-inside"),
        ([SPLIT, "membrane_label=vesicl"], 3, "Did you mean vesicle"),
        ([SPLIT, "membrane_label=99"], 3, "It holds: 1, 2."),
        ([SPLIT, "membrane_label=0"], 2, "membrane_label"),
        ([SPLIT, "picks=nobody/1"], 3, "nobody/1"),
        ([SPLIT, "runs=[TS_03]"], 3, "It has: membrane:curation/0"),
        (["membrane=organelle:tool/2"], 3, "organelle:tool/1"),
        (["membrane=organelle"], 2, "name:user/session"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(
    project, octopi_command, capfd, overrides, code, message
):
    before = project.runs[0].picks()
    assert octopi_command("extract", *overrides) == code
    assert message in capfd.readouterr().err
    assert project.runs[0].picks() == before


def test_a_membrane_of_another_box_than_the_tomogram_is_refused(project, octopi_command, capfd):
    grid = Grid.cubic((24, 24, 24), 20.0)
    mask = np.ones(grid.shape, np.uint8)
    for run in project.runs:
        run.write_segmentation(ORGANELLE, mask, grid=grid, attributes={})
    assert octopi_command("extract", SPLIT) == 3
    assert "24×24×24 voxels of 20 Å, which is the box of no tomogram" in capfd.readouterr().err
