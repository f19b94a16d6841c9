import json

import numpy as np
import pytest
import zarr
from fsspec.implementations.memory import MemoryFileSystem
from zarr.storage import FSStore

import octopi.project.write_volume as write_volume_module
from octopi.geometry import Grid
from octopi.project.storage import write_file
from octopi.project.write_volume import write_volume


@pytest.fixture
def fs(files):
    files.at().mkdir(parents=True)
    return files.run().copick_run.fs_overlay


def test_the_store_is_ome_zarr_of_one_level(fs, tmp_path):
    labels = np.ones((2, 3, 4), dtype=np.uint8)
    write_volume(
        fs, str(tmp_path / "a.zarr"), labels, grid=Grid((2, 3, 4), (1.5, 2, 2)), attributes={}
    )
    attributes = json.loads((tmp_path / "a.zarr/.zattrs").read_text(encoding="utf-8"))
    (multiscale,) = attributes["multiscales"]
    (dataset,) = multiscale["datasets"]
    assert [axis["name"] for axis in multiscale["axes"]] == ["z", "y", "x"]
    assert dataset["coordinateTransformations"] == [{"type": "scale", "scale": [1.5, 2, 2]}]
    assert attributes["octopi_complete"] is True
    np.testing.assert_array_equal(zarr.open(str(tmp_path / "a.zarr"), "r")["0"], labels)


def test_the_reason_why_no_folder_can_be_made_for_a_store_is_said(fs):
    labels, grid = np.ones((2, 2, 2), dtype=np.uint8), Grid.cubic((2, 2, 2), 10)
    with pytest.raises(FileNotFoundError, match="/proc"):
        write_volume(fs, "/proc/a.zarr", labels, grid=grid, attributes={})


def test_channels_lie_in_chunks_of_their_own(fs, tmp_path):
    scores = np.zeros((2, 65, 4, 4), dtype=np.uint8)
    grid = Grid.cubic((65, 4, 4), 10)
    write_volume(fs, str(tmp_path / "a.zarr"), scores, grid=grid, attributes={})
    chunks = {
        str(p.relative_to(tmp_path / "a.zarr/0"))
        for p in (tmp_path / "a.zarr/0").rglob("*")
        if p.is_file() and p.name != ".zarray"
    }
    assert chunks == {"0/0/0/0", "0/1/0/0", "1/0/0/0", "1/1/0/0"}


def test_a_volume_off_its_grid_is_refused(fs, tmp_path):
    with pytest.raises(ValueError, match="not on a grid"):
        write_volume(
            fs,
            str(tmp_path / "a.zarr"),
            np.zeros((2, 2, 2)),
            grid=Grid.cubic((2, 2, 3), 10),
            attributes={},
        )


def test_attributes_that_json_cannot_hold_are_refused_before_a_byte_is_written(fs, tmp_path):
    with pytest.raises(TypeError):
        write_volume(
            fs,
            str(tmp_path / "a.zarr"),
            np.zeros((2, 2, 2)),
            grid=Grid.cubic((2, 2, 2), 10),
            attributes={"labels": {1, 2}},
        )
    assert not (tmp_path / "a.zarr").exists()


def test_an_error_after_the_metadata_arrived_leaves_a_volume(monkeypatch):
    fs = MemoryFileSystem()
    path, grid = "/late-error/a.zarr", Grid.cubic((2, 2, 2), 10)
    write_volume(fs, path, np.zeros((2, 2, 2), np.uint8), grid=grid, attributes={})

    def write_then_fail(fs, path, content):
        write_file(fs, path, content)
        raise OSError("the answer was lost")

    monkeypatch.setattr(write_volume_module, "write_file", write_then_fail)
    for _ in range(2):  # of a store whose metadata name the usual level, and the other
        with pytest.raises(OSError, match="lost"):
            write_volume(fs, path, np.ones((2, 2, 2), np.uint8), grid=grid, attributes={})
        attributes = json.loads(fs.cat_file(f"{path}/.zattrs"))
        level = attributes["multiscales"][0]["datasets"][0]["path"]
        store = FSStore(path, fs=fs, dimension_separator="/")
        assert (zarr.open(store, "r")[level][:] == 1).all()
        assert fs.exists(f"{path}/{level}/0/0/0")
    fs.rm("/late-error", recursive=True)
