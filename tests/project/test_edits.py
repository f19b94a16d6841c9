"""What a person has changed since octopi wrote it is found, and never replaced unasked."""

import json

import copick
import numpy as np
import pytest

from octopi.errors import DataError
from octopi.geometry import Points
from octopi.project import open_project
from octopi.project.edits import check_not_edited, check_still_not_edited, describe_edit
from octopi.project.queries import PicksQuery, SegmentationQuery

PICKS = PicksQuery("ribosome", "octopi", "1")
POINTS = Points(np.array([[10.5, 20.25, 30], [40, 50, 60], [70, 80, 90]]), np.array([0.9, 0.8, 1]))


@pytest.fixture
def run(here):
    run = open_project(here / "project.json").runs[0]
    run.write_picks(PICKS, POINTS)
    return run


@pytest.fixture
def in_viewer(here, run):
    """Copick's picks, as the plugins of napari and ChimeraX read and store them."""
    return (
        copick.from_file(str(here / "project.json"))
        .get_run(run.name)
        .get_picks(object_name="ribosome", user_id="octopi", session_id="1")[0]
    )


def refuse(run, *, overwrite=False):
    check_not_edited([run], lambda run: [PICKS], overwrite=overwrite)


def test_what_octopi_wrote_may_be_replaced(run):
    assert run.describe_edit(PICKS) is None
    refuse(run)


def test_picks_that_a_viewer_stored_are_counted(run, in_viewer):
    kept = in_viewer.points[:1]
    added = copick.models.CopickPoint(location={"x": 1, "y": 2, "z": 3})
    in_viewer.points = [*kept, added]
    in_viewer.store()
    with pytest.raises(DataError, match=r"1 picks added, 2 removed.*session_id=2.*targets\.picks="):
        refuse(run)
    refuse(run, overwrite="edited")
    with pytest.raises(DataError, match="overwrite=edited"):
        refuse(run, overwrite=True)


def test_an_empty_file_of_a_person_is_work_too(run, in_viewer):
    in_viewer.points = []
    in_viewer.store()
    assert "0 picks added, 3 removed" in run.describe_edit(PICKS)


def test_points_changed_by_hand_are_found(here, run):
    path = next((here / "overlay").glob("**/octopi_1_ribosome.json"))
    content = json.loads(path.read_text(encoding="utf-8"))
    content["points"][0]["location"]["x"] += 1
    path.write_text(json.dumps(content), encoding="utf-8")
    assert "1 picks added, 1 removed" in run.describe_edit(PICKS)
    content["points"][0]["location"]["x"] -= 1
    content["points"][0]["score"] = 0.1
    path.write_text(json.dumps(content), encoding="utf-8")
    assert "other orientations or scores" in run.describe_edit(PICKS)


def test_layout_and_order_of_keys_are_no_edit(here, run):
    path = next((here / "overlay").glob("**/octopi_1_ribosome.json"))
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content, sort_keys=True), encoding="utf-8")
    assert run.describe_edit(PICKS) is None


def test_picks_without_a_fingerprint_count_as_a_persons(here, run):
    path = next((here / "overlay").glob("**/octopi_1_ribosome.json"))
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["octopi"]
    path.write_text(json.dumps(content), encoding="utf-8")
    path.with_name(f"{path.name}.octopi").unlink()
    assert run.describe_edit(PICKS) == "octopi did not write them as they are"


def test_a_file_that_cannot_be_read_is_not_replaced(here, run):
    path = next((here / "overlay").glob("**/octopi_1_ribosome.json"))
    path.write_text(path.read_text(encoding="utf-8")[:100], encoding="utf-8")
    with pytest.raises(DataError, match="overwrite=edited"):
        refuse(run)


def test_a_kill_before_the_note_beside_the_file_is_no_edit(here, run):
    note = next((here / "overlay").glob("**/octopi_1_ribosome.json.octopi"))
    before = note.read_bytes()
    run.write_picks(PICKS, POINTS[:1])
    note.write_bytes(before)
    assert run.describe_edit(PICKS) is None


def test_deleted_picks_leave_nothing(here, run):
    run.delete_picks(PICKS)
    assert not list((here / "overlay").glob("**/octopi_1_ribosome*"))


def test_voxels_that_somebody_painted_are_found(here, run):
    query = SegmentationQuery("targets", "octopi", "1", 20.0)
    grid = run.tomogram_grid(run.tomograms()[0])
    spaced = SegmentationQuery("targets", "octopi", "1", float(np.mean(grid.spacing)))
    run.write_segmentation(spaced, np.zeros(grid.shape, np.uint8), grid=grid, attributes={})
    (query,) = run.segmentations_of(query)
    assert describe_edit(run, query) is None
    chunk = next((here / "overlay").glob("**/*targets*.zarr/0/0/0/0"))
    other = np.zeros(grid.shape, np.uint8)
    other[0, 0, 0] = 1
    elsewhere = SegmentationQuery("other", "octopi", "1", float(np.mean(grid.spacing)))
    run.write_segmentation(elsewhere, other, grid=grid, attributes={})
    chunk.write_bytes(next((here / "overlay").glob("**/*other*.zarr/0/0/0/0")).read_bytes())
    assert "changed its voxels" in describe_edit(run, query)


def test_what_a_person_decided_is_never_octopis_own(here, run):
    run.write_picks(PICKS, POINTS, provenance={"source": "x"}, by_person=True)
    assert run.describe_edit(PICKS) == "octopi did not write them as they are"
    assert run.picks_provenance(PICKS) == {"source": "x"}
    with pytest.raises(DataError, match="overwrite=edited"):
        refuse(run)


@pytest.mark.parametrize("session", ["1", "near"])
def test_the_session_that_is_suggested_is_free_in_every_run(here, run, session):
    runs = open_project(here / "project.json").runs
    query = PicksQuery("ribosome", "octopi", session)
    run.write_picks(query, POINTS, by_person=True)
    second, third = ("2", "3") if session == "1" else ("near-2", "near-3")
    runs[1].write_picks(PicksQuery("apo-ferritin", "octopi", second), POINTS)
    with pytest.raises(DataError, match=f"session_id={third}. Or"):
        check_not_edited(runs, lambda of: [query] if of.name == run.name else [], overwrite=False)


def test_what_a_person_saves_meanwhile_is_kept(run, in_viewer):
    missing = PicksQuery("ribosome", "octopi", "8")
    for query in (PICKS, missing):
        check_still_not_edited(run, query, overwrite=False)
    in_viewer.points = []
    in_viewer.store()
    with pytest.raises(DataError, match="3 removed"):
        check_still_not_edited(run, PICKS, overwrite=True)
    check_still_not_edited(run, PICKS, overwrite="edited")


def test_other_runs_are_named_in_short(here):
    runs = open_project(here / "project.json").runs
    for run in runs:
        run.write_picks(PICKS, POINTS)
        path = next((here / "overlay").glob(f"**/{run.name}/**/octopi_1_ribosome.json"))
        path.write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="So are TS_02 ribosome:octopi/1, TS_03") as error:
        check_not_edited(runs, lambda run: [PICKS], overwrite=False)
    assert len(str(error.value)) <= 600
