"""Several sets of picks in a project, of octopi and of viewers, are read as one."""

import numpy as np
import pytest
from foreign_picks import add_picks, change_points, drop_from_points
from foreign_volumes import change_object

from octopi.errors import DataError, NotInProjectError
from octopi.geometry import Points
from octopi.project import open_project
from octopi.project.provenance import describe_changed_inputs
from octopi.project.queries import PickSets, PicksQuery
from octopi.project.united_picks import read_united_picks

RADIUS = 100.0
SETS = {"ribosome": PickSets.parse("ribosome:octopi/1 + ribosome:napari/manual-1")}
REJECTED = {"ribosome": PickSets.parse("ribosome:me-rejected/1")}
FOUND = np.array([[100.0, 100, 100], [400, 400, 200]])
CORRECTED = np.array([[110.0, 100, 100], [600, 600, 300]])


@pytest.fixture
def run(here):
    run = open_project(here / "project.json").select(["TS_01"])[0]
    scores = np.array([0.4, 0.9])
    run.write_picks(SETS["ribosome"].queries[0], Points(FOUND, scores))
    return run


def read(run, rejected=None, radii=None):
    radii = {"ribosome": RADIUS} if radii is None else radii
    return read_united_picks(run, SETS, rejected or {}, radii)["ribosome"]


VIEWERS = {
    "napari-copick": lambda path: None,
    "ChimeraX-copick": lambda path: change_points(
        path, transformation_=np.eye(4).tolist(), instance_id=7, score=None
    ),
    "without scores": lambda path: drop_from_points(path, "score"),
    "without transformations": lambda path: drop_from_points(path, "transformation_"),
    "odd instances": lambda path: change_points(path, instance_id=-1),
}


@pytest.mark.parametrize("viewer", VIEWERS)
def test_picks_of_a_viewer_are_united_with_those_of_octopi(here, run, viewer):
    path = add_picks(here, CORRECTED, user="napari", session="manual-1")
    VIEWERS[viewer](path)
    united = read(run)
    assert united.points.positions.tolist() == [FOUND[1].tolist(), *CORRECTED.tolist()]
    assert united.points.scores.tolist() == pytest.approx([0.9, 1, 1])
    assert str(united.counts) == (
        "3 picks (2 of octopi/1, 2 of napari/manual-1, 1 merged, 0 rejected)"
    )


def test_a_viewer_may_store_where_octopi_wrote(here, run):
    add_picks(here, CORRECTED, user="octopi", session="1")
    assert read(run).points.positions.tolist() == CORRECTED.tolist()


def test_a_set_that_the_run_lacks_is_empty_and_an_object_needs_one(here, run):
    assert read(run).points.positions.tolist() == FOUND.tolist()
    united = read_united_picks(run, {"ribosome": PickSets.parse("ribosome:a/1 + ribosome:b/1")},
                               REJECTED, {})["ribosome"]  # fmt: skip
    assert united.points is None
    add_picks(here, [], user="napari", session="manual-1")
    run.delete_picks(SETS["ribosome"].queries[0])
    assert len(read(run).points) == 0


def test_rejected_places_take_picks_away_and_remain(here, run):
    add_picks(here, CORRECTED, user="napari", session="manual-1")
    add_picks(here, [FOUND[1], CORRECTED[1], [900, 900, 100]], user="napari-rejected")
    united = read(run, {"ribosome": PickSets.parse("ribosome:napari-rejected/1")})
    assert united.points.positions.tolist() == CORRECTED.tolist()
    assert united.rejected.tolist() == [FOUND[1].tolist(), [900, 900, 100]]
    assert united.counts.num_contradicted == 1
    assert [keep.tolist() for keep in united.kept] == [[False, False], [True, True]]


def test_a_rejection_stands_against_the_last_set_of_another_user(here, run):
    add_picks(here, CORRECTED, user="napari", session="manual-1")
    add_picks(here, [CORRECTED[1]], user="me-rejected")
    united = read(run, REJECTED)
    assert CORRECTED[1].tolist() not in united.points.positions.tolist()
    assert united.rejected.tolist() == [CORRECTED[1].tolist()]
    assert united.counts.num_contradicted == 0


def test_the_radius_of_the_config_counts_where_none_is_given(here, run):
    add_picks(here, CORRECTED, user="napari", session="manual-1")
    assert read(run, radii={}).counts.num_merged == 1
    change_object(here, "ribosome", radius=10)
    run = open_project(here / "project.json").select(["TS_01"])[0]
    assert read(run, radii={}).counts.num_merged == 0
    change_object(here, "ribosome", radius=None)
    run = open_project(here / "project.json").select(["TS_01"])[0]
    with pytest.raises(DataError, match="ribosome has no radius"):
        read(run, radii={})
    change_object(here, "ribosome", name="80S")
    run = open_project(here / "project.json").select(["TS_01"])[0]
    with pytest.raises(NotInProjectError, match="no object ribosome"):
        read(run, radii={})


def test_the_digest_changes_with_each_set(here, run):
    digests = [read(run, REJECTED).digest]
    add_picks(here, [], user="napari", session="manual-1")
    digests.append(read(run, REJECTED).digest)
    add_picks(here, CORRECTED, user="napari", session="manual-1")
    digests.append(read(run, REJECTED).digest)
    run.write_picks(SETS["ribosome"].queries[0], Points(FOUND + 1))
    digests.append(read(run, REJECTED).digest)
    assert len(set(digests)) == 4
    before = read(run, REJECTED).rejected_digest
    add_picks(here, FOUND, user="me-rejected")
    assert read(run, REJECTED).rejected_digest != before
    assert read(run, REJECTED).digest == digests[-1]


def test_a_set_that_changed_since_is_named(here, run):
    add_picks(here, FOUND, user="me-rejected")
    united = read(run, REJECTED)
    attributes = {
        "picks": {"ribosome": str(SETS["ribosome"])},
        "picks_digests": {"ribosome": united.digest},
        "rejected": {"ribosome": str(REJECTED["ribosome"])},
        "rejected_digests": {"ribosome": united.rejected_digest},
    }
    assert describe_changed_inputs(run, attributes) == ""
    add_picks(here, CORRECTED, user="napari", session="manual-1")
    text = "the picks ribosome:napari/manual-1 changed since"
    assert describe_changed_inputs(run, attributes).startswith(text)
    add_picks(here, CORRECTED, user="me-rejected")
    text = "the picks ribosome:napari/manual-1, the picks ribosome:me-rejected/1 changed since"
    assert describe_changed_inputs(run, attributes).startswith(text)


def test_sets_are_written_as_they_are_parsed():
    text = "ribosome:octopi/1 + ribosome:curator/1"
    assert str(PickSets.parse(text)) == text
    assert PickSets.parse("a:b/1") == PickSets((PicksQuery("a", "b", "1"),))
