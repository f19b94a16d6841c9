"""A damaged file is named in an error, whatever it holds."""

import json

import pytest

from octopi.errors import DataError
from octopi.system.files import absolute_sqlite_url, read_mapping


@pytest.mark.parametrize("content", [{"a": [1, None]}, {}])
def test_a_mapping_is_read_from_json_and_yaml(tmp_path, content):
    for name in ("a.json", "a.yaml"):
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
        assert read_mapping(tmp_path / name) == content


@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
@pytest.mark.parametrize(
    "damage",
    [
        b'{"a": [1',
        b"\xff\xfe\x00{",
        b"[" * 10_000,
        b"[1, 2]",
        b"12",
        b"",
        b"!!python/object:a.B {}",
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, damage):
    path = tmp_path / name
    path.write_bytes(damage)
    with pytest.raises(DataError, match=f"{path} is damaged"):
        read_mapping(path)


def test_the_url_of_a_sqlite_file_is_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert absolute_sqlite_url("sqlite:///a.db") == f"sqlite:///{tmp_path}/a.db"
    for url in (f"sqlite:///{tmp_path}/a.db", "sqlite://", "postgresql://lab@host/octopi"):
        assert absolute_sqlite_url(url) == url
