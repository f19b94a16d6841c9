"""`octopi create_targets` on a project: which runs get a target, and when it is replaced."""

import errno
import json
import os
import re
import shutil

import copick
import numpy as np
import pytest
from foreign_volumes import add_segmentation, change_object
from tiny import RUNS, TINY

from octopi.evaluation.candidates_file import read_candidates
from octopi.geometry import Points
from octopi.project import open_project
from octopi.project.provenance import describe_changed_inputs
from octopi.project.queries import PicksQuery, SegmentationQuery
from octopi.targets import UNKNOWN, rejected_value

TARGET = SegmentationQuery("targets", "octopi", "1")
OUTSIDE = Points(np.array([[-500.0, 0, 0]]))
ON_THE_EDGE = Points(np.array([[0.0, 0, 0]]))


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


def test_a_target_that_a_person_painted_is_replaced_only_when_told(
    project, here, octopi_command, capfd
):
    assert octopi_command("create_targets") == 0
    metadata = next(here.glob("overlay/**/TS_02/**/*targets*.zarr/.zattrs"))
    old = metadata.read_text(encoding="utf-8")
    metadata.write_text(re.sub('"content": "[0-9a-f]*"', '"content": "0"', old), encoding="utf-8")
    assert octopi_command("create_targets", "overwrite=true") == 3
    said = capfd.readouterr().err
    assert "Run TS_02: the segmentation targets:octopi/1" in said
    assert "targets.session_id=2" in said
    assert octopi_command("create_targets", "overwrite=edited") == 0
    assert metadata.read_text(encoding="utf-8") == old


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
        positions = OUTSIDE if run.name == "TS_01" else ON_THE_EDGE
        run.write_picks(PicksQuery("ribosome", "me", "1"), positions)
    assert octopi_command("create_targets", "targets.picks=me/1") == 0
    log = capfd.readouterr().err
    assert "1 picks of ribosome:me/1 lie outside their tomogram, in 1 runs: TS_01 (1)" in log
    assert "1 picks lay outside their tomogram" in log
    assert not project.runs[0].read_segmentation(TARGET)[0].any()


def test_without_a_pick_inside_check_and_create_targets_refuse_alike(
    project, octopi_command, capfd
):
    for run in project.runs:
        run.write_picks(PicksQuery("ribosome", "me", "1"), OUTSIDE)
    cause = "There is no pick inside a tomogram; 3 lie outside."
    assert octopi_command("create_targets", "targets.picks=me/1") == 3
    assert cause in capfd.readouterr().err
    assert octopi_command("check", "picks=me/1") == 3
    assert cause in capfd.readouterr().err
    assert not any(map(has_target, project.runs))


def test_an_object_without_a_pick_inside_is_warned_of(project, octopi_command, capfd):
    for run in project.runs:
        run.write_picks(PicksQuery("ribosome", "me", "1"), OUTSIDE)
        run.write_picks(PicksQuery("apo-ferritin", "me", "1"), ON_THE_EDGE)
    assert octopi_command("create_targets", "targets.picks=me/1") == 0
    assert "No pick of ribosome lies inside a tomogram" in capfd.readouterr().err


@pytest.mark.parametrize("radius", [0, -60])
def test_a_radius_that_is_none_is_refused_by_check_and_create_targets_alike(
    here, octopi_command, capfd, radius
):
    change_object(here, "ribosome", radius=radius)
    for verb in ("create_targets", "check"):
        assert octopi_command(verb) == 3
        assert f"Object ribosome has the radius {radius} in the" in capfd.readouterr().err


def test_a_radius_in_other_units_is_warned_of_by_check_and_create_targets_alike(
    here, octopi_command, capfd
):
    change_object(here, "ribosome", radius=15)
    for verb in ("create_targets", "check"):
        assert octopi_command(verb) == 0
        assert "ribosome has a radius of 15 Å in the copick config, less than a voxel" in "".join(
            capfd.readouterr()
        )


def test_two_spacings_are_refused_by_check_and_create_targets_alike(
    project, here, octopi_command, capfd
):
    root = copick.from_file(str(here / "project.json"))
    tomogram = root.get_run("TS_01").new_voxel_spacing(40.0).new_tomogram("denoised")
    tomogram.from_numpy(np.random.default_rng(0).normal(size=(12, 24, 24)).astype(np.float32))
    for verb in ("create_targets", "check"):
        assert octopi_command(verb) != 0
        assert "Say which: voxel_spacing=" in capfd.readouterr().err
        assert octopi_command(verb, "voxel_spacing=20") == 0
        capfd.readouterr()


def test_picks_of_an_object_that_the_config_lacks_are_left_out_or_refused_by_name(
    here, octopi_command, capfd
):
    change_object(here, "ribosome", name="80S")
    assert octopi_command("create_targets") == 0
    assert "The copick config has no object ribosome." in capfd.readouterr().err
    assert octopi_command("create_targets", "targets.objects=[ribosome]") == 3
    assert "The copick config has no object ribosome." in capfd.readouterr().err


SOME = np.indices((24, 48, 48)).sum(axis=0) % 5 == 0


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.where(SOME, 4.2, -4.1).astype(np.float32), "holds scores (-4.1 and 4.2)"),
        (np.where(SOME, -127, -128).astype(np.int8), "holds -128 and -127"),
        (np.indices((24, 48, 48))[0].astype(np.uint8), "holds the labels 1, 2, 3, 4, 5, … and 18"),
        (np.where(SOME, 1, np.nan).astype(np.float32), "holds 44237 voxels that are NaN"),
        (np.full((24, 48, 48), 7, np.uint8), "holds 7;"),
    ],
)
def test_a_mask_of_more_than_one_value_is_refused_before_a_target_is_written(
    project, here, octopi_command, capfd, mask, message
):
    add_segmentation(here, SOME.astype(np.uint8), run="TS_01")
    add_segmentation(here, mask, run="TS_02")
    assert octopi_command("create_targets", "targets.segmentations=[sheet:someone/0]") == 3
    error = capfd.readouterr().err
    assert "Run TS_02: segmentation sheet:someone/0@20.0 " + message in error
    assert "mistake" not in error
    assert not any(map(has_target, project.runs))
    octopi_command("check")
    assert "TS_02: segmentation sheet:someone/0@20.0 " + message in capfd.readouterr().err


@pytest.mark.parametrize(
    "mask",
    [SOME, SOME * np.uint8(255), SOME.astype(np.int8) * -1, SOME.astype(">f4"), SOME.astype(">u4")],
)
def test_a_mask_of_zero_and_one_other_value_is_painted(project, here, octopi_command, mask):
    add_segmentation(here, mask)
    assert octopi_command("create_targets", "targets.segmentations=[sheet:someone/0]") == 0
    target, _, attributes = project.runs[0].read_segmentation(TARGET)
    free = SOME & np.isin(target, [0, attributes["labels"]["sheet"]])
    assert (target[free] == attributes["labels"]["sheet"]).all()
    assert free.sum() > 0.9 * SOME.sum()


def test_a_mask_whose_value_differs_between_runs_is_refused(project, here, octopi_command, capfd):
    add_segmentation(here, SOME * np.uint8(1), run="TS_01")
    add_segmentation(here, SOME * np.uint8(2), run="TS_02")
    assert octopi_command("create_targets", "targets.segmentations=[sheet:someone/0]") == 3
    assert "holds 1 in run TS_01, 2 in run TS_02" in capfd.readouterr().err
    assert not any(map(has_target, project.runs))


def test_a_mask_that_was_never_finished_is_refused_by_name(here, octopi_command, capfd):
    store = add_segmentation(here, SOME)
    (store / ".zattrs").unlink()
    assert octopi_command("create_targets", "targets.segmentations=[sheet:someone/0]") == 3
    assert "sheet:someone/0@20.0 has no .zattrs in" in capfd.readouterr().err


def test_a_mask_that_a_run_lacks_is_warned_of(project, here, octopi_command, capfd):
    shutil.rmtree(next((here / "static").glob("**/TS_02/Segmentations")))
    assert octopi_command("create_targets", "targets.segmentations=[membrane:curation/0]") == 0
    assert "membrane is not annotated in 1 of 3 runs" in capfd.readouterr().err
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


def test_what_another_program_is_writing_at_another_spacing_stays(project, here, octopi_command):
    path = add_segmentation(here, HALF)
    (path / ".zattrs").unlink()
    path = path.rename(path.with_name("99.000_octopi_1_targets-multilabel.zarr"))
    assert octopi_command("create_targets", "overwrite=true") == 0
    assert (path / "0" / ".zarray").exists()


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


REGION = "targets.annotated=sheet:someone/0"
HALF = np.zeros((24, 48, 48), np.uint8)
HALF[:, :, :24] = 1


def test_a_run_may_be_annotated_as_a_whole(project, here, octopi_command):
    add_segmentation(here, HALF, run="TS_01", name="ribosome", multilabel=False)
    add_segmentation(here, HALF * 0 + 1, run="TS_02", name="ribosome", multilabel=False)
    assert octopi_command("create_targets", "targets.annotated=ribosome:someone/0") == 0
    known = [(run.read_segmentation(TARGET)[0] != UNKNOWN).mean() for run in project.runs[:2]]
    assert known == [0.5, 1]


def add_regions(here, runs=("TS_01", "TS_02", "TS_03")):
    for run in runs:
        add_segmentation(here, HALF, run=run)


def test_outside_what_is_annotated_every_voxel_is_unknown(project, here, octopi_command, capfd):
    assert octopi_command("create_targets", "targets.session_id=2") == 0
    complete = SegmentationQuery("targets", "octopi", "2")
    add_regions(here, runs=["TS_01", "TS_02"])
    assert octopi_command("create_targets", REGION, "dry_run=true") == 0
    output = "".join(capfd.readouterr())
    assert "annotated    inside sheet:someone/0" in output
    assert "Run TS_03 has no segmentation sheet:someone/0" in output
    assert octopi_command("create_targets", REGION) == 0
    assert [has_target(run) for run in project.runs] == [True, True, False]
    for run in project.runs[:2]:
        labels, _, attributes = run.read_segmentation(TARGET)
        assert (labels[HALF == 0] == UNKNOWN).all()
        whole = run.read_segmentation(complete)[0]
        np.testing.assert_array_equal(labels[HALF == 1], whole[HALF == 1])
        assert attributes["annotated"] == "sheet:someone/0"
    assert octopi_command("create_targets") == 2  # another target than the one that is there
    assert "annotated is sheet:someone/0, not None" in capfd.readouterr().err


def test_a_region_that_is_missing_empty_or_of_another_shape_is_refused_before_anything_is_written(
    project, here, octopi_command, capfd
):
    assert octopi_command("create_targets", REGION) == 3
    assert "no segmentation sheet:someone/0" in capfd.readouterr().err
    assert octopi_command("plan", REGION) == 3
    assert "no segmentation sheet:someone/0" in capfd.readouterr().err
    add_segmentation(here, HALF, run="TS_01")
    assert octopi_command("create_targets", REGION, "runs=[TS_01,TS_02]") == 3
    assert "Run TS_02 has no segmentation sheet" in capfd.readouterr().err
    add_segmentation(here, np.zeros((24, 48, 48), np.uint8), run="TS_02")
    assert octopi_command("create_targets", REGION) == 3
    assert "is empty" in capfd.readouterr().err
    add_segmentation(here, HALF[:20], run="TS_03")
    assert octopi_command("create_targets", REGION, "runs=[TS_01,TS_03]") == 3
    assert "Run TS_03, sheet:someone/0: A mask of 20×48×48" in capfd.readouterr().err
    assert not any(map(has_target, project.runs))


def test_a_missing_file_is_not_annotated_and_an_empty_one_is_no_particle(
    project, here, octopi_command, capfd
):
    first, second, third = project.runs
    for run in (first, second, third):
        run.write_picks(PicksQuery("apo-ferritin", "me", "1"), ON_THE_EDGE)
    first.write_picks(PicksQuery("ribosome", "me", "1"), ON_THE_EDGE)
    second.write_picks(PicksQuery("ribosome", "me", "1"), Points.empty())
    assert octopi_command("create_targets", "targets.picks=me/1") == 0
    assert "ribosome is not annotated in 1 of 3 runs" in capfd.readouterr().err
    stored = [run.segmentation_attributes(TARGET) for run in project.runs]
    assert [a.get("not_annotated") for a in stored] == [None, None, ["ribosome"]]
    assert octopi_command("check", "picks=me/1") == 0
    table = "".join(capfd.readouterr())
    rows = {line.split()[0]: line for line in table.splitlines() if line.startswith("TS_0")}
    assert "empty" in rows["TS_02"]
    assert "not annotated" in rows["TS_03"]
    third.write_picks(PicksQuery("ribosome", "me", "1"), Points.empty())
    assert octopi_command("check", "picks=me/1") == 0
    assert "me/1 changed since its target was painted" in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("annotation", "partial"),
    [("partial", ["apo-ferritin", "ribosome"]), ("{ribosome: partial}", ["ribosome"])],
)
def test_partial_annotation_is_stored_with_the_targets(
    project, octopi_command, annotation, partial
):
    objects = "targets.objects=[ribosome,apo-ferritin]"
    assert octopi_command("create_targets", objects, f"targets.annotation={annotation}") == 0
    for run in project.runs:
        assert sorted(run.segmentation_attributes(TARGET)["annotation"]) == partial


@pytest.mark.parametrize("verb", ["create_targets", "plan"])
@pytest.mark.parametrize(
    ("annotation", "message"),
    [("{ribosom: partial}", "names ribosom"), ("some", "partial"), ("{ribosome: some}", "partial")],
)
def test_an_annotation_of_an_unknown_object_or_word_is_refused(
    project, octopi_command, capfd, verb, annotation, message
):
    assert octopi_command(verb, f"targets.annotation={annotation}") == 2
    error = capfd.readouterr().err
    assert message in error
    assert len(error) < 1500
    assert not any(map(has_target, project.runs))


def test_a_training_learns_and_validates_what_is_known(project, here, octopi_command, capfd):
    add_regions(here)
    for file in (here / "static").glob("**/TS_02/Picks/*ribosome*"):
        file.unlink()
    assert octopi_command("create_targets", REGION, "targets.annotation={ribosome: partial}") == 0
    assert octopi_command("check") == 0
    capfd.readouterr()
    assert octopi_command("train", *TINY, *RUNS, "hydra.run.dir=job") == 0
    log = capfd.readouterr().err
    assert "ribosome is not annotated in 1 of 3 runs" in log
    results = json.loads((here / "job" / "results.json").read_text(encoding="utf-8"))
    assert log.count(results["metrics_note"]) == 2  # at the start, and with the result
    grid = project.runs[2].tomogram_grid(project.runs[2].tomograms()[0])
    middle = 24 * grid.spacing[2]
    candidates = read_candidates(here / "job" / "candidates.npz")["TS_03"]
    assert any(map(len, candidates.values()))
    for points in candidates.values():
        assert (points.positions[:, 0] < middle).all()
    assert (
        octopi_command(
            "localize", "input=targets:octopi/1", "source=segmentation", "localizer=components"
        )
        == 0
    )


def test_a_mask_of_what_is_outside_is_warned_of_by_create_targets_and_check(
    project, here, octopi_command, capfd
):
    mask = np.ones((24, 48, 48), np.uint8)
    mask[6:8] = 0
    add_segmentation(here, mask)
    assert octopi_command("create_targets", "targets.segmentations=[sheet:someone/0]") == 0
    assert "Run TS_01: the mask sheet:someone/0 fills 92 % of the volume" in capfd.readouterr().err
    assert octopi_command("check", "target=other:octopi/1") == 0
    assert "TS_01: segmentation sheet:someone/0@20.0: one of its labels fills 92 %" in "".join(
        capfd.readouterr()
    )


def test_a_copied_mask_paints_the_same_target_and_another_one_does_not(
    project, here, octopi_command, capfd
):
    mask = np.zeros((24, 48, 48), np.uint8)
    mask[6:8] = 1
    store = add_segmentation(here, mask)
    paint = ("create_targets", "targets.segmentations=[sheet:someone/0]", "runs=[TS_01]")
    assert octopi_command(*paint) == 0
    for path in store.rglob("*"):
        os.utime(path, (1, 1))
    assert octopi_command(*paint) == 0
    run = project.runs[0]
    attributes = run.segmentation_attributes(TARGET)
    assert describe_changed_inputs(run, attributes) == ""
    shutil.rmtree(store)
    assert "the mask sheet:someone/0 changed since" in describe_changed_inputs(run, attributes)
    add_segmentation(here, np.roll(mask, 3, axis=0))
    assert "the mask sheet:someone/0 changed since" in describe_changed_inputs(run, attributes)
    capfd.readouterr()
    assert octopi_command(*paint) == 2
    assert "mask_digests.sheet differs" in capfd.readouterr().err


def test_a_radius_that_was_changed_since_is_found_by_check(here, octopi_command, capfd):
    assert octopi_command("create_targets") == 0
    radius = open_project(here / "project.json").objects["ribosome"].radius
    change_object(here, "ribosome", radius=radius - 10)
    assert octopi_command("check", "tomo_types=[denoised]") == 0
    change = f"TS_01: the radius of ribosome (from {radius:g} to {radius - 10:g} Å) changed since"
    assert change in "".join(capfd.readouterr())


FOUND = Points(np.array([[100.0, 100, 100], [400, 400, 200]]))
CORRECTED = Points(np.array([[130.0, 100, 100], [700, 700, 300]]))
EMPTY_PLACE = np.array([700.0, 200, 200])
SETS = ["targets.picks=[found/1,corrected/1]", "targets.rejected=corrected-rejected/1"]


@pytest.fixture
def corrected(project):
    """A project with found picks, of which a person corrected those of two runs."""
    for run in project.runs:
        run.write_picks(PicksQuery("ribosome", "found", "1"), FOUND)
    for run in project.runs[:2]:
        run.write_picks(PicksQuery("ribosome", "corrected", "1"), CORRECTED)
        rejected = Points(np.array([FOUND.positions[1], EMPTY_PLACE]))
        run.write_picks(PicksQuery("ribosome", "corrected-rejected", "1"), rejected)
    return project


def labels_at(run, positions, query=TARGET):
    labels, grid, _ = run.read_segmentation(query)
    return labels[tuple(np.rint(grid.to_voxels(positions)).astype(int).T)].tolist()


def test_sets_of_picks_are_united_and_rejected_places_are_marked(corrected, octopi_command, capfd):
    assert octopi_command("create_targets", *SETS) == 0
    counts = "ribosome: 6 picks (6 of found/1, 4 of corrected/1, 2 merged, 2 rejected); 4 rejected"
    assert counts in capfd.readouterr().err
    for run in corrected.runs[:2]:
        assert labels_at(run, CORRECTED.positions) == [1, 1]
        assert labels_at(run, [FOUND.positions[1], EMPTY_PLACE]) == [UNKNOWN - 1] * 2
    assert labels_at(corrected.runs[2], FOUND.positions) == [1, 1]
    attributes = corrected.runs[0].segmentation_attributes(TARGET)
    assert attributes["picks"] == {"ribosome": "ribosome:found/1 + ribosome:corrected/1"}
    assert attributes["rejected"] == {"ribosome": "ribosome:corrected-rejected/1"}
    for verb, *words in (["create_targets", *SETS, "dry_run=true"], ["check", "target=x:y/1"]):
        typed = [word.removeprefix("targets.") for word in words] if verb == "check" else words
        typed += [word.removeprefix("targets.") for word in SETS] if verb == "check" else []
        capfd.readouterr()
        assert octopi_command(verb, *typed) == 0
        assert counts in "".join(capfd.readouterr())


def test_a_target_is_another_when_any_of_its_sets_changes(corrected, octopi_command, capfd):
    assert octopi_command("create_targets", *SETS) == 0
    assert octopi_command("create_targets", *SETS) == 0  # unchanged
    query = PicksQuery("ribosome", "corrected-rejected", "1")
    corrected.runs[0].write_picks(query, Points(EMPTY_PLACE[None]))
    assert octopi_command("create_targets", *SETS) == 2
    assert "rejected_digests.ribosome differs" in capfd.readouterr().err
    assert octopi_command("check") == 0
    assert "ribosome:corrected-rejected/1 changed since" in "".join(capfd.readouterr())
    assert octopi_command("create_targets", SETS[0]) == 2
    error = capfd.readouterr().err
    assert "overwrite=true" in error and "rejected" in error


def test_the_newest_set_counts_where_it_was_rejected_too_with_a_warning(
    corrected, octopi_command, capfd
):
    query = PicksQuery("ribosome", "corrected-rejected", "1")
    corrected.runs[0].write_picks(query, Points(CORRECTED.positions + 5))
    assert octopi_command("create_targets", *SETS) == 0
    assert (
        "2 places of ribosome:corrected-rejected/1 have a pick of ribosome:corrected/1 within "
        "half a radius, which counts: TS_01 (2)" in capfd.readouterr().err
    )
    assert labels_at(corrected.runs[0], CORRECTED.positions) == [1, 1]


def test_rejected_places_outside_what_is_annotated_are_known(corrected, here, octopi_command):
    add_regions(here)
    assert octopi_command("create_targets", REGION, *SETS) == 0
    outside = rejected_value(1, else_unknown=True)
    assert labels_at(corrected.runs[0], [EMPTY_PLACE, CORRECTED.positions[1]]) == [outside, 1]
    assert labels_at(corrected.runs[0], [EMPTY_PLACE + 150]) == [UNKNOWN]
    unreviewed = [*SETS[:1], "targets.rejected=other-rejected/1", "targets.session_id=2"]
    for run in corrected.runs:
        run.write_picks(PicksQuery("ribosome", "other-rejected", "1"), Points(EMPTY_PLACE[None]))
    assert octopi_command("create_targets", REGION, *unreviewed) == 0
    second = SegmentationQuery("targets", "octopi", "2")
    assert labels_at(corrected.runs[0], CORRECTED.positions, second) == [1, UNKNOWN]
    assert octopi_command("check") == 0


def test_a_relabelled_particle_outside_what_is_annotated_is_not_background(
    corrected, here, octopi_command
):
    add_regions(here)
    relabelled = Points(CORRECTED.positions[1:])
    for run in corrected.runs[:2]:
        run.write_picks(PicksQuery("apo-ferritin", "corrected", "1"), relabelled)
        run.write_picks(PicksQuery("ribosome", "corrected-rejected", "2"), relabelled)
    picks = "targets.picks=[ribosome:found/1,apo-ferritin:corrected/1]"
    rejected = "targets.rejected=corrected-rejected/2"
    assert octopi_command("create_targets", REGION, picks, rejected) == 0
    labels, _, attributes = corrected.runs[0].read_segmentation(TARGET)
    assert labels_at(corrected.runs[0], relabelled.positions) == [
        attributes["labels"]["apo-ferritin"]
    ]
    ribosome = attributes["labels"]["ribosome"]
    assert (labels == rejected_value(ribosome, else_unknown=True)).any()  # around it
    assert not (labels[HALF == 0] == rejected_value(ribosome)).any()


def test_a_run_with_rejected_places_alone_has_a_target(corrected, here, octopi_command, capfd):
    found = PicksQuery("ribosome", "found", "1")
    for query in (found, PicksQuery("ribosome", "corrected", "1")):
        corrected.runs[0].delete_picks(query)
    assert octopi_command("create_targets", *SETS) == 0
    assert labels_at(corrected.runs[0], [EMPTY_PLACE]) == [UNKNOWN - 1]
    attributes = corrected.runs[0].segmentation_attributes(TARGET)
    assert attributes["not_annotated"] == ["ribosome"]
    assert octopi_command("check") == 0
    assert octopi_command("train", *TINY, *RUNS, "hydra.run.dir=job") == 0


def test_without_anything_left_check_and_create_targets_refuse_alike(
    corrected, octopi_command, capfd
):
    for run in corrected.runs:
        run.write_picks(PicksQuery("ribosome", "all-rejected", "1"), FOUND)
    for verb, key in (("create_targets", "targets."), ("check", "")):
        assert octopi_command(verb, f"{key}picks=found/1", f"{key}rejected=all-rejected/1") == 3
        assert "There is no pick inside a tomogram" in capfd.readouterr().err


def test_a_training_goes_on_with_corrected_picks_as_typed(corrected, here, octopi_command):
    assert octopi_command("create_targets", "targets.picks=found/1") == 0
    assert octopi_command("train", *TINY, *RUNS, "hydra.run.dir=first") == 0
    corrections = [*SETS, "targets.session_id=2"]
    assert octopi_command("create_targets", *corrections) == 0
    assert octopi_command("check", "targets.session_id=2") == 0
    second = ["init_from=first/best_model.pth", "targets.session_id=2", "hydra.run.dir=second"]
    assert octopi_command("train", *TINY, *RUNS, *second) == 0
    config = (here / "second" / "config.yaml").read_text(encoding="utf-8")
    assert "target: targets:octopi/2" in config


def test_a_training_learns_from_rejected_places_and_knows_its_sets(
    corrected, here, octopi_command, capfd
):
    paint = [*SETS, "targets.annotation=partial"]
    assert octopi_command("create_targets", *paint) == 0
    assert octopi_command("train", *TINY, *RUNS, "dry_run=true") == 0
    assert "ribosome 4" in "".join(capfd.readouterr())
    assert octopi_command("train", *TINY, *RUNS, "hydra.run.dir=job") == 0
    words = ["input=targets:octopi/1", "source=segmentation", "localizer=components"]
    assert octopi_command("localize", *words, "session_id=7") == 0
    assert len(corrected.runs[0].read_picks(PicksQuery("ribosome", "octopi", "7"))) == 2
    assert octopi_command("report", "folder=job", "output=report.html") == 0
    assert "ribosome:found/1 + ribosome:corrected/1" in (here / "report.html").read_text(
        encoding="utf-8"
    )
