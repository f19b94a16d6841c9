"""`octopi merge_picks` on a project: what it writes, and that it replaces nothing."""

import numpy as np
import pytest
from foreign_picks import add_picks, change_points
from foreign_volumes import change_object

from octopi.geometry import Points
from octopi.project import open_project
from octopi.project.queries import PicksQuery

FOUND = np.array([[100.0, 100, 100], [400, 400, 200]])
CORRECTED = np.array([[130.0, 100, 100], [700, 700, 300]])
MERGE = ("merge_picks", "picks=[octopi/1,corrected/1]", "user_id=merged")
MERGED = PicksQuery("ribosome", "merged", "1")
TURN = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])


@pytest.fixture
def project(here):
    """A project with picks of octopi, of which a person corrected those of TS_01."""
    project = open_project(here / "project.json")
    for run in project.runs[:2]:
        query = PicksQuery("ribosome", "octopi", "1")
        run.write_picks(query, Points(FOUND, np.array([0.4, 0.9])), orientations=[TURN, TURN.T])
    add_picks(here, CORRECTED, user="corrected")
    add_picks(here, [FOUND[1]], user="corrected-rejected")
    return project


def files(here):
    return {path: path.read_bytes() for path in here.glob("**/Picks/*.json")}


def test_the_union_is_a_set_of_its_own(project, here, octopi_command, capfd):
    before = files(here)
    assert octopi_command(*MERGE, "rejected=corrected-rejected/1") == 0
    output = "".join(capfd.readouterr())
    counts = "ribosome: 4 picks (4 of octopi/1, 2 of corrected/1, 1 merged, 1 rejected)"
    assert counts in output
    assert "The picks merged/1 of 2 runs" in output
    first, second, third = project.runs
    points, orientations = first.read_oriented(MERGED)
    assert points.positions.tolist() == CORRECTED.tolist()
    assert np.array_equal(orientations, [np.eye(3)] * 2)
    points, orientations = second.read_oriented(MERGED)
    assert points.positions.tolist() == FOUND.tolist()
    assert points.scores.tolist() == pytest.approx([0.4, 0.9])
    assert np.array_equal(orientations, [TURN, TURN.T])
    assert MERGED not in third.picks()
    assert {path: before[path] for path in before} == {path: files(here)[path] for path in before}
    assert len(files(here)) == len(before) + 2


def test_the_same_again_writes_nothing_new(project, here, octopi_command):
    assert octopi_command(*MERGE) == 0
    before = files(here)
    assert octopi_command(*MERGE) == 0
    assert files(here) == before


def test_what_is_there_is_never_replaced(project, here, octopi_command, capfd):
    add_picks(here, CORRECTED, user="merged", run="TS_02")
    before = files(here)
    assert octopi_command(*MERGE) == 3
    error = capfd.readouterr().err
    assert "Run TS_02 already has the picks ribosome:merged/1, 2 of them" in error
    assert "session_id=2" in error
    assert octopi_command(*MERGE, "dry_run=true") == 3
    assert octopi_command("merge_picks", MERGE[1], "user_id=octopi") == 3
    assert octopi_command("merge_picks", "picks=[corrected/1]", "user_id=corrected") == 3
    assert octopi_command("merge_picks", "picks=[curation/0]", "user_id=octopi") == 3
    assert octopi_command("merge_picks", MERGE[1], "user_id=curation", "session_id=0") == 3
    assert files(here) == before
    assert octopi_command(*MERGE, "session_id=2") == 0


def test_a_union_of_former_scores_or_orientations_is_not_taken_for_todays(
    project, octopi_command, capfd
):
    assert octopi_command(*MERGE) == 0
    second, query = project.runs[1], PicksQuery("ribosome", "octopi", "1")
    changed = [
        (Points(FOUND, np.array([0.5, 0.9])), [TURN, TURN.T]),
        (Points(FOUND, np.array([0.4, 0.9])), [TURN.T, TURN]),
        (Points(FOUND, np.array([0.4, 0.9])), None),
    ]
    for points, orientations in changed:
        second.write_picks(query, points, orientations=orientations)
        assert octopi_command(*MERGE) == 3
        assert "already has the picks ribosome:merged/1" in capfd.readouterr().err


def test_a_dry_run_counts_and_writes_nothing(project, here, octopi_command, capfd):
    before = files(here)
    assert octopi_command(*MERGE, "dry_run=true") == 0
    output = "".join(capfd.readouterr())
    assert "would write picks merged/1 of TS_01, TS_02" in output
    assert "ribosome: 5 picks (4 of octopi/1, 2 of corrected/1, 1 merged, 0 rejected)" in output
    assert files(here) == before


def test_orientations_are_unknown_where_those_of_a_set_are(project, here, octopi_command):
    query = PicksQuery("ribosome", "corrected", "1")
    project.runs[1].write_picks(query, Points(CORRECTED))
    assert octopi_command(*MERGE) == 0
    assert project.runs[1].read_oriented(MERGED)[1] is None


def test_picks_of_read_only_data_are_merged(project, octopi_command):
    assert octopi_command("merge_picks", "picks=[curation/0,octopi/1]", "user_id=merged") == 0
    ribosomes = project.runs[0].read_picks(PicksQuery("ribosome", "curation", "0"))
    assert len(project.runs[0].read_picks(MERGED)) == len(ribosomes) + 2
    assert len({query.object_name for query in project.runs[0].picks()}) > 1
    assert project.runs[0].read_picks(PicksQuery("apo-ferritin", "merged", "1"))


def test_only_the_named_objects_and_runs_are_merged(project, here, octopi_command):
    words = ["picks=[curation/0,octopi/1]", "user_id=merged", "runs=[TS_02]", "objects=[ribosome]"]
    assert octopi_command("merge_picks", *words) == 0
    assert len(list(here.glob("**/Picks/merged_*.json"))) == 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["picks=[octopi/1,nobody/1]"], 3, "no picks nobody/1"),
        (["picks=[octopi/1,octopi/1]"], 2, "each once"),
        (["picks=octopi"], 2, "'octopi' does not name picks"),
        (["picks=[octopi/1]", "rejected=octopi/1"], 2, "cannot be both"),
        (["picks=[octopi/1]", "rejected=nobody/1"], 3, "no picks nobody/1"),
        (["picks=[octopi/1]", "objects=[virus]"], 3, "no picks of virus"),
        (["picks=[octopi/1]", "runs=[TS_03]"], 3, "no picks octopi/1"),
        (["picks=[octopi/1]", "user_id=my_name"], 2, "my-name"),
        ([], 2, "picks"),
    ],
)
def test_what_cannot_be_merged_is_refused_before_anything_is_written(
    project, here, octopi_command, capfd, words, code, message
):
    before = files(here)
    assert octopi_command("merge_picks", "user_id=merged", *words) == code
    error = capfd.readouterr().err
    assert message in error
    assert "mistake" not in error
    assert files(here) == before


def test_an_object_without_radius_cannot_be_merged(project, here, octopi_command, capfd):
    change_object(here, "ribosome", radius=None)
    assert octopi_command(*MERGE) == 3
    assert "ribosome has no radius" in capfd.readouterr().err


def test_damaged_picks_are_named_before_anything_is_written(project, here, octopi_command, capfd):
    change_points(add_picks(here, CORRECTED, user="corrected", run="TS_02"), location=None)
    before = files(here)
    assert octopi_command(*MERGE) == 3
    assert "Run TS_02: picks ribosome:corrected/1 cannot be understood" in capfd.readouterr().err
    assert files(here) == before
