import shutil
import tracemalloc

import numpy as np
import pytest
import zarr
from numcodecs import BZ2, LZ4, LZMA, GZip, Zlib, Zstd

from octopi.errors import DataError
from octopi.geometry import Grid
from octopi.project.queries import SegmentationQuery, TomogramQuery

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


@pytest.mark.parametrize(
    "codec", [LZMA(), BZ2(), GZip(), Zlib(), LZ4(), Zstd()], ids=lambda codec: codec.codec_id
)
def test_corrupt_chunks_of_every_codec_are_named(files, codec):
    path = files.add_tomogram(files.noise(), compressor=codec)
    chunk = path / "0/0/0/0"
    content = bytearray(chunk.read_bytes())
    for place in (2, len(content) // 2, -3):
        content[place] ^= 0xFF
    chunk.write_bytes(content)
    with pytest.raises(DataError, match=r"decode 1 chunk \(0/0/0\), truncated or damaged"):
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


def test_storage_that_fails_is_an_error_not_zeros(files):
    path = files.add_segmentation(np.ones((8, 8, 8), dtype=np.uint8))
    chunk = path / "0/0/0/0"
    chunk.unlink()
    chunk.symlink_to(chunk)
    with pytest.raises(DataError, match=r"membrane:tool/1@10\.0 cannot be read: .*symbolic links"):
        files.run().read_segmentation(SegmentationQuery("membrane", "tool", "1"))


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


def test_a_chunk_of_another_size_is_damaged(files):
    path = files.add_tomogram(files.noise())
    larger = zarr.open(path)["0"].compressor.encode(np.zeros((9, 9, 9), np.float32))
    (path / "0/0/0/0").write_bytes(larger)
    with pytest.raises(DataError, match=r"cannot decode 1 chunk \(0/0/0\)"):
        _read(files)
