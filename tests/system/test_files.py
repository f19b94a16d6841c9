"""Files are written complete or not at all; a damaged one is named in the error."""

import json
import signal
import subprocess
import sys

import pytest

from octopi.errors import DataError
from octopi.system.files import absolute_sqlite_url, read_mapping, staged

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from octopi.system.files import staged
with staged(Path(sys.argv[1])) as stage:
    stage.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_staged_file_replaces_the_old_one_at_the_end(tmp_path):
    target = tmp_path / "new" / "picks.json"
    for text in ("one", "two"):
        with staged(target) as stage:
            stage.write_text(text, encoding="utf-8")
        assert target.read_text(encoding="utf-8") == text
    assert list(target.parent.iterdir()) == [target]


def test_a_staged_folder_replaces_the_old_one_wholly(tmp_path):
    target = tmp_path / "labels.zarr"
    for name in ("old", "new"):
        with staged(target) as stage:
            stage.mkdir()
            (stage / name).touch()
    assert [p.name for p in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_block_that_fails_leaves_the_old_one_and_nothing_else(tmp_path):
    target = tmp_path / "picks.json"
    target.write_text("old", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt), staged(target) as stage:
        stage.write_text("half", encoding="utf-8")
        raise KeyboardInterrupt
    assert target.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path):
    target = tmp_path / "picks.json"
    done = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    (leftover,) = tmp_path.iterdir()
    assert leftover.name.startswith(".")
    with staged(target) as stage:
        stage.write_text("whole", encoding="utf-8")
    assert list(tmp_path.iterdir()) == [target]


def test_a_running_writer_of_the_same_target_keeps_its_stage(tmp_path):
    target = tmp_path / "picks.json"
    with staged(target) as outer:
        outer.write_text("outer", encoding="utf-8")
        with staged(target) as inner:
            inner.write_text("inner", encoding="utf-8")
        assert outer.exists()
    assert target.read_text(encoding="utf-8") == "outer"


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
