import json

import pytest

from octopi.errors import DataError
from octopi.project import open_project


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
