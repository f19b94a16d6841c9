"""Values checked against annotations."""

from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter

from octopi import arguments
from octopi.arguments import fit
from octopi.errors import SettingError


def test_the_validator_of_an_annotation_is_made_once(monkeypatch: pytest.MonkeyPatch):
    made = []

    def make(annotation: Any, **keywords: Any) -> TypeAdapter[Any]:
        made.append(annotation)
        return TypeAdapter(annotation, **keywords)

    arguments.make_adapter.cache_clear()
    monkeypatch.setattr(arguments, "TypeAdapter", make)
    for _ in range(3):  # as for the attributes of each run's target
        assert fit({"a": 1.5}, dict[str, float], "radii") == {"a": 1.5}
        assert fit(["a"], list[str], "objects") == ["a"]
    assert made == [dict[str, float], list[str]]


def test_an_annotation_with_a_list_in_it_is_checked_too():
    annotation = Annotated[float, ["a note"]]
    assert fit(1.5, annotation, "key") == 1.5
    with pytest.raises(SettingError, match="key must be"):
        fit("text", annotation, "key")
