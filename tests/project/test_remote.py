import uuid

import fsspec
import numpy as np
import pytest

from octopi.errors import DataError
from octopi.project import open_project
from octopi.project.queries import TomogramQuery

WBP = TomogramQuery("wbp", 10.0)


@pytest.fixture(params=["s3", "ssh"])
def remote(request, files):
    """A project's config, the filesystem of its server, and its path there."""
    root, access = request.getfixturevalue(request.param)
    root = f"{root}/{uuid.uuid4().hex}"
    files.add_tomogram(files.noise())
    fs, path = fsspec.url_to_fs(root, **access)
    fs.makedirs(path, exist_ok=True)
    fs.put(str(files.folder / "static"), f"{path}/static", recursive=True)
    roots = {"static_root": f"{root}/static", "overlay_root": f"{root}/overlay"}
    config = files.config(**roots, static_fs_args=access, overlay_fs_args=access)
    return config, fs, path


def test_a_tomogram_on_a_server_is_read_unchanged(remote, files):
    config, _, _ = remote
    (run,) = open_project(config).select(None)
    assert run.tomograms() == [WBP]
    np.testing.assert_array_equal(run.read_tomogram(WBP), files.noise())
    assert run.fingerprint(WBP) == open_project(config).select(None)[0].fingerprint(WBP)


def test_a_chunk_that_the_server_lacks_is_named(remote):
    config, fs, path = remote
    store = f"{path}/static/ExperimentRuns/TS_1/VoxelSpacing10.000/wbp.zarr"
    fs.rm_file(f"{store}/0/1/0/1")
    (run,) = open_project(config).select(None)
    with pytest.raises(DataError, match=r"wbp@10\.0 lacks 1 chunk \(1/0/1\)"):
        run.read_tomogram(WBP)
