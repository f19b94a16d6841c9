import base64
import json
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from octopi.errors import DataError, OctopiError
from octopi.geometry import Grid
from octopi.project.queries import SegmentationQuery, TomogramQuery
from octopi.project.volume_check import check_segmentation, check_tomogram

WBP = TomogramQuery("wbp", 10.0)


def _read(files):
    return files.run().read_tomogram(WBP)


def test_the_grid_has_the_digits_of_the_metadata(files):
    files.add_tomogram(files.noise((6, 7, 9)), folder="10.012", scale=10.01244)
    run = files.run()
    grid = run.tomogram_grid(TomogramQuery("wbp", 10.012))
    assert grid == Grid((6, 7, 9), (10.01244,) * 3)


def test_units_of_the_metadata_become_angstrom(files):
    files.add_tomogram(files.noise(), folder="10.012", scale=1.0012, unit="nanometer")
    assert files.run().tomogram_grid(TomogramQuery("wbp", 10.012)).spacing == (10.012,) * 3


def test_a_scale_that_contradicts_the_folder_is_not_believed(files, caplog):
    files.add_tomogram(files.noise(), scale=1.0)
    assert files.run().tomogram_grid(WBP).spacing == (10.0,) * 3
    assert "listed with 10.0 Å but its OME metadata says" in caplog.text


def test_missing_metadata_names_the_store(files):
    path = files.add_tomogram(files.noise())
    (path / ".zattrs").unlink()
    with pytest.raises(DataError, match=r"wbp@10\.0 has no \.zattrs in .*wbp\.zarr"):
        _read(files)


@pytest.mark.parametrize("content", ["{", '{"multiscales": []}', '{"multiscales": 5}'])
def test_damaged_metadata_names_the_store(files, content):
    path = files.add_tomogram(files.noise())
    (path / ".zattrs").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"damaged.*wbp\.zarr"):
        _read(files)


@pytest.mark.parametrize("content", ['{"labels": ["seg"]}', '{"bioformats2raw.layout": 3}', "{}"])
def test_metadata_of_no_image_are_told_from_damaged_ones(files, content):
    path = files.add_tomogram(files.noise())
    (path / ".zattrs").write_text(content, encoding="utf-8")
    keys = next(iter(json.loads(content)), "nothing")
    with pytest.raises(DataError, match=rf"OME-Zarr image: .* no multiscales, but {keys}\."):
        _read(files)


def test_an_array_without_a_group_is_told_from_an_unfinished_one(files):
    path = files.add_tomogram(files.noise())
    shutil.rmtree(path)
    zarr.save_array(str(path), files.noise())
    with pytest.raises(DataError, match=r"a zarr array alone, without .* OME metadata"):
        _read(files)


def test_the_finest_level_is_read_wherever_it_is_listed(files, caplog):
    volume = files.noise()
    path = files.add_tomogram(volume)
    zarr.open_group(str(path), mode="a").create_dataset("1", data=volume[::2, ::2, ::2])
    coarse = {"type": "scale", "scale": [20.0] * 3}
    change_metadata(
        path,
        lambda image: image["datasets"].insert(
            0, {"path": "1", "coordinateTransformations": [coarse]}
        ),
    )
    np.testing.assert_array_equal(_read(files), volume)
    assert not caplog.text


def test_a_missing_array_names_the_store(files):
    path = files.add_tomogram(files.noise())
    (path / "0/.zarray").unlink()
    with pytest.raises(DataError, match=r"damaged or unfinished.*wbp\.zarr"):
        _read(files)


def test_zarr_3_is_answered_with_advice(files):
    path = files.add_tomogram(files.noise())
    (path / ".zattrs").unlink()
    (path / "zarr.json").write_text(json.dumps({"zarr_format": 3}), encoding="utf-8")
    with pytest.raises(DataError, match=r"zarr 3.*Convert"):
        _read(files)


def test_the_fingerprint_follows_the_content(files):
    path = files.add_tomogram(files.noise())
    files.add_tomogram(files.noise(), name="denoised")
    run = files.run()
    before = run.fingerprint(WBP)
    assert len(before) == 64
    assert run.fingerprint(WBP) == before
    assert run.fingerprint(TomogramQuery("denoised", 10.0)) != before
    chunk = path / "0/0/0/0"
    os.utime(chunk, (1, 1))
    touched = run.fingerprint(WBP)
    assert touched != before
    chunk.unlink()
    assert run.fingerprint(WBP) not in (before, touched)


def change_metadata(path, change):
    """Change the first multiscale image of a store's OME metadata."""
    file = path / ".zattrs"
    attributes = json.loads(file.read_text(encoding="utf-8"))
    change(attributes["multiscales"][0])
    file.write_text(json.dumps(attributes), encoding="utf-8")


def _as_ngff_01(image):
    del image["axes"], image["datasets"][0]["coordinateTransformations"]


def _as_ngff_03(image):
    del image["datasets"][0]["coordinateTransformations"]
    image["axes"] = ["z", "y", "x"]


def _with_scale_of_all_levels(image):
    image["coordinateTransformations"] = [{"type": "scale", "scale": [10.0] * 3}]
    image["datasets"][0]["coordinateTransformations"] = [{"type": "scale", "scale": [1.0] * 3}]


@pytest.mark.parametrize("change", [_as_ngff_01, _as_ngff_03, _with_scale_of_all_levels])
def test_metadata_of_every_ngff_version_are_read(files, caplog, change):
    volume = files.noise((6, 7, 9))
    change_metadata(files.add_tomogram(volume), change)
    run = files.run()
    assert run.tomogram_grid(WBP) == Grid.cubic((6, 7, 9), 10)
    np.testing.assert_array_equal(run.read_tomogram(WBP), volume)
    assert not caplog.text


def test_metadata_that_lie_under_ome_are_read(files):
    path = files.add_tomogram(files.noise())
    attributes = json.loads((path / ".zattrs").read_text(encoding="utf-8"))
    (path / ".zattrs").write_text(json.dumps({"ome": attributes}), encoding="utf-8")
    assert _read(files).shape == (8, 8, 8)


def test_axes_in_another_order_are_refused_by_name(files):
    path = files.add_tomogram(files.noise())
    change_metadata(path, lambda image: image.update(axes=["x", "y", "z"]))
    with pytest.raises(DataError, match=r"wbp@10\.0 in .* but the axes x, y, z"):
        _read(files)


@pytest.mark.parametrize("change", [{"axes": [1, 2, 3]}, {"datasets": "0"}, {"datasets": [[]]}])
def test_metadata_of_another_kind_are_refused_by_name(files, change):
    path = files.add_segmentation(np.ones((8, 8, 8), np.uint8))
    change_metadata(path, lambda image: image.update(change))
    with pytest.raises(DataError, match=r"membrane:tool/1@10\.0 has damaged"):
        files.run().read_segmentation(files.run().segmentations()[0])


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("separator", [".", "/"])
def test_chunks_are_found_under_either_separator(files, separator, named):
    volume = files.noise()
    path = files.add_tomogram(volume)
    shutil.rmtree(path / "0")
    store = zarr.DirectoryStore(path / "0", dimension_separator=separator)
    zarr.open_array(store, mode="w", shape=volume.shape, chunks=(4, 4, 4), dtype="f4")[:] = volume
    if not named:
        array = json.loads((path / "0/.zarray").read_text(encoding="utf-8"))
        array.pop("dimension_separator", None)
        (path / "0/.zarray").write_text(json.dumps(array), encoding="utf-8")
    np.testing.assert_array_equal(_read(files), volume)
    next(path.glob(f"0/*{separator}1{separator}1")).unlink()
    with pytest.raises(DataError, match="lacks 1 chunk"):
        _read(files)


def _with_axes(path, volume, names):
    """Store a volume with the axes of these names."""
    shutil.rmtree(path / "0")
    store = zarr.DirectoryStore(path / "0", dimension_separator="/")
    zarr.open_array(store, mode="w", shape=volume.shape, chunks=volume.shape, dtype=volume.dtype)[
        ...
    ] = volume
    steps = [{"type": "scale", "scale": [1.0] * (len(names) - 3) + [10.0] * 3}]
    datasets = [{"path": "0", "coordinateTransformations": steps}]
    axes = [{"name": name} for name in names]
    change_metadata(path, lambda image: image.update(axes=axes, datasets=datasets))


def test_axes_of_length_one_are_left_out(files):
    volume = files.noise()
    _with_axes(files.add_tomogram(volume), volume[None, None], "tczyx")
    np.testing.assert_array_equal(_read(files), volume)


def test_several_channels_are_refused_with_the_shape(files):
    volume = files.noise()
    _with_axes(files.add_tomogram(volume), np.stack([volume, volume]), "czyx")
    with pytest.raises(DataError, match=r"is not a volume: its shape is \(2, 8, 8, 8\)"):
        _read(files)


def test_values_that_are_no_plain_numbers_are_refused(files):
    files.add_tomogram(files.noise().astype(np.complex64))
    with pytest.raises(DataError, match="values of type complex64"):
        _read(files)


def test_a_translation_is_warned_of_once(files, caplog):
    shift = {"type": "translation", "translation": [0.0, 200.0, 0.0]}

    def translate(image):
        image["datasets"][0]["coordinateTransformations"].append(shift)

    change_metadata(files.add_tomogram(files.noise()), translate)
    run = files.run()
    run.read_tomogram(WBP)
    assert run.tomogram_grid(WBP).spacing == (10.0,) * 3
    assert caplog.text.count("Run TS_1: tomogram wbp@10.0 begins at x, y, z = 0, 200, 0 Å") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [2**40, 8, 8]}, "damaged.*chunks"),
        ({"shape": [0, 8, 8]}, "damaged"),
        ({"chunks": [4, 4, 2.5]}, "damaged"),
        ({"chunks": [4, 4]}, "damaged"),
        ({"order": 1.5}, "damaged"),
        ({"fill_value": {}}, "damaged"),
        ({"dtype": "nonsense"}, "damaged"),
        ({"shape": [2**20, 2**20, 2**10], "chunks": [2**18, 2**18, 2**10]}, "of memory, of which"),
    ],
)
def test_metadata_of_an_array_that_make_no_sense_are_refused(files, changes, message):
    path = files.add_tomogram(files.noise()) / "0" / ".zarray"
    path.write_text(
        json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes),
        encoding="utf-8",
    )
    with pytest.raises(OctopiError, match=message):
        _read(files)


@pytest.mark.parametrize(
    "codecs",
    [
        {"compressor": {"id": "jpegxl", "level": 3}},
        {"compressor": None, "filters": [{"id": "jpegxl"}]},
    ],
)
def test_a_codec_that_is_not_installed_is_named_with_its_array(files, codecs):
    path = files.add_tomogram(files.noise()) / "0" / ".zarray"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | codecs), encoding="utf-8")
    with pytest.raises(DataError, match=r"jpegxl.*array 0 of .*wbp\.zarr.*Install.*numcodecs"):
        _read(files)


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_codec_that_runs_what_the_bytes_say_is_refused_and_nothing_is_run(files, tmp_path):
    mark = tmp_path / "run"
    stored = files.add_tomogram(files.noise())
    content = json.loads((stored / "0/.zarray").read_text(encoding="utf-8"))
    pickled = pickle.dumps(Touch(mark))
    (stored / "0/0/0/0").write_bytes(pickled)
    as_bytes = {"compressor": {"id": "pickle"}}
    as_object = {
        "dtype": [["a", "|O"]],
        "filters": [{"id": "pickle"}],
        "fill_value": base64.b64encode(pickled).decode(),
    }
    for changes in (as_bytes, as_object):
        (stored / "0/.zarray").write_text(json.dumps(content | changes), encoding="utf-8")
        with pytest.raises(DataError, match=r"pickle.*not to be trusted"):
            _read(files)
    assert not mark.exists()


IN_PLACE_OF_A_FILE = {
    "no file": os.mkfifo,
    "Is a directory": os.mkdir,
    "No such file": lambda path: path.symlink_to("fetched-later"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", [".zattrs", "0/.zarray", "0/1/0/1"])
@pytest.mark.parametrize("cause", IN_PLACE_OF_A_FILE)
def test_what_lies_in_the_place_of_a_file_is_named_and_not_waited_for(files, name, cause):
    files.add_tomogram(files.noise())
    # another program may leave out chunks of background
    path = files.add_segmentation(np.ones((8, 8, 8), np.uint8)) / name
    path.unlink()
    IN_PLACE_OF_A_FILE[cause](path)
    run = files.run()
    query = SegmentationQuery("membrane", "tool", "1", 10.0)
    for read in (run.read_segmentation, check_by_listing(run), check_by_listing(run, voxels=True)):
        with pytest.raises(DataError, match=rf"{cause}.*{re.escape(str(path))}"):
            read(query)


def check_by_listing(run, *, voxels=False):
    return lambda query: check_segmentation(run, query, voxels=voxels)


def test_chunks_in_a_folder_behind_a_link_are_not_missing(files):
    path = files.add_tomogram(files.noise())
    (path / "0" / "1").rename(files.folder / "elsewhere")
    (path / "0" / "1").symlink_to(files.folder / "elsewhere")
    run = files.run()
    report = check_tomogram(run, WBP, voxels=False, positions={}, radii={})
    assert not report.missing + report.damaged
    np.testing.assert_array_equal(run.read_tomogram(WBP), files.noise())
