"""What storage must do, on a disk, in memory, on S3 and over ssh: whole files, or none."""

import errno
import os

import numpy as np
import pytest
import zarr

from octopi.errors import DataError, ResourceError
from octopi.geometry import Grid, Points
from octopi.project import PicksQuery, SegmentationQuery, TomogramQuery
from octopi.project.copick_api import keep_log_handlers

OURS = PicksQuery("ribosome", "octopi", "1")
TARGETS = SegmentationQuery("targets", "octopi", "1", 10.0)
LABELS = "Segmentations/10.000_octopi_1_targets-multilabel.zarr"
GRID = Grid.cubic((8, 8, 8), 10)


@pytest.fixture
def run(anywhere):
    anywhere.add_tomogram(anywhere.noise())
    return anywhere.run()


def _labels(fill=1):
    return np.full((8, 8, 8), fill, dtype=np.uint8)


def test_a_rewritten_session_keeps_nothing_of_the_old_one(run):
    run.write_picks(OURS, Points(np.ones((5, 3))))
    run.write_picks(OURS, Points(np.zeros((1, 3))))
    assert len(run.read_picks(OURS)) == 1
    run.write_picks(OURS, Points.empty())
    assert run.picks() == [OURS]
    assert len(run.read_picks(OURS)) == 0


def test_a_rewritten_label_volume_keeps_nothing_of_the_old_one(run):
    run.write_segmentation(TARGETS, _labels(1), grid=GRID, attributes={"old": 1})
    small = Grid.cubic((2, 2, 2), 10)
    run.write_segmentation(TARGETS, _labels(2)[:2, :2, :2], grid=small, attributes={"new": 1})
    labels, grid, attributes = run.read_segmentation(TARGETS)
    assert (labels.shape, grid, attributes) == ((2, 2, 2), small, {"new": 1})


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_label_volume_and_nothing_else(
    anywhere, run, monkeypatch, fault
):
    run.write_segmentation(TARGETS, _labels(1), grid=GRID, attributes={"old": 1})
    before = anywhere.files_of_run()

    def failing(write):
        def write_but_no_chunk(store, key, value):
            if "/0/" in key:
                raise fault
            write(store, key, value)

        return write_but_no_chunk

    def set_items(store, values):
        for key, value in values.items():
            store[key] = value

    with monkeypatch.context() as patch:
        patch.setattr(zarr.storage.FSStore, "setitems", set_items)
        for store in (zarr.storage.FSStore, zarr.DirectoryStore):
            patch.setattr(store, "__setitem__", failing(store.__setitem__))
        with pytest.raises((ResourceError, KeyboardInterrupt)):
            run.write_segmentation(TARGETS, _labels(2), grid=GRID, attributes={"new": 1})
    labels, _, attributes = run.read_segmentation(TARGETS)
    np.testing.assert_array_equal(labels, _labels(1))
    assert attributes == {"old": 1}
    assert anywhere.files_of_run() == before


def test_what_a_killed_writer_left_is_removed_by_the_next(anywhere, run):
    run.write_segmentation(TARGETS, _labels(1), grid=GRID, attributes={})
    before = anywhere.files_of_run()
    fs, folder = anywhere.overlay_files()
    if "file" not in fs.protocol:
        fs.pipe_file(f"{folder}/ExperimentRuns/TS_1/{LABELS}.partial", b"")
    assert run.segmentations() == [TARGETS]
    run.write_segmentation(TARGETS, _labels(2), grid=GRID, attributes={})
    assert anywhere.files_of_run() == before


def test_a_label_volume_without_its_metadata_is_not_listed_and_not_read(anywhere, run):
    run.write_segmentation(TARGETS, _labels(), grid=GRID, attributes={})
    # what a writer killed before its last step leaves where there is no rename
    anywhere.remove(f"{LABELS}/.zattrs")
    assert run.segmentations() == []
    with pytest.raises(DataError, match=r"has no \.zattrs.*unfinished"):
        run.read_segmentation(TARGETS)


def test_a_chunk_missing_from_our_labels_is_an_error(anywhere, run):
    run.write_segmentation(TARGETS, _labels(0), grid=GRID, attributes={})
    anywhere.remove(f"{LABELS}/0/0/0/0")
    with pytest.raises(DataError, match="lacks 1 chunk"):
        run.read_segmentation(TARGETS)


def test_copick_reads_our_picks_as_its_own(anywhere):
    anywhere.add_tomogram(anywhere.noise())
    points = Points(np.array([[1.0, 2, 3], [4, 5, 6]]), np.array([0.5, 1], dtype=np.float32))
    anywhere.run().write_picks(OURS, points)
    with keep_log_handlers():
        import copick
    (picks,) = copick.from_file(str(anywhere.config())).get_run("TS_1").picks
    positions, transforms = picks.numpy()
    np.testing.assert_array_equal(positions, points.positions)
    np.testing.assert_array_equal(transforms, [np.eye(4)] * 2)
    assert (picks.trust_orientation, picks.meta.run_name) == (False, "TS_1")
    assert (list(picks.scores()), list(picks.instance_ids())) == ([0.5, 1], [1, 2])


def test_copick_reads_our_labels_as_its_own(anywhere):
    anywhere.add_tomogram(anywhere.noise())
    anywhere.run().write_segmentation(TARGETS, _labels(2), grid=GRID, attributes={})
    with keep_log_handlers():
        import copick
    (item,) = copick.from_file(str(anywhere.config())).get_run("TS_1").segmentations
    assert (item.name, item.is_multilabel, item.voxel_size) == ("targets", True, 10.0)
    np.testing.assert_array_equal(item.numpy(), _labels(2))


def test_a_writable_overlay_is_left_as_it_was(anywhere):
    project = anywhere.open()
    project.check_writable()
    project.check_writable()
    overlay = anywhere.folder / "overlay"
    assert not overlay.exists() or not list(overlay.iterdir())


def test_what_a_killed_process_left_of_that_test_is_removed(files):
    project, leftover = files.open(), files.folder / "overlay" / ".octopi-stage-elsewhere-1-0"
    leftover.mkdir(parents=True)
    os.utime(leftover, (0, 0))
    project.check_writable()
    assert not leftover.exists()


def test_a_tomogram_of_a_new_run_is_there_whole(anywhere):
    anywhere.add_tomogram(anywhere.noise())
    project, grid = anywhere.open(), Grid.cubic((8, 8, 8), 12.345)
    assert [run.name for run in project.runs] == ["TS_1"]
    volume = anywhere.noise() + 1
    project.write_tomogram("TS_9", TomogramQuery("wbp", 12.345), volume, grid=grid)
    run = project.select(["TS_9"])[0]
    np.testing.assert_array_equal(run.read_tomogram(TomogramQuery("wbp", 12.345)), volume)
    assert run.tomogram_grid(TomogramQuery("wbp", 12.345)) == grid
    assert not run.is_read_only(TomogramQuery("wbp", 12.345))
    assert project.select(["TS_1"])[0].is_read_only(TomogramQuery("wbp", 10.0))
