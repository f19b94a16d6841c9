"""Strategies that damage files: values of the wrong kind, and bytes that are cut off or changed."""

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

HUGE = 10**30
NUMBERS = (
    st.sampled_from([0, -1, 1, 2**31, 2**63, HUGE, -HUGE, 1e308, -1e308, 1e-308, 0.5])
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.integers(-(2**40), 2**40)
)
TEXTS = st.sampled_from(
    ["", "a" * 70_000, "../../x", "/", "1e3", "no", "${oc.env:HOME}", "${x}", "\x00", "é🦠", "-1",
     "nan", "<f4", "|O", "|S0", "blosc", "0/0/0/0", "a.b", "_target_", "[1"]
)  # fmt: skip
NESTED = st.sampled_from([[[[[[[]]]]]], {"a": {"a": {"a": {}}}}, [{}], {"": None}])
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
ODD_VALUES = LEAVES | NESTED | st.lists(LEAVES, max_size=5) | st.just([0] * 5000)


def deep(depth: int) -> list[Any]:
    """Return a list in a list, and so on."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@st.composite
def damaged_values(draw: Any, sound: Any) -> Any:
    """Draw a copy of JSON content in which one to three values are other, missing or added."""
    content = {"": copy.deepcopy(sound)}
    for _ in range(draw(st.integers(1, 3))):
        *path, key = draw(st.sampled_from(sorted(_paths(content), key=repr)))
        holder = content
        for step in path:
            holder = holder[step]
        deed = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"]))
        if deed == "remove" and key != "":
            del holder[key]
        elif deed == "add" and isinstance(holder, dict) and key != "":
            holder[draw(st.sampled_from(["zzz", "1", "é", "_target_", "path"]))] = _odd(draw)
        else:
            holder[key] = _odd(draw)
    return content[""]


def _odd(draw: Any) -> Any:
    return copy.deepcopy(draw(ODD_VALUES))  # a further damage would change all later examples


def _paths(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list) and len(value) < 100:
            yield from _paths(value, (*path, key))


@st.composite
def damaged_bytes(draw: Any, sound: bytes) -> bytes:
    """Draw a file that was cut off, or in which some bytes are others, or of other content."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from([b"", b"null", b"[" * 100_000, b"[]", b"12", b"\xff\xfe\x00"]))
    content = bytearray(sound)
    if draw(st.booleans()):
        del content[draw(st.integers(0, len(content))) :]
    for _ in range(draw(st.integers(0, 4))):
        if content:
            place = draw(st.integers(0, len(content) - 1))
            content[place : place + draw(st.integers(0, 4))] = draw(st.binary(max_size=8))
    return bytes(content)
