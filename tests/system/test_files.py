"""Files are written complete or not at all, a damaged one is named, values become plain."""

import dataclasses
import enum
import errno
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from odd_names import NAMES
from omegaconf._yaml import get_yaml_loader

from octopi.errors import DataError
from octopi.system import files
from octopi.system.files import (
    absolute_sqlite_url,
    differing_values,
    read_json,
    read_mapping,
    read_yaml,
    staged,
    temporary_folder,
    to_builtin_types,
    write_json,
    write_yaml,
)

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


def test_a_pipe_or_device_is_never_replaced_by_a_file(tmp_path):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for target in (pipe, link):
        with pytest.raises(FileExistsError, match="no file"), staged(target) as stage:
            stage.touch()
    assert pipe.is_fifo()
    assert link.is_symlink()


@pytest.mark.parametrize(
    ("num_inodes", "num_free", "cause"),
    [(10, 0, "too many"), (10, 5, "No space"), (0, 0, "No space")],
)
def test_a_disk_with_too_many_files_is_told_from_a_full_one(
    tmp_path, monkeypatch, num_inodes, num_free, cause
):
    disk = os.statvfs_result((4096, 4096, 100, 90, 90, num_inodes, num_free, num_free, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _path: disk)
    with pytest.raises(OSError, match=cause), staged(tmp_path / "file"):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("read", [read_json, read_yaml])
def test_a_pipe_is_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="no file"):
        read(tmp_path / "pipe")


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


def test_what_a_killed_writer_of_another_file_left_is_removed_too(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(tmp_path / "a")], check=False)
    with temporary_folder(tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("age", [0, 8 * 24 * 3600])
def test_what_a_writer_of_another_machine_left_is_removed_after_a_week(tmp_path, age):
    leftover = tmp_path / f".octopi-stage-elsewhere-{os.getpid()}-0"
    leftover.mkdir()
    os.utime(leftover, (leftover.stat().st_atime, leftover.stat().st_mtime - age))
    write_json(tmp_path / "a", {})
    assert leftover.exists() == (age == 0)


def test_a_folder_of_many_files_is_listed_once(tmp_path, monkeypatch):
    swept = []
    monkeypatch.setattr(files, "sweep_leftovers", swept.append)
    for number in range(9):
        write_json(tmp_path / f"{number}", {})
    assert swept == [tmp_path]


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path):
    (tmp_path / "victim").mkdir()
    for victim in (tmp_path / "victim", tmp_path / "absent"):
        target = tmp_path / "target"
        target.symlink_to(victim)
        with staged(target) as stage:
            stage.mkdir()
        assert not target.is_symlink()
        target.rmdir()
    assert [path.name for path in tmp_path.iterdir()] == ["victim"]


def test_a_folder_is_replaced_where_two_cannot_change_places(tmp_path, monkeypatch):
    monkeypatch.setattr("octopi.system.files._exchange", lambda *_: False)
    test_a_staged_folder_replaces_the_old_one_wholly(tmp_path)


@pytest.mark.parametrize("hidden", [False, True])
def test_a_full_disk_is_told_with_file_need_and_free_space(tmp_path, hidden):
    target = tmp_path / "picks.json"
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space left") as told, staged(target) as stage:
        stage.write_bytes(bytes(3000))
        if hidden:  # as torch.save does
            raise RuntimeError("PytorchStreamWriter failed") from full
        raise full
    assert (told.value.errno, told.value.filename) == (errno.ENOSPC, str(target))
    assert "at least 3 kB are needed" in str(told.value)
    assert "free" in str(told.value)
    assert not list(tmp_path.iterdir())


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
        b"2020-13-45",
        b"a: &a [*a]",
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, damage):
    path = tmp_path / name
    path.write_bytes(damage)
    with pytest.raises(DataError, match=f"{path} is damaged"):
        read_mapping(path)


ALIASES = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{{', '.join(f'k{i}: *{old}' for i in range(9))}}}\n"
    for old, new in itertools.pairwise("abcdefghi")
)


@pytest.mark.parametrize("text", [ALIASES, "a: &a {b: *a}", "[" * 60 + "]" * 60, "a: [" * 5000])
def test_yaml_that_is_endless_with_its_aliases_written_out_is_refused(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="nested more than 50 deep, or holds more than"):
        read_mapping(path)


def test_the_url_of_a_sqlite_file_is_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert absolute_sqlite_url("sqlite:///a.db") == f"sqlite:///{tmp_path}/a.db"
    for url in (f"sqlite:///{tmp_path}/a.db", "sqlite://", "postgresql://lab@host/octopi"):
        assert absolute_sqlite_url(url) == url


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: np.ndarray
    name: Path


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float64(0.5), 0.5),
        (np.array(["a", "b"]), ["a", "b"]),
        (torch.tensor([1.0, 2.0]), [1.0, 2.0]),
        (Colour.RED, "red"),
        (Path("a/b"), "a/b"),
        ({1: (2, {3})}, {"1": [2, [3]]}),
        ({"x": 1}.keys(), ["x"]),
        (Point(np.array([1, 2]), Path("p")), {"x": [1, 2], "name": "p"}),
        ("text", "text"),
        (None, None),
        (abs, abs),
    ],
    ids=str,
)
def test_a_value_becomes_types_of_yaml(value, plain):
    assert to_builtin_types(value) == plain


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path):
    path = tmp_path / "settings.yaml"
    write_yaml(path, Point(np.array([1]), Path("p")))
    with pytest.raises(Exception, match="abs"):
        write_yaml(path, {"x": abs})
    with pytest.raises(TypeError):
        write_json(path, {("x", "y"): 1})
    assert read_yaml(path) == {"x": [1], "name": "p"}


def test_differing_keys_are_dotted():
    before = {"a": 1, "b": {"c": 2, "d": 3}}
    now = {"a": 1, "b": {"c": 4, "e": 3}, "f": None, "g": 1}
    assert list(differing_values(before, now)) == ["b.c", "b.d", "b.e", "g"]


@given(st.recursive(NAMES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner)))
def test_text_stays_text_in_yaml_also_for_omegaconf(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("yaml") / "a.yaml"
    write_yaml(path, {"a": content})
    assert read_yaml(path) == {"a": content}
    plain = yaml.load(path.read_text(encoding="utf-8"), Loader=get_yaml_loader())
    assert plain == {"a": content}


def test_a_mark_of_a_windows_editor_is_no_part_of_a_file(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml(path) == {"a": 1}


def test_tabs_are_named_with_their_line(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a:\n\tb: 1\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a.yaml is damaged: line 2: .*with blanks, not tabs"):
        read_mapping(path)
