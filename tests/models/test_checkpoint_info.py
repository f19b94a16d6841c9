"""What checkpoints say of their networks, one by one and together."""

import dataclasses
import logging

import pytest
from checkpoints import make_info

from octopi.errors import SettingError
from octopi.models.checkpoint_info import check_same_objects, combine_infos, parse_info


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"virus": 1, "ribosome": 2}}, "labels"),
        ({"labels": {"ribosome": 1}}, "labels"),
        ({"working_spacing": 10.0}, "working_spacing"),
        ({"voxel_spacing": 20.0}, "trained at 20 Å"),
    ],
)
def test_checkpoints_whose_scores_mean_different_things_are_refused(changes, message):
    with pytest.raises(SettingError, match=message):
        check_same_objects(["a.pth", "b.pth"], [make_info(), make_info(**changes)])


def test_one_working_spacing_makes_voxel_spacings_alike():
    infos = [make_info(working_spacing=20.0, voxel_spacing=spacing) for spacing in (5.0, 10.0)]
    check_same_objects(["a.pth", "b.pth"], infos)


def test_thresholds_of_several_checkpoints_are_the_mean_and_the_log_says_so(caplog):
    one = make_info(size_divisor=4)
    other = make_info(
        size_divisor=6,
        thresholds={"2": {"virus": 1}, "4": {"ribosome": 0.75, "virus": 0.25}},
    )
    with caplog.at_level(logging.INFO):
        assert combine_infos(["a.pth"], [one]) == one
        assert not caplog.text
        both = combine_infos(["a.pth", "b.pth"], [one, other])
    assert both.thresholds == {"4": {"ribosome": 0.5, "virus": 0.375}}
    assert both.size_divisor == 12
    assert "the mean of those of 2 checkpoints" in caplog.text


def test_picking_gets_the_objects_in_the_order_of_the_channels():
    info = make_info(labels={"virus": 2, "ribosome": 1}, radii={"virus": 135.0})
    assert info.picking.objects == info.object_names == ["ribosome", "virus"]
    assert info.picking.radii == {"virus": 135.0}
    assert info.picking.thresholds_at() == {"virus": 0.5}
    assert info.picking.beta == 4.0


def test_the_info_survives_a_round_trip_through_its_fields():
    info = make_info()
    assert parse_info(dataclasses.asdict(info), "best_model.pth") == info
