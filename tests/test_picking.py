"""Which objects are picked, and from which score on."""

import pytest

from octopi.errors import DataError, SettingError
from octopi.picking import (
    DEFAULT_THRESHOLD,
    Chance,
    PickingInfo,
    beta_key,
    mean_chances,
    mean_thresholds,
)

STORED = {
    "objects": ["ribosome", "virus", "membrane"],
    "radii": {"ribosome": 150.0, "virus": 135.0},
    "thresholds": {"1": {"ribosome": 0.75, "virus": 0.5}, "4": {"ribosome": 0.25}},
    "beta": 4.0,
    "localizer": {"_target_": "octopi.localization.peaks.Peaks"},
}


@pytest.fixture
def info():
    return PickingInfo.from_score_map(STORED)


@pytest.mark.parametrize(("beta", "key"), [(4.0, "4"), (0.5, "0.5"), (1, "1")])
def test_whole_betas_are_stored_without_a_point(beta, key):
    assert beta_key(beta) == key


def test_the_stored_beta_decides_unless_another_is_requested(info):
    assert info.thresholds_at()["ribosome"] == 0.25
    assert info.thresholds_at(1)["ribosome"] == 0.75


def test_a_particle_whose_threshold_is_unknown_gets_the_default(info):
    assert info.thresholds_at()["virus"] == DEFAULT_THRESHOLD


def test_only_particles_have_thresholds(info):
    assert list(info.thresholds_at()) == ["ribosome", "virus"]
    with pytest.raises(SettingError, match=r"names membrane.* Objects: ribosome, virus"):
        info.thresholds_at(overrides={"membrane": 0.5})


def test_overrides_replace_all_thresholds_or_those_they_name(info):
    assert info.thresholds_at(overrides=0.1) == {"ribosome": 0.1, "virus": 0.1}
    assert info.thresholds_at(1, {"virus": 0.1}) == {"ribosome": 0.75, "virus": 0.1}


def test_a_beta_without_thresholds_is_refused_with_those_that_exist(info):
    with pytest.raises(SettingError, match=r"no thresholds for beta=3. There are for: 1, 4"):
        info.thresholds_at(3)
    with pytest.raises(SettingError, match=r"no thresholds for beta=3. There are for: none"):
        PickingInfo(["ribosome"], {"ribosome": None}).thresholds_at(3)


def test_a_threshold_beyond_1_is_refused():
    info = PickingInfo.from_score_map({**STORED, "thresholds": {"4": {"ribosome": 1.5}}})
    with pytest.raises(SettingError, match=r"threshold of ribosome must lie in .*, not 1\.5"):
        info.thresholds_at()


def test_a_score_map_without_objects_is_refused():
    with pytest.raises(DataError, match="does not say which objects"):
        PickingInfo.from_score_map({})


def test_in_a_label_volume_of_another_program_every_labelled_object_is_a_particle():
    info = PickingInfo.from_label_volume({}, ["virus", "ribosome"])
    assert info.objects == ["virus", "ribosome"]
    assert info.radii == {"virus": None, "ribosome": None}
    assert info.thresholds_at() == {"virus": 0.5, "ribosome": 0.5}


def test_a_label_volume_of_a_network_keeps_its_thresholds():
    info = PickingInfo.from_label_volume(STORED, STORED["objects"])
    assert info == PickingInfo.from_score_map(STORED)


def test_a_network_that_never_found_an_object_is_left_out_of_the_means():
    thresholds = [{"1": {"a": 0.2, "b": 0.3}}, {"1": {"a": 1.0, "b": 0.5}}]
    chances = [{"a": Chance(1.0, 2.0)}, {}]
    assert mean_thresholds(thresholds, chances) == {"1": {"a": 0.2, "b": 0.4}}
    assert mean_chances(chances) == {"a": Chance(1.0, 2.0)}
