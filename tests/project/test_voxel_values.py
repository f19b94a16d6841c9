"""What a mask or a label volume may hold: chunk by chunk, whatever its type."""

import numpy as np
import pytest

from octopi.errors import DataError
from octopi.project.voxel_values import MAX_VALUES, LabelValues


def values_of(*chunks):
    values = LabelValues()
    for chunk in chunks:
        values.add(np.asarray(chunk))
    return values


@pytest.mark.parametrize(
    ("chunks", "inside"),
    [
        ([np.uint8([0, 255])], 255),
        ([np.zeros(3, np.uint8), np.full(3, 4, np.uint8)], 4),
        ([np.int8([0, -1])], -1),
        ([np.float32([0, 0.5])], 0.5),
        ([[False, True]], 1),
        ([np.zeros(3)], 0),
    ],
)
def test_a_mask_holds_zero_and_one_other_value(chunks, inside):
    assert values_of(*chunks).check_mask("the mask") == inside


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([np.int8([-128, -127])], "holds -128 and -127;.*Save it again with 0"),
        ([np.float32([-1, 0, 1.5])], r"holds scores \(values from -1 to 1.5\).*Threshold"),
        ([np.uint8([0, 1]), np.uint8([3, 3])], "the labels 1, 3;.*Save the one object alone"),
        ([np.uint8([1, 1])], "holds 1;"),
        ([np.arange(131072)], r"\(values from 0 to 131071\), labels of instances;.*instances as 1"),
        ([np.arange(5000) + 0.5], r"holds scores \(values from 0.5 to 4999.5\)"),
        ([np.float32([0, 1, np.nan, np.inf])], "holds 2 voxels that are NaN or infinite"),
    ],
)
def test_other_values_are_no_mask(chunks, message):
    with pytest.raises(DataError, match=message) as refused:
        values_of(*chunks).check_mask("the mask")
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    "labels", [[0, 1, 300], np.float64([0, 7]), np.arange(5000), np.arange(5000.0)]
)
def test_labels_are_whole_numbers_of_zero_or_more(labels):
    values_of(labels).check_labels("the volume")


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([[-1, 0, 2]], "values from -1 to 2, but a label is never negative"),
        ([np.float32([0, 0.25])], r"holds scores \(0 and 0.25\)"),
        ([np.arange(2.0 * MAX_VALUES), [0.5, 1]], "holds scores"),
        ([np.float32([np.nan, np.nan]), [1, 2]], "2 voxels that are NaN"),
    ],
)
def test_other_values_are_no_labels(chunks, message):
    with pytest.raises(DataError, match=message):
        values_of(*chunks).check_labels("the volume")
