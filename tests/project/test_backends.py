"""What storage must do, on a disk, in memory, on S3 and over ssh: whole files, or none."""

import contextlib
import errno
import inspect
import itertools
import os

import fsspec
import numpy as np
import pytest
import zarr
from copick.util.reconnecting_fs import ReconnectingFileSystem
from fsspec.asyn import AsyncFileSystem
from stored_samples import GRID, OURS, TARGETS, filled_labels

from octopi.errors import DataError, ResourceError
from octopi.geometry import Grid, Points
from octopi.project.copick_api import keep_log_handlers
from octopi.project.queries import TomogramQuery

LABELS = "Segmentations/10.000_octopi_1_targets-multilabel.zarr"


@pytest.fixture
def run(anywhere):
    anywhere.add_tomogram(anywhere.noise())
    return anywhere.run()


def test_a_rewritten_session_keeps_nothing_of_the_old_one(run):
    run.write_picks(OURS, Points(np.ones((5, 3))))
    run.write_picks(OURS, Points(np.zeros((1, 3))))
    assert len(run.read_picks(OURS)) == 1
    run.write_picks(OURS, Points.empty())
    assert run.picks() == [OURS]
    assert len(run.read_picks(OURS)) == 0


def test_a_rewritten_label_volume_keeps_nothing_of_the_old_one(run):
    run.write_segmentation(TARGETS, filled_labels(1), grid=GRID, attributes={"old": 1})
    small = Grid.cubic((2, 2, 2), 10)
    run.write_segmentation(TARGETS, filled_labels(2)[:2, :2, :2], grid=small, attributes={"new": 1})
    labels, grid, attributes = run.read_segmentation(TARGETS)
    assert (labels.shape, grid, attributes) == ((2, 2, 2), small, {"new": 1})


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_label_volume_and_nothing_else(
    anywhere, run, monkeypatch, fault
):
    run.write_segmentation(TARGETS, filled_labels(1), grid=GRID, attributes={"old": 1})
    before = anywhere.files_of_run()

    def write_but_no_chunk(store, key, value):
        if "/0/" in key:
            raise fault
        write(store, key, value)

    def pipe_but_no_chunk(files):
        for path, content in files.items():
            if "/0/0" in path or "-new/0" in path:
                raise fault
            wrapped.pipe_file(path, content)

    write, wrapped = zarr.DirectoryStore.__setitem__, run.copick_run.root.fs_overlay
    with monkeypatch.context() as patch:
        patch.setattr(zarr.DirectoryStore, "__setitem__", write_but_no_chunk)
        for fs in (wrapped, wrapped._fs):
            patch.setattr(fs, "pipe", pipe_but_no_chunk)
        with pytest.raises((ResourceError, KeyboardInterrupt)):
            run.write_segmentation(TARGETS, filled_labels(2), grid=GRID, attributes={"new": 1})
    labels, _, attributes = run.read_segmentation(TARGETS)
    np.testing.assert_array_equal(labels, filled_labels(1))
    assert attributes == {"old": 1}
    assert anywhere.files_of_run() == before


class KilledError(RuntimeError):
    """What ends a writer at once, and all that it would tidy up."""


def forget_filesystems():
    """Forget those that are open: fsspec and copick's wrapper would give them again."""
    for kind in (*map(fsspec.get_filesystem_class, ("s3", "ssh")), ReconnectingFileSystem):
        kind.clear_instance_cache()


@contextlib.contextmanager
def killed_before_change(number):
    """Let a filesystem that is opened in the block change nothing from this change on."""
    counter = itertools.count()

    def killing(method):
        def count():
            if next(counter) >= number:
                raise KilledError

        async def change_later(*args, **kwargs):
            count()
            return await method(*args, **kwargs)

        def change(*args, **kwargs):
            count()
            return method(*args, **kwargs)

        return change_later if inspect.iscoroutinefunction(method) else change

    kinds = [fsspec.get_filesystem_class(name) for name in ("memory", "s3", "ssh")]
    with pytest.MonkeyPatch.context() as patch:
        for kind in kinds:
            is_async = issubclass(kind, AsyncFileSystem)
            names = ("pipe_file", "rm", "rm_file", "mv", "copy")
            for name in [f"_{name}" if is_async else name for name in names]:
                if hasattr(kind, name):
                    patch.setattr(kind, name, killing(getattr(kind, name)))
        forget_filesystems()
        try:
            yield
        finally:
            forget_filesystems()


def test_of_a_writer_killed_anywhere_the_old_volume_or_picks_stay_or_the_new(remote):
    remote.add_tomogram(remote.noise())
    run, before = remote.run(), []
    step = 1 if remote.overlay.startswith("memory") else 5  # the others take their time
    for number in itertools.count(0, step):
        run.write_segmentation(TARGETS, filled_labels(1), grid=GRID, attributes={})
        run.write_picks(OURS, Points(np.ones((1, 3))))
        before = before or remote.files_of_run()
        try:
            with killed_before_change(number):
                run = remote.run()
                run.write_segmentation(TARGETS, filled_labels(2), grid=GRID, attributes={})
                run.write_picks(OURS, Points(np.ones((2, 3))))
                break
        except KilledError:
            run = remote.run()
            labels = run.read_segmentation(TARGETS)[0]
            assert np.array_equal(labels, filled_labels(1)) or np.array_equal(
                labels, filled_labels(2)
            ), number
            assert len(run.read_picks(OURS)) in (1, 2)
    assert number > 5
    run = remote.run()
    assert remote.files_of_run() == before
    assert (len(run.read_picks(OURS)), run.read_segmentation(TARGETS)[0].max()) == (2, 2)


def test_what_a_killed_writer_left_is_removed_by_the_next(anywhere, run):
    run.write_segmentation(TARGETS, filled_labels(1), grid=GRID, attributes={})
    before = anywhere.files_of_run()
    fs, folder = anywhere.overlay_files()
    if "file" not in fs.protocol:
        fs.pipe_file(f"{folder}/ExperimentRuns/TS_1/{LABELS}/0-new/0/0/0", b"")
    assert run.segmentations() == [TARGETS]
    run.write_segmentation(TARGETS, filled_labels(2), grid=GRID, attributes={})
    assert anywhere.files_of_run() == before


def test_a_label_volume_without_its_metadata_is_not_listed_and_not_read(anywhere, run):
    run.write_segmentation(TARGETS, filled_labels(), grid=GRID, attributes={})
    # what a writer killed before its last step leaves where there is no rename
    anywhere.remove(f"{LABELS}/.zattrs")
    assert run.segmentations() == []
    with pytest.raises(DataError, match=r"has no \.zattrs.*unfinished"):
        run.read_segmentation(TARGETS)


def test_a_chunk_missing_from_our_labels_is_an_error(anywhere, run):
    run.write_segmentation(TARGETS, filled_labels(0), grid=GRID, attributes={})
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
    anywhere.run().write_segmentation(TARGETS, filled_labels(2), grid=GRID, attributes={})
    with keep_log_handlers():
        import copick
    (item,) = copick.from_file(str(anywhere.config())).get_run("TS_1").segmentations
    assert (item.name, item.is_multilabel, item.voxel_size) == ("targets", True, 10.0)
    np.testing.assert_array_equal(item.numpy(), filled_labels(2))


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
