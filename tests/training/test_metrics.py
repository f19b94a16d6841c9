"""Metrics by name, with n/a where there is nothing to measure."""

import numpy as np
import pytest

from octopi.errors import SettingError
from octopi.targets import UNKNOWN, rejected_value
from octopi.training.metrics import check_metric, count_voxels, metric_value, voxel_metrics

LABELS = {"ribosome": 1, "virus": 2}
NAMES = list(LABELS)
COUNTS = np.array([[6, 2, 2], [1, 0, 3]])  # tp, fp, fn


def test_voxels_are_counted_per_object():
    target = np.array([0, 1, 1, 2, 2, 0])
    segmentation = np.array([0, 1, 2, 2, 0, 1])
    assert count_voxels(segmentation, target, LABELS).tolist() == [[1, 1, 1], [1, 1, 1]]


def test_f_beta_follows_its_definition_for_any_beta():
    precision, recall = 6 / 8, 6 / 8
    for beta in (0.5, 1.0, 2.0, 4.0):
        expected = (1 + beta**2) * precision * recall / (beta**2 * precision + recall)
        value = metric_value(f"fBeta{beta:g}_ribosome", COUNTS, NAMES, {})
        assert value == pytest.approx(expected)
    value = metric_value("fBeta0.5_virus", COUNTS, NAMES, {})
    assert value == pytest.approx(1.25 * 0.25 / (0.25 + 0.25))


def test_recall_and_precision_follow_their_definitions():
    measured = voxel_metrics(COUNTS, NAMES)
    assert (measured["recall_virus"], measured["precision_virus"]) == (0.25, 1.0)
    assert (measured["avg_recall"], measured["avg_precision"]) == (0.5, 0.875)


def test_an_absent_object_is_not_applicable_and_does_not_lower_the_mean():
    counts = np.array([[1, 0, 0], [0, 5, 0]])
    measured = voxel_metrics(counts, NAMES)
    assert measured["f1_virus"] is None
    assert measured["avg_f1"] == 1.0
    assert metric_value("fBeta2", counts, NAMES, {}) == 1.0


def test_an_object_never_predicted_scores_zero():
    measured = voxel_metrics(np.array([[0, 0, 4]]), ["ribosome"])
    assert measured == {
        **dict.fromkeys(("avg_f1", "f1_ribosome"), 0.0),
        **dict.fromkeys(("avg_recall", "recall_ribosome"), 0.0),
        **dict.fromkeys(("avg_precision", "precision_ribosome"), 0.0),
    }


@pytest.mark.parametrize(
    "name", ["fBeta2", "fBeta0.5", "avg_f1", "fBeta4_ribosome", "object_fbeta", "object_f1_virus"]
)
def test_published_names_are_known(name):
    check_metric(name, list(LABELS))


@pytest.mark.parametrize("name", ["fbeta2", "loss", "f1_proteasome", "fBeta4_ribosom"])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(
        SettingError, match=r"Known: avg_f1.*object_fbeta.*Objects: ribosome, virus"
    ):
        check_metric(name, list(LABELS))


def test_unknown_voxels_count_for_no_object():
    segmentation, target = np.array([0, 1, 1, 2, 2]), np.array([1, 1, UNKNOWN, 2, UNKNOWN])
    counts = count_voxels(segmentation, target.astype(np.uint8), {"a": 1, "b": 2})
    assert counts.tolist() == [[1, 0, 1], [1, 0, 0]]


def test_rejected_places_are_background():
    segmentation = np.array([1, 2, 0, 1])
    target = np.array([rejected_value(1), rejected_value(1), rejected_value(2), 1], np.uint8)
    counts = count_voxels(segmentation, target, {"a": 1, "b": 2})
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0]]


def test_outside_of_what_is_annotated_rejected_places_are_background_of_their_object_alone():
    segmentation = np.array([1, 2])
    target = np.full(2, rejected_value(1, else_unknown=True), np.uint8)
    counts = count_voxels(segmentation, target, {"a": 1, "b": 2})
    assert counts.tolist() == [[0, 1, 0], [0, 0, 0]]
