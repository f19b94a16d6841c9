import logging
from dataclasses import replace

import numpy as np
import pytest

from octopi.errors import DataError, NotInProjectError, SettingError
from octopi.geometry import Grid
from octopi.project.queries import PicksQuery, SegmentationQuery, TomogramQuery

OURS = PicksQuery("ribosome", "octopi", "1")
TARGETS = SegmentationQuery("targets", "octopi", "1", 10.0)
WBP = TomogramQuery("wbp", 10.0)
GRID = Grid.cubic((8, 8, 8), 10)


@pytest.fixture
def run(files):
    files.add_tomogram(files.noise())
    return files.run()


@pytest.fixture
def several(files):
    for name, folder in (("wbp", "10.000"), ("wbp", "10.012"), ("sirt", "20.000")):
        files.add_tomogram(files.noise(), name=name, folder=folder, scale=float(folder))
    return files.run()


def _labels(fill=1):
    return np.full((8, 8, 8), fill, dtype=np.uint8)


# Tomograms


def test_tomograms_are_listed_by_spacing_and_type(several):
    assert [str(q) for q in several.tomograms()] == ["wbp@10.0", "wbp@10.012", "sirt@20.0"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (("wbp", 10.012), "wbp@10.012"),
        (("wbp", 10.0119), "wbp@10.012"),
        (("wbp", 9.95), "wbp@10.0"),
        (("sirt", None), "sirt@20.0"),
        ((None, 20), "sirt@20.0"),
    ],
)
def test_a_tomogram_is_found_by_type_and_nearest_spacing(several, query, expected):
    assert str(several.find_tomogram(*query)) == expected


@pytest.mark.parametrize(("spacing", "warns"), [(20.0, False), (20.01, False), (20.1, True)])
def test_a_spacing_off_by_more_than_a_thousandth_is_warned_of(several, caplog, spacing, warns):
    caplog.set_level(logging.INFO)
    several.find_tomogram("sirt", spacing)
    text = f"Requested a tomogram of {spacing} Å; taking the nearest spacing: sirt@20.0."
    assert (text in caplog.text) == warns


@pytest.mark.parametrize("query", [("wpb", 10.0), ("wbp", 13.48), ("sirt", 19.7), ("wbp", 20.0)])
def test_a_tomogram_that_does_not_exist_is_refused_with_those_that_do(several, query):
    with pytest.raises(NotInProjectError, match=r"It has: sirt@20.0, wbp@10.0, wbp@10.012"):
        several.find_tomogram(*query)


@pytest.mark.parametrize("query", [("wbp", None), (None, None)])
def test_one_of_several_must_be_named(several, query):
    with pytest.raises(SettingError, match=r"more than one tomogram.*wbp@10\.0, wbp@10\.012"):
        several.find_tomogram(*query)


@pytest.mark.parametrize("folder", ["0.100", "1000.000"])
def test_a_spacing_that_no_tomogram_has_is_refused(files, folder):
    files.add_tomogram(files.noise(), folder=folder, scale=float(folder))
    run = files.run()
    (query,) = run.tomograms()
    with pytest.raises(DataError, match=r"TS_1: tomogram .* those of tomograms have 0\.5 to 100 Å"):
        run.tomogram_grid(query)


def test_a_query_for_another_run_is_an_error(several):
    with pytest.raises(NotInProjectError, match=r"TS_1 has no tomogram wbp@13\.0"):
        several.read_tomogram(TomogramQuery("wbp", 13.0))


# Segmentations


def test_a_label_volume_comes_back_with_grid_and_attributes(run):
    labels = np.arange(512, dtype=np.uint16).reshape(8, 8, 8).astype(np.uint8)
    grid = Grid((8, 8, 8), (10.0, 10.0123, 9.99))
    run.write_segmentation(TARGETS, labels, grid=grid, attributes={"labels": {"ribosome": 1}})
    assert run.segmentations() == [TARGETS]
    read, read_grid, attributes = run.read_segmentation(replace(TARGETS, voxel_spacing=None))
    np.testing.assert_array_equal(read, labels)
    assert (read_grid, attributes) == (grid, {"labels": {"ribosome": 1}})


def test_a_target_may_be_coarser_than_its_tomogram(run):
    query = replace(TARGETS, voxel_spacing=20.0241)
    coarse = Grid.cubic((4, 4, 4), 20.0241)
    run.write_segmentation(query, _labels()[:4, :4, :4], grid=coarse, attributes={})
    assert [str(q) for q in run.segmentations()] == ["targets:octopi/1@20.024"]
    assert run.read_segmentation(query)[1] == coarse


def test_a_segmentation_of_several_spacings_must_be_named_with_one(run):
    for spacing in (10.0, 20.0):
        grid, query = Grid.cubic((8, 8, 8), spacing), replace(TARGETS, voxel_spacing=spacing)
        run.write_segmentation(query, _labels(), grid=grid, attributes={})
    with pytest.raises(SettingError, match=r"targets:octopi/1@10\.0, targets:octopi/1@20\.0"):
        run.read_segmentation(replace(TARGETS, voxel_spacing=None))
    assert run.read_segmentation(replace(TARGETS, voxel_spacing=20.1))[1].spacing == (20,) * 3


def test_a_segmentation_that_does_not_exist_is_refused_with_those_that_do(run):
    run.write_segmentation(TARGETS, _labels(), grid=GRID, attributes={})
    with pytest.raises(NotInProjectError, match=r"target:octopi/1.*It has: targets:octopi/1@10\.0"):
        run.read_segmentation(SegmentationQuery("target", "octopi", "1"))


def test_labels_that_do_not_fit_their_grid_are_refused(run):
    with pytest.raises(ValueError, match="not"):
        run.write_segmentation(TARGETS, _labels(), grid=Grid.cubic((8, 8, 9), 10), attributes={})
    assert run.segmentations() == []


# Score maps


def test_a_score_map_comes_back_with_grid_and_attributes(run):
    scores = np.random.default_rng(0).integers(0, 255, (2, 4, 4, 4), dtype=np.uint8)
    grid = Grid.cubic((4, 4, 4), 20)
    assert not run.has_score_map(WBP, "unet")
    run.write_score_map(WBP, "unet", scores, grid=grid, attributes={"names": ["ribosome"]})
    assert run.has_score_map(WBP, "unet")
    assert run.score_maps() == [(WBP, "unet")]
    assert run.tomograms() == [WBP]
    read, read_grid, attributes = run.read_score_map(WBP, "unet")
    np.testing.assert_array_equal(read, scores)
    assert (read_grid, attributes) == (grid, {"names": ["ribosome"]})


@pytest.mark.parametrize("value", [np.float32("nan"), np.float32(-20), np.float16(2), np.uint16(9)])
def test_a_score_map_whose_values_are_no_scores_is_refused(run, value):
    scores = np.zeros((1, 8, 8, 8), value.dtype)
    scores[0, 4, 4, 4] = value
    run.write_score_map(WBP, "unet", scores, grid=GRID, attributes={})
    with pytest.raises(DataError, match=r"unet.* holds .*floats of 0 to 1.*Compute"):
        run.read_score_map(WBP, "unet")


def test_a_score_map_of_floats_from_0_to_1_is_read_as_it_is(run):
    scores = np.linspace(0, 1, 512, dtype=np.float32).reshape(1, 8, 8, 8)
    run.write_score_map(WBP, "unet", scores, grid=GRID, attributes={})
    np.testing.assert_array_equal(run.read_score_map(WBP, "unet")[0], scores)


def test_an_unfinished_score_map_is_not_there(files, run):
    run.write_score_map(WBP, "unet", _labels()[None], grid=GRID, attributes={})
    files.remove("VoxelSpacing10.000/wbp_unet_features.zarr/.zattrs")
    assert not run.has_score_map(WBP, "unet")
    assert run.score_maps() == []


def test_features_of_another_program_are_told_from_a_score_map(files):
    files.add_tomogram(files.noise())
    files.add_tomogram(files.noise()[None], name="wbp_unet_features", chunks=(1, 4, 4, 4))
    run = files.run()
    assert run.is_foreign_score_map(WBP, "unet")
    assert not run.has_score_map(WBP, "unet")
    assert not run.is_foreign_score_map(WBP, "resnet")
    run.write_score_map(WBP, "resnet", _labels()[None], grid=GRID, attributes={})
    assert not run.is_foreign_score_map(WBP, "resnet")


def test_a_score_map_that_does_not_exist_is_refused_with_those_that_do(run):
    run.write_score_map(WBP, "unet", _labels()[None], grid=GRID, attributes={})
    with pytest.raises(NotInProjectError, match=r"no score map unett.*It has: unet"):
        run.read_score_map(WBP, "unett")


def test_a_score_map_with_an_illegal_name_is_refused(run):
    with pytest.raises(SettingError, match="my-net"):
        run.write_score_map(WBP, "my_net", _labels()[None], grid=GRID, attributes={})
