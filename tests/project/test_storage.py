import signal
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

from octopi.errors import DataError, ResourceError
from octopi.project import storage
from octopi.project.storage import (
    staged,
    storage_errors_as_data_error,
    storage_errors_as_resource_error,
)

FULL = Path("/dev/full")
KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from octopi.project.storage import staged
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


def test_a_block_that_fails_leaves_the_old_one_and_no_litter(tmp_path):
    target = tmp_path / "picks.json"
    target.write_text("old", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt), staged(target) as stage:
        stage.write_text("half", encoding="utf-8")
        raise KeyboardInterrupt
    assert target.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_writer_left_is_gone_after_the_next(tmp_path):
    target = tmp_path / "picks.json"
    done = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    (litter,) = tmp_path.iterdir()
    assert litter.name.startswith(".")
    with staged(target) as stage:
        stage.write_text("whole", encoding="utf-8")
    assert list(tmp_path.iterdir()) == [target]


def test_a_living_writer_of_the_same_target_keeps_its_stage(tmp_path):
    target = tmp_path / "picks.json"
    with staged(target) as outer:
        outer.write_text("outer", encoding="utf-8")
        with staged(target) as inner:
            inner.write_text("inner", encoding="utf-8")
        assert outer.exists()
    assert target.read_text(encoding="utf-8") == "outer"


def test_a_storage_failure_says_what_was_read():
    with (
        pytest.raises(DataError, match=r"The tomogram cannot be read: .*gone"),
        storage_errors_as_data_error("The tomogram"),
    ):
        raise ConnectionResetError("gone")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_full_disk_says_to_make_room():
    with (
        pytest.raises(ResourceError, match="Make room there") as caught,
        storage_errors_as_resource_error("Picks", str(FULL)),
    ):
        FULL.write_text("x", encoding="utf-8")
    assert caught.value.exit_code == 4


class Shaky:
    """Fails so many times before it answers."""

    def __init__(self, failures, error):
        self.left, self.error, self.asked = failures, error, 0

    def __call__(self):
        self.asked += 1
        if self.asked <= self.left:
            raise self.error
        return "there"


@pytest.fixture
def naps(monkeypatch):
    taken = []
    monkeypatch.setattr(storage.time, "sleep", taken.append)
    return taken


def test_remote_storage_is_asked_again_ever_later(naps):
    fetch = Shaky(3, ConnectionError("reset by peer"))
    assert storage.with_retries(fetch, fsspec.filesystem("memory")) == "there"
    assert naps == [1, 4, 16]


def test_remote_storage_that_stays_away_is_given_up(naps):
    fetch = Shaky(99, TimeoutError("no answer"))
    with pytest.raises(TimeoutError):
        storage.with_retries(fetch, fsspec.filesystem("memory"))
    assert fetch.asked == 4


@pytest.mark.parametrize("error", [FileNotFoundError("gone"), PermissionError("not yours")])
def test_what_waiting_does_not_mend_is_not_waited_for(naps, error):
    with pytest.raises(type(error)):
        storage.with_retries(Shaky(1, error), fsspec.filesystem("memory"))
    assert naps == []


def test_a_local_disk_is_asked_once(naps):
    with pytest.raises(OSError, match="broken"):
        storage.with_retries(Shaky(1, OSError("broken")), fsspec.filesystem("file"))
    assert naps == []
