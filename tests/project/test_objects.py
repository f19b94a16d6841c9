import json

import pytest

from octopi.errors import DataError
from octopi.geometry import Grid
from octopi.project import open_project
from octopi.project.objects import check_labels, object_labels, require_labels, volume_labels


def _ribosome(**fields):
    return [{"name": "ribosome", "is_particle": True, "label": 1, "radius": 150.0, **fields}]


def test_objects_keep_radius_label_and_kind(files):
    objects = files.open().objects
    assert list(objects) == ["ribosome", "apo-ferritin", "membrane"]
    assert (objects["ribosome"].radius, objects["ribosome"].label) == (150.0, 1)
    assert (objects["membrane"].radius, objects["membrane"].is_particle) == (None, False)


@pytest.mark.parametrize(
    ("metadata", "weight"),
    [({"score_weight": 2, "weight": 1}, 2.0), ({"weight": 3}, 3.0), ({}, 1.0), (None, 1.0)],
)
def test_the_weight_is_score_weight_else_weight_else_one(files, metadata, weight):
    config = files.config(pickable_objects=_ribosome(metadata=metadata))
    assert open_project(config).objects["ribosome"].weight == weight


@pytest.mark.parametrize("weight", ["high", -1, float("nan")])
def test_a_weight_that_is_no_weight_is_an_error(files, weight):
    config = files.config(pickable_objects=_ribosome(metadata={"weight": weight}))
    with pytest.raises(DataError, match="ribosome has the weight"):
        open_project(config)


@pytest.mark.parametrize("field", ["radius", "label"])
def test_configs_that_disagree_about_an_object_are_refused_by_name(files, field):
    one = files.config("one.json", pickable_objects=_ribosome())
    two = files.config("two.json", pickable_objects=_ribosome(**{field: 7}))
    with pytest.raises(DataError, match=rf"ribosome has the {field} .*one.json but 7.*two.json"):
        open_project([one, two])


def test_configs_together_hold_the_objects_of_each(files):
    one = files.config("one.json", pickable_objects=_ribosome())
    other = json.loads(files.config("two.json").read_text(encoding="utf-8"))["pickable_objects"][1:]
    two = files.config("two.json", pickable_objects=other)
    assert list(open_project([one, two]).objects) == ["ribosome", "apo-ferritin", "membrane"]


@pytest.mark.parametrize("radius", [0, -60, float("nan"), float("inf")])
def test_a_radius_that_is_none_is_refused_where_it_is_needed(files, radius):
    objects = open_project(files.config(pickable_objects=_ribosome(radius=radius))).objects
    with pytest.raises(DataError, match=f"Object ribosome has the radius {radius} in the copick"):
        objects["ribosome"].require_radius()


@pytest.mark.parametrize(
    ("radius", "message"),
    [
        (9, "less than a voxel (10 Å)"),
        (200, "more than a quarter of the volume (640 Å)"),
        (10, None),
        (160, None),
        (None, None),
    ],
)
def test_a_radius_in_other_units_is_described(files, radius, message):
    objects = open_project(files.config(pickable_objects=_ribosome(radius=radius))).objects
    text = objects["ribosome"].odd_radius(Grid.cubic((32, 64, 64), 10))
    assert text is None if message is None else message in text


def test_objects_that_share_a_label_are_refused_by_name(files):
    entries = [*_ribosome(), *(entry | {"name": "apo"} for entry in _ribosome())]
    objects = open_project(files.config(pickable_objects=entries)).objects
    with pytest.raises(DataError, match="the label 1 to ribosome, apo;"):
        object_labels(objects)
    assert volume_labels({"labels": {"apo": 2}}, objects) == {"apo": 2}


def test_a_negative_label_is_refused_by_name(files):
    objects = open_project(files.config(pickable_objects=_ribosome(label=-3))).objects
    with pytest.raises(DataError, match="the label -3 to ribosome;"):
        object_labels(objects)


def test_thousands_of_unknown_labels_are_named_in_a_short_message():
    with pytest.raises(
        DataError, match=r"labels 2, 3, 4, 5, 6, … and 131065 more.*instances"
    ) as refused:
        check_labels(range(131072), {"apo": 1}, {}, where="The volume", advice="Mend it.")
    assert len(str(refused.value)) < 250


def test_unknown_voxels_belong_to_targets_of_a_region_only():
    labels = {"apo": 1}
    check_labels([0, 1, 255], labels, {"annotated": "region:me/1"}, where="It", advice="")
    with pytest.raises(DataError, match="the labels 255"):
        check_labels([0, 1, 255], labels, {}, where="It", advice="")


def test_marks_of_rejected_places_belong_to_targets_that_have_them():
    attributes = {"labels": {"apo": 1, "ribo": 2}, "rejected": {"ribo": "ribo:me-rejected/1"}}
    labels = attributes["labels"]
    check_labels([0, 1, 2, 253], labels, attributes, where="It", advice="")
    with pytest.raises(DataError, match="the labels 254, 255"):
        check_labels([0, 1, 253, 254, 255], labels, attributes, where="It", advice="")


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"labels": {"apo": 255}}, "a label above 254"),
        ({"labels": {"apo": 128}, "rejected": {"apo": "apo:a/1"}}, "a label above 84"),
        ({"labels": {"apo": 1}, "rejected": {"ribo": "ribo:a/1"}}, "says how ribo is annotated"),
        ({"labels": {"apo": 1}, "not_annotated": ["ribo"]}, "says how ribo is annotated"),
        ({"labels": {"apo": 1}, "annotation": {"ribo": "partial"}}, "says how ribo is annotated"),
    ],
)
def test_a_target_whose_attributes_do_not_fit_together_is_refused(attributes, message):
    with pytest.raises(DataError, match=message):
        require_labels({"picks": {}, **attributes}, "The target")
