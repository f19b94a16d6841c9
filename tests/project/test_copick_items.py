"""One listing of a run's folders finds what copick's own queries find."""

import numpy as np
import pytest

from octopi.errors import DataError
from octopi.geometry import Grid, Points
from octopi.project.copick_items import RunContents
from octopi.project.queries import PicksQuery, SegmentationQuery, TomogramQuery

TARGETS = SegmentationQuery("targets", "octopi", "1", 10.0)


def fill(files):
    """Write one item of each kind, and names that are not copick's, into both parts of a run."""
    files.add_tomogram(files.noise())
    files.add_tomogram(files.noise(), name="wbp_denoised", folder="20.000", scale=20)
    files.add_tomogram(files.noise(), name=".hidden")
    files.add_segmentation(np.ones((8, 8, 8), np.uint8))
    files.add_segmentation(np.ones((8, 8, 8), np.uint8), name="what_is_this")
    files.add_picks([files.point(1, 2, 3)])
    files.at("VoxelSpacing10.000", "a file.zarr").write_text("", encoding="utf-8")
    link = files.at("Segmentations", "10.000_linked_1_membrane.zarr")
    link.symlink_to(files.at("Segmentations", "10.000_tool_1_membrane.zarr"))
    run, grid = files.run(), Grid.cubic((8, 8, 8), 10.0)
    scores = np.zeros((1, 8, 8, 8), np.uint8)
    run.write_score_map(TomogramQuery("wbp", 10.0), "net", scores, grid=grid, attributes={})
    run.write_segmentation(TARGETS, scores[0], grid=grid, attributes={})
    run.write_picks(PicksQuery("ribosome", "octopi", "1"), Points.empty())
    return run


def test_it_finds_what_copick_finds(anywhere):
    run = fill(anywhere)
    contents, of_copick = RunContents(run.copick_run, print), run.copick_run
    tomograms = [t for s in of_copick.query_voxelspacings() for t in s.query_tomograms()]
    assert sorted((q.tomo_type, q.voxel_spacing) for q in contents.tomograms) == sorted(
        (t.tomo_type, t.voxel_spacing.voxel_size) for t in tomograms
    )
    assert {item.path for item in contents.segmentations.values()} == {
        item.path for item in of_copick.query_segmentations()
    }
    assert {item.path for item in contents.picks.values()} == {
        item.path for item in of_copick.query_picks()
    }
    for tomogram in contents.tomograms.values():
        assert sorted(contents.features(tomogram)) == sorted(
            f.feature_type for f in tomogram.query_features()
        )


def test_what_is_kept_knows_what_this_process_writes_and_not_what_others_do(files):
    run, other = fill(files), files.run()
    run.keep_contents()
    picks, theirs = PicksQuery("ribosome", "octopi", "2"), PicksQuery("ribosome", "other", "1")
    assert picks not in run.picks()
    run.write_picks(picks, Points.empty())
    other.write_picks(theirs, Points.empty())
    assert picks in run.picks()
    assert theirs not in run.picks()
    assert theirs in other.picks()
    assert run.is_stored(theirs)  # looks for itself
    assert theirs in run.picks()
    run.delete_picks(picks)
    assert picks not in run.picks()
    assert not run.is_stored(picks)
    coarse = SegmentationQuery("targets", "octopi", "1", 20.0)
    labels, grid = np.zeros((4, 4, 4), np.uint8), Grid.cubic((4, 4, 4), 20.0)
    run.write_segmentation(coarse, labels, grid=grid, attributes={})
    run.delete_segmentations_at_other_spacings(coarse)
    assert run.segmentations_of(coarse) == files.run().segmentations_of(coarse) == [coarse]
    assert run.is_stored(coarse)
    assert not run.is_stored(TARGETS)


def test_what_is_nearly_copicks_is_named_and_not_taken_for_nothing(files, caplog):
    files.add_tomogram(files.noise())
    files.add_picks([])
    for name in ("curation_0_ribosome.json.txt", "curation_0_virus.json~"):
        files.at("Picks", name).write_text("{}", encoding="utf-8")
    for name in ("wbp.zarr.zip", "file.zarr"):
        files.at("VoxelSpacing10.000", name).write_bytes(b"")
    for folder, name in (
        ("VoxelSpacing10.000", "raw.ZARR"),
        ("VoxelSpacing20", "wbp.zarr"),
        ("segmentations", "10.000_a_1_membrane.zarr"),
        ("Segmentations", "membrane.zarr"),
    ):
        files.at(folder, name).mkdir(parents=True)
    run = files.run()
    run.picks(), run.tomograms(), run.segmentations()
    picks, tomograms, segmentations = (record.message for record in caplog.records)
    assert "Run TS_1: not read are curation_0_ribosome.json.txt. copick reads" in picks
    for name in ("wbp.zarr.zip", "raw.ZARR", "file.zarr (no folder)", "VoxelSpacing20"):
        assert name in tomograms
    assert "not read are membrane.zarr, segmentations. copick" in segmentations
    assert "json~" not in caplog.text


def test_an_orderly_run_is_not_remarked_on(files, caplog):
    files.add_tomogram(files.noise())
    files.add_picks([])
    files.at("Picks", ".DS_Store").write_bytes(b"")
    run = files.run()
    run.picks(), run.tomograms(), run.segmentations()
    assert not caplog.text


def test_the_overlays_copy_goes_before_the_static_one(files):
    files.add_picks([files.point(1, 2, 3)])
    name = "ExperimentRuns/TS_1/Picks/curator_1_ribosome.json"
    copy = files.folder / "overlay" / name
    copy.parent.mkdir(parents=True)
    text = (files.folder / "static" / name).read_text(encoding="utf-8")
    copy.write_text(text.replace('"x": 1', '"x": 9'), encoding="utf-8")
    run = files.run()
    query = PicksQuery("ribosome", "curator", "1")
    assert run.picks() == [query]
    np.testing.assert_array_equal(run.read_picks(query).positions, [[9, 2, 3]])


def test_labels_of_several_objects_go_before_a_mask_of_one(files):
    files.add_segmentation(np.ones((4, 4, 4), np.uint8), name="10.000_tool_1_membrane")
    labels = np.full((4, 4, 4), 3, np.uint8)
    files.add_segmentation(labels, name="10.000_tool_1_membrane-multilabel")
    run = files.run()
    assert run.segmentations() == [SegmentationQuery("membrane", "tool", "1", 10.0)]
    labels, _, _ = run.read_segmentation(SegmentationQuery("membrane", "tool", "1"))
    assert labels.max() == 3


def test_picks_named_as_other_programs_do_are_refused_with_the_name_to_give(files):
    path = files.add_picks([files.point(1, 2, 3)])
    path.rename(path.with_name("ribosome.json"))
    with pytest.raises(DataError, match=r"there is ribosome.json.*as in curation_0_ribosome.json"):
        files.run().picks()


@pytest.mark.parametrize("name", ["TS[1]", "*", "TS_?"])
def test_a_run_whose_name_copick_reads_as_a_pattern_is_refused(files, name):
    (files.folder / "static" / "ExperimentRuns" / name).mkdir(parents=True)
    run = files.run(name)
    with pytest.raises(DataError, match=r"as a pattern.*Rename its folder"):
        run.picks()


def test_picks_that_copick_takes_for_another_object_are_named(files, caplog):
    path = files.add_picks([files.point(1, 2, 3)])
    path.rename(path.with_name("user_1_0_ribosome.json"))
    files.run().picks()
    assert "Run TS_1: copick takes files for other picks" in caplog.text
    assert "user_1_0_ribosome.json. Rename each, as in curation_0_ribosome.json" in caplog.text
