"""MRC files as other programs write them: read as they are meant, or refused with the cause."""

import math

import mrcfile
import numpy as np
import pytest
from mrcfile.dtypes import HEADER_DTYPE

from octopi.errors import DataError
from octopi.formats import mrc

SHAPE = (4, 6, 7)
BYTES = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)
UNSIGNED = {"dmin": BYTES.min(), "dmax": BYTES.max(), "dmean": BYTES.mean()}
STAMPED = {76: b"\0" * 12, 152: np.array([mrc.IMOD_STAMP], "<i4").tobytes()}


def write(path, volume, *, fields=None, raw=None, extended=b"", end=b""):
    """Write an MRC file; change fields and raw bytes (by offset) of its header."""
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(volume)
        file.voxel_size = 8.0
        file.set_volume()
    data = bytearray(path.read_bytes())
    header = np.frombuffer(data[:1024], HEADER_DTYPE.newbyteorder("<")).copy()
    for key, value in (fields or {}).items():
        header[key] = value
    data[:1024] = header.tobytes()
    for start, content in (raw or {}).items():
        data[start : start + len(content)] = content
    path.write_bytes(bytes(data[:1024]) + extended + bytes(data[1024:]) + end)
    return path


def read(path):
    header = mrc.read_header(path)
    mrc.check_voxels(header)
    return mrc.read_voxels(header)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["i1", "i2", "u2", "f2", "f4"])
def test_each_mode_is_read_in_both_byte_orders(tmp_path, kind, order):
    volume = (np.arange(np.prod(SHAPE)).reshape(SHAPE) % 100).astype(order + kind)
    np.testing.assert_array_equal(read(write(tmp_path / "a.mrc", volume)), volume)


@pytest.mark.parametrize("stamp", [b"\0\0\0\0", b"\x11\x11\0\0"])
def test_a_wrong_machine_stamp_does_not_change_the_byte_order(tmp_path, stamp):
    volume = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    path = write(tmp_path / "a.mrc", volume, raw={212: stamp, 208: b"\0\0\0\0"})
    np.testing.assert_array_equal(read(path), volume)


@pytest.mark.parametrize("columns", [7, 8])
def test_voxels_of_four_bits_are_unpacked(tmp_path, columns):
    shape = (4, 6, columns)
    volume = np.random.default_rng(0).integers(0, 16, shape)
    even = np.pad(volume, ((0, 0), (0, 0), (0, columns % 2)))
    packed = (even[..., ::2] | even[..., 1::2] << 4).astype(np.int8)
    path = write(tmp_path / "a.mrc", packed, fields={"mode": 101, "nx": columns, "mx": columns})
    np.testing.assert_array_equal(read(path), volume)


@pytest.mark.parametrize(
    ("fields", "raw", "expected"),
    [
        (UNSIGNED, {}, BYTES),
        ({"dmin": 0, "dmax": 0, "dmean": 130}, STAMPED, BYTES),
        ({}, {}, BYTES.view(np.int8)),  # mrcfile's own statistics
        ({}, {**STAMPED, 156: b"\1\0\0\0"}, BYTES.view(np.int8)),
        ({}, STAMPED, BYTES),
    ],
)
def test_bytes_are_signed_or_not_as_the_header_shows(tmp_path, fields, raw, expected):
    path = write(tmp_path / "a.mrc", BYTES.view(np.int8), fields=fields, raw=raw)
    np.testing.assert_array_equal(read(path), expected)


@pytest.mark.parametrize(
    "fields",
    [
        {"dmin": 0, "dmax": -1, "dmean": -2},  # never set
        {"dmin": 0, "dmax": 0, "dmean": 0},
        {"dmin": -3.2, "dmax": 4.1, "dmean": 0},  # of other voxels
        {"dmin": -900, "dmax": 900, "dmean": 0},
    ],
)
def test_bytes_of_unknown_sign_are_refused_unless_it_does_not_matter(tmp_path, fields):
    with pytest.raises(DataError, match="whether its bytes are signed"):
        read(write(tmp_path / "a.mrc", BYTES.view(np.int8), fields=fields))
    low = BYTES // 2
    np.testing.assert_array_equal(
        read(write(tmp_path / "b.mrc", low.view(np.int8), fields={"dmin": 0, "dmax": 0})), low
    )


def test_an_announced_extended_header_may_be_absent(tmp_path, caplog):
    volume = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    fields = {"nsymbt": 4096, "exttyp": b"AGAR"}
    np.testing.assert_array_equal(read(write(tmp_path / "a.mrc", volume, fields=fields)), volume)
    assert "a.mrc has no extended header" in caplog.text
    there = write(tmp_path / "b.mrc", volume, fields=fields, extended=b"\7" * 4096)
    np.testing.assert_array_equal(read(there), volume)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fields": {"ispg": 401, "mz": 2}}, "a stack of 2 volumes"),
        ({"fields": {"ispg": 0, "mz": 1}}, "a stack of 4 images"),
        ({"fields": {"nz": 1, "mz": 1}}, "no volume"),
        ({"fields": {"mode": 1}}, "3200 bytes more than its header says"),
        ({"fields": {"mode": 4}}, "mode 4"),
        ({"fields": {"nsymbt": -4}}, "damaged header"),
        ({"fields": {"nz": 5}}, "truncated"),
        ({"fields": {"nx": 0}}, "no MRC file"),
        ({"end": b"\0" * 2000}, "2000 bytes more"),
    ],
)
def test_a_header_that_cannot_be_right_is_refused(tmp_path, options, message):
    volume = np.random.default_rng(0).normal(size=(4, 20, 20)).astype(np.float32)
    with pytest.raises(DataError, match=message):
        mrc.read_header(write(tmp_path / "a.mrc", volume, **options))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8b\x08", "gunzip"),
        (b"BZh9", "bunzip2"),
        (b"\xfd7zXZ\x00", "unxz"),
        (b"\x28\xb5\x2f\xfd", "unzstd"),
        (b"PK\x03\x04", "unzip"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"II*\x00", "TIFF"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"", "0 bytes of 1024"),
        (b"x" * 4000, "no MRC file"),
    ],
)
def test_files_of_other_formats_are_named(tmp_path, content, message):
    path = tmp_path / "a.mrc"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        mrc.read_header(path)


def test_a_volume_in_a_box_that_was_never_set_has_no_voxel_size(tmp_path):
    path = write(tmp_path / "a.mrc", np.ones(SHAPE, np.float32), fields={"mx": 0, "my": 0})
    assert mrc.read_header(path).voxel_size[1:] == (0, 0)
    assert math.isclose(mrc.read_header(path).voxel_size[0], 8)
