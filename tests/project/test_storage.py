from pathlib import Path

import fsspec
import pytest

from octopi.errors import DataError, ResourceError
from octopi.project import storage
from octopi.project.storage import (
    storage_errors_as_data_error,
    storage_errors_as_resource_error,
)

FULL = Path("/dev/full")


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
