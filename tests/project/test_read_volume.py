import json
import os
import shutil
import tracemalloc

import numpy as np
import pytest
import zarr

from octopi.errors import DataError, OctopiError
from octopi.geometry import Grid
from octopi.project import SegmentationQuery, TomogramQuery

WBP = TomogramQuery("wbp", 10.0)


def _read(files):
    return files.run().read_tomogram(WBP)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8])
def test_a_tomogram_comes_back_as_float32_whatever_it_was(files, dtype):
    volume = (files.noise((6, 7, 9)) * 10).astype(dtype)
    files.add_tomogram(volume)
    read = _read(files)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, volume.astype(np.float32))


def test_a_missing_chunk_is_an_error_not_zeros(files):
    path = files.add_tomogram(files.noise())
    (path / "0/1/0/1").unlink()
    with pytest.raises(
        DataError, match=r"TS_1: tomogram wbp@10\.0 lacks 1 chunk \(1/0/1\)"
    ) as caught:
        _read(files)
    assert caught.value.exit_code == 3


def test_many_missing_chunks_are_counted_and_the_first_named(files):
    path = files.add_tomogram(files.noise())
    shutil.rmtree(path / "0/1")
    with pytest.raises(DataError, match=r"lacks 4 chunks \(1/0/0, 1/0/1, 1/1/0, 1/1/1\)"):
        _read(files)


@pytest.mark.parametrize("keep", [0, 5, 40])
def test_truncated_chunks_are_all_named(files, keep):
    path = files.add_tomogram(files.noise())
    for name in ("0/0/0", "1/1/1"):
        chunk = path / "0" / name
        chunk.write_bytes(chunk.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"decode 2 chunks \(0/0/0, 1/1/1\), truncated"):
        _read(files)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_numbers_are_counted(files, bad):
    volume = files.noise()
    volume[0, 0, 0] = volume[7, 7, 6:8] = bad
    files.add_tomogram(volume)
    with pytest.raises(DataError, match=r"wbp@10\.0 holds 3 voxels that are NaN or infinite"):
        _read(files)


@pytest.mark.parametrize("value", [0, 3.5])
def test_a_constant_volume_is_an_error(files, value):
    files.add_tomogram(np.full((8, 8, 8), value, dtype=np.float32))
    with pytest.raises(DataError, match=f"constant: every voxel is {value}"):
        _read(files)


def test_reading_needs_one_float32_copy_and_little_more(files):
    volume = files.noise((64, 64, 64))
    files.add_tomogram(volume, chunks=(16, 16, 16))
    run = files.run()
    run.read_tomogram(WBP)
    tracemalloc.start()
    run.read_tomogram(WBP)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert volume.nbytes <= peak < 1.2 * volume.nbytes


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


@pytest.mark.parametrize("content", ["{", "{}", '{"multiscales": []}'])
def test_damaged_metadata_names_the_store(files, content):
    path = files.add_tomogram(files.noise())
    (path / ".zattrs").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"damaged.*wbp\.zarr"):
        _read(files)


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


def test_labels_of_others_may_leave_out_chunks_of_background(files):
    labels = np.zeros((8, 8, 8), dtype=np.uint8)
    labels[0, 0, 0] = 1
    path = files.add_segmentation(labels, write_empty_chunks=False)
    assert not (path / "0/1").exists()
    read, grid, attributes = files.run().read_segmentation(
        SegmentationQuery("membrane", "tool", "1")
    )
    np.testing.assert_array_equal(read, labels)
    assert (grid, attributes) == (Grid.cubic((8, 8, 8), 10), {"labels": {"membrane": 1}})


def test_a_damaged_chunk_of_labels_is_an_error(files):
    path = files.add_segmentation(np.ones((8, 8, 8), dtype=np.uint8))
    (path / "0/0/0/0").write_bytes(b"")
    with pytest.raises(DataError, match=r"membrane:tool/1@10\.0 cannot decode 1 chunk"):
        files.run().read_segmentation(SegmentationQuery("membrane", "tool", "1"))


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


def test_storage_that_fails_is_an_error_not_zeros(files):
    path = files.add_segmentation(np.ones((8, 8, 8), dtype=np.uint8))
    chunk = path / "0/0/0/0"
    chunk.unlink()
    chunk.symlink_to(chunk)
    with pytest.raises(DataError, match=r"membrane:tool/1@10\.0 cannot be read: .*symbolic links"):
        files.run().read_segmentation(SegmentationQuery("membrane", "tool", "1"))


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


@pytest.mark.parametrize("dtype", [">u2", "<i4", ">f8", bool, np.uint32])
def test_labels_are_unsigned_integers_of_this_machine(files, dtype):
    labels = (np.arange(512).reshape(8, 8, 8) % 2).astype(dtype)
    files.add_segmentation(labels, name="10.000_tool_1_painting-multilabel")
    read, _, attributes = files.run().read_segmentation(SegmentationQuery("painting", "tool", "1"))
    assert read.dtype.kind == "u"
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, labels)
    assert attributes == {}


def test_labels_that_are_scores_are_refused_by_name(files):
    files.add_segmentation(files.noise(), name="10.000_tool_1_painting-multilabel")
    with pytest.raises(DataError, match=r"painting:tool/1@10\.0 holds scores"):
        files.run().read_segmentation(SegmentationQuery("painting", "tool", "1"))


def test_a_binary_mask_holds_its_object_as_label_1(files):
    mask = np.zeros((8, 8, 8), np.uint8)
    mask[2:4] = 255
    files.add_segmentation(mask)
    read, _, attributes = files.run().read_segmentation(SegmentationQuery("membrane", "tool", "1"))
    np.testing.assert_array_equal(read, mask // 255)
    assert attributes == {"labels": {"membrane": 1}}


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


def test_a_chunk_of_another_size_is_damaged(files):
    path = files.add_tomogram(files.noise())
    larger = zarr.open(path)["0"].compressor.encode(np.zeros((9, 9, 9), np.float32))
    (path / "0/0/0/0").write_bytes(larger)
    with pytest.raises(DataError, match=r"cannot decode 1 chunk \(0/0/0\)"):
        _read(files)
