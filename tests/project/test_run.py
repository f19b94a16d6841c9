import json

import numpy as np
import pytest
from stored_samples import OURS

from octopi.errors import DataError, NotInProjectError, ResourceError
from octopi.geometry import Points
from octopi.project import open_project
from octopi.project.queries import PicksQuery, TomogramQuery

WBP = TomogramQuery("wbp", 10.0)


def test_picks_come_back_with_their_scores(run):
    points = Points(np.array([[1.5, 2, 3], [4, 5, 1e4]]), np.array([0.25, 0.9], dtype=np.float32))
    run.write_picks(OURS, points)
    assert run.picks() == [OURS]
    read = run.read_picks(OURS)
    np.testing.assert_array_equal(read.positions, points.positions)
    np.testing.assert_array_equal(read.scores, points.scores)


def test_orientations_come_back_and_move_no_pick(run):
    points = Points(np.array([[1.5, 2, 3], [4, 5, 6]]))
    orientations = np.array([np.eye(3), [[0, -1, 0], [1, 0, 0], [0, 0, 1]]])
    run.write_picks(OURS, points, orientations=orientations)
    np.testing.assert_array_equal(run.read_oriented(OURS)[1], orientations)
    np.testing.assert_array_equal(run.read_picks(OURS).positions, points.positions)
    run.write_picks(OURS, points)
    assert run.read_oriented(OURS)[1] is None


def test_orientations_that_are_not_numbers_are_not_written(run):
    orientations = np.array([np.eye(3), np.full((3, 3), np.nan)])
    with pytest.raises(DataError, match="1 of 2 picks have orientations"):
        run.write_picks(OURS, Points(np.ones((2, 3))), orientations=orientations)
    assert run.picks() == []


def test_points_of_a_filament_claim_no_filament(files):
    files.add_tomogram(files.noise())
    entry = {"name": "actin", "is_particle": True, "metadata": {"copick": {"filament": {}}}}
    (run,) = open_project(files.config(pickable_objects=[entry])).runs
    query = PicksQuery("actin", "octopi", "1")
    run.write_picks(query, Points(np.zeros((2, 3))))
    written = json.loads(
        (files.folder / "overlay/ExperimentRuns/TS_1/Picks/octopi_1_actin.json").read_text(
            encoding="utf-8"
        )
    )
    assert [p["instance_id"] for p in written["points"]] == [0, 0]


def test_picks_that_are_not_numbers_are_not_written(run):
    with pytest.raises(DataError, match="1 of 2 picks have coordinates"):
        run.write_picks(OURS, Points(np.array([[0, 0, 0], [0, np.nan, 0]])))
    assert run.picks() == []


def test_picks_that_do_not_exist_are_refused_with_those_that_do(files):
    files.add_picks([])
    with pytest.raises(NotInProjectError, match=r"ribosome:me/1.*It has: ribosome:curator/1"):
        files.run().read_picks(PicksQuery("ribosome", "me", "1"))


def test_an_overlay_that_cannot_be_written_is_a_resource_error(files):
    files.add_tomogram(files.noise())
    (files.folder / "overlay").write_text("a file where the overlay should be", encoding="utf-8")
    run = files.run()
    with pytest.raises(ResourceError, match="picks ribosome:octopi/1 cannot be written"):
        run.write_picks(OURS, Points.empty())
