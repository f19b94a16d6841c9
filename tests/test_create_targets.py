"""`octopi create_targets` on a project: which runs get a target, and when it is replaced."""

import errno
import json
import os
import shutil

import numpy as np
import pytest

from octopi.geometry import Points
from octopi.project import PicksQuery, SegmentationQuery, open_project

TARGET = SegmentationQuery("targets", "octopi", "1")
OUTSIDE = Points(np.array([[-500.0, 0, 0]]))


@pytest.fixture
def project(here):
    return open_project(here / "project.json")


def has_target(run):
    return any(q.name_user_session == TARGET.name_user_session for q in run.segmentations())


def test_targets_have_the_working_spacing_and_radii_of_the_command_line(here, octopi_command):
    overrides = [
        "experiment=demo",
        "data.working_spacing=30",
        "targets.radius_scales={ribosome: 0.4}",
    ]
    assert octopi_command("create_targets", *overrides) == 0
    for run in open_project(here / "project.json").runs:
        query = next(q for q in run.segmentations() if q.user_id == "octopi")
        assert query.voxel_spacing == pytest.approx(30, rel=0.01)
        radii = run.segmentation_attributes(query)["sphere_radii"]
        assert radii["ribosome"] == pytest.approx(0.4 * run.objects["ribosome"].radius)
        assert radii["apo-ferritin"] == pytest.approx(0.5 * run.objects["apo-ferritin"].radius)


def test_a_run_without_annotations_is_left_out_unless_it_is_named(
    project, here, octopi_command, capfd
):
    shutil.rmtree(next((here / "static").glob("**/TS_02/Picks")))
    assert octopi_command("create_targets", "runs=[TS_01,TS_02]") == 3
    assert "Run TS_02 has no picks or masks" in capfd.readouterr().err
    assert octopi_command("create_targets") == 0
    assert "Run TS_02 has no picks or masks" in capfd.readouterr().err
    assert [has_target(run) for run in project.runs] == [True, False, True]


def test_picks_outside_the_tomogram_are_counted_and_not_painted(project, octopi_command, capfd):
    for run in project.runs:
        run.write_picks(PicksQuery("ribosome", "me", "1"), OUTSIDE)
    assert octopi_command("create_targets", "targets.picks=me/1") == 0
    log = capfd.readouterr().err
    assert "Run TS_01: 1 picks of ribosome lie outside." in log
    assert "3 picks lay outside their tomogram" in log
    assert not project.runs[0].read_segmentation(TARGET)[0].any()


def test_a_mask_that_a_run_lacks_is_warned_of(project, here, octopi_command, capfd):
    shutil.rmtree(next((here / "static").glob("**/TS_02/Segmentations")))
    assert octopi_command("create_targets", "targets.segmentations=[membrane:curation/0]") == 0
    assert "Run TS_02 has no segmentation membrane:curation/0." in capfd.readouterr().err
    assert (project.runs[0].read_segmentation(TARGET)[0] == 6).any()
    assert not (project.runs[1].read_segmentation(TARGET)[0] == 6).any()


def test_a_mask_that_no_run_has_is_refused_with_those_that_exist(octopi_command, here, capfd):
    masks = "targets.segmentations=[membrane:curation/0,membran:curation/0]"
    assert octopi_command("create_targets", masks) == 3
    error = capfd.readouterr().err
    assert "has no segmentation membran:curation/0" in error
    assert "It has: membrane:curation/0" in error
    assert not list((here / "overlay").glob("**/*targets*"))


def test_the_same_target_is_left_as_it_is_and_another_is_replaced_only_with_overwrite(
    project, octopi_command, capfd
):
    assert octopi_command("create_targets") == 0
    assert octopi_command("create_targets", "dry_run=true") == 0
    assert "unchanged    3 targets: TS_01, TS_02, TS_03" in "".join(capfd.readouterr())
    larger = ("create_targets", "targets.radius_scale=0.9")
    assert octopi_command(*larger) == 2
    assert "overwrite=true" in capfd.readouterr().err
    assert octopi_command(*larger, "overwrite=true") == 0
    attributes = project.runs[0].segmentation_attributes(TARGET)
    radius = project.runs[0].objects["ribosome"].radius
    assert attributes["sphere_radii"]["ribosome"] == pytest.approx(0.9 * radius)


def test_the_old_target_stays_where_there_is_no_space_for_the_new_one(
    project, octopi_command, capfd, monkeypatch
):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert octopi_command("create_targets", "runs=[TS_01]") == 0
    old = project.runs[0].read_segmentation(TARGET)
    monkeypatch.setattr("zarr.DirectoryStore.__setitem__", full)
    for changed in ("targets.radius_scale=0.9", "data.working_spacing=30"):
        assert octopi_command("create_targets", "runs=[TS_01]", "overwrite=true", changed) == 4
        assert "No space left" in capfd.readouterr().err
        new = project.runs[0].read_segmentation(TARGET)
        assert np.array_equal(new[0], old[0])
        assert new[2] == old[2]


def test_a_new_target_leaves_none_at_another_spacing(project, octopi_command):
    for spacing in ("null", "30"):
        assert (
            octopi_command("create_targets", f"data.working_spacing={spacing}", "overwrite=true")
            == 0
        )
        for run in project.runs:
            names = [query.name_user_session for query in run.segmentations()]
            assert names.count(TARGET.name_user_session) == 1


def test_a_dry_run_describes_the_targets_and_writes_none(project, octopi_command, capfd):
    assert octopi_command("create_targets", "dry_run=true") == 0
    output = "".join(capfd.readouterr())
    assert "new          3 targets: TS_01, TS_02, TS_03" in output
    assert "ribosome: 6 picks of curation/0 in 3 runs" in output
    assert not any(map(has_target, project.runs))


def test_a_project_without_objects_is_named_as_such_by_check_and_create_targets(
    project, here, octopi_command, capfd
):
    config = json.loads((here / "project.json").read_text(encoding="utf-8"))
    (here / "bare.json").write_text(json.dumps(config | {"pickable_objects": []}), encoding="utf-8")
    for verb in ("check", "create_targets"):
        assert octopi_command(verb, "project.config=bare.json") == 3
        assert "pickable_objects are empty" in capfd.readouterr().err.split("octopi: ")[-1]
