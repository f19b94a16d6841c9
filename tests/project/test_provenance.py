"""What made an output is compared by content: a copy is the same, another volume is not."""

import pytest
from tiny_project import make_project

from octopi.errors import DataError, SettingError
from octopi.project.provenance import (
    check_same_painting,
    check_same_provenance,
    describe_differences,
    has_changed,
    identify_tomogram,
)


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path / "project", run_names=["TS_1"])


def test_a_touched_tomogram_is_the_same_and_a_replaced_one_is_not(project):
    run = project.runs[0]
    query = run.tomograms()[0]
    volume, grid = run.read_tomogram(query), run.tomogram_grid(query)
    origin = identify_tomogram(run, query, volume)
    assert not has_changed(run, query, origin)
    project.write_tomogram(run.name, query, volume, grid=grid)
    assert run.fingerprint(query) != origin["tomogram_stamp"]
    assert not has_changed(run, query, origin)
    volume[0, 0, 0] += 1
    project.write_tomogram(run.name, query, volume, grid=grid)
    assert has_changed(run, query, origin)
    assert has_changed(run, query, {})  # of an output that does not say what it was made of


def test_differences_name_the_key_and_both_values():
    stored, current = {"predictor": {"num_sides": 1, "halo": [8]}}, {"predictor": {"num_sides": 4}}
    text = describe_differences(stored, current)
    assert text == "predictor.num_sides is 1, not 4, predictor.halo is [8], not None"
    assert describe_differences(stored, stored) == ""
    assert describe_differences({"a": "x" * 99}, {"a": 1}) == "a differs"
    check_same_provenance("It", stored, stored)
    with pytest.raises(SettingError, match=r"It was made in another way: .*overwrite=true"):
        check_same_provenance("It", stored, current)


def test_targets_of_other_radii_or_labels_are_not_mixed():
    first = {"labels": {"a": 1}, "sphere_radii": {"a": 40.0}, "picks_digests": {"a": "1"}}
    check_same_painting("TS_2", {**first, "picks_digests": {"a": "2"}}, "TS_1", first)
    check_same_painting("TS_2", {}, "TS_1", first)  # of another program
    with pytest.raises(DataError, match=r"sphere_radii\.a is 90.0, not 40.0"):
        check_same_painting("TS_2", {**first, "sphere_radii": {"a": 90.0}}, "TS_1", first)
    with pytest.raises(DataError, match=r"TS_2.*labels\.a is 2, not 1.*one create_targets"):
        check_same_painting("TS_2", {**first, "labels": {"a": 2}}, "TS_1", first)
