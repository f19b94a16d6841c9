from pathlib import Path

import aiohttp
import asyncssh
import fsspec
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError
from s3fs.errors import translate_boto_error

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
        raise OSError("gone")


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError("gone"),
        TimeoutError("gone"),
        translate_boto_error(ClientError({"Error": {"Code": "SlowDown", "Message": "gone"}}, "")),
        translate_boto_error(ClientError({"Error": {"Code": "500", "Message": "gone"}}, "")),
        translate_boto_error(ClientError({"Error": {"Code": "504", "Message": "gone"}}, "")),
        ConnectTimeoutError(endpoint_url="gone"),
        EndpointConnectionError(endpoint_url="gone"),
        aiohttp.ServerDisconnectedError("gone"),
        asyncssh.ConnectionLost("gone"),
    ],
)
def test_a_server_that_does_not_answer_ends_the_work_with_4_and_says_what_is_kept(error):
    for explained, doing in (
        (storage_errors_as_data_error("The tomogram"), "The tomogram cannot be read: .*gone"),
        (storage_errors_as_resource_error("Picks", "a"), "Picks cannot be written to a: .*gone"),
    ):
        with pytest.raises(ResourceError, match=f"{doing}.*What was finished is kept"), explained:
            raise error


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_full_disk_says_to_make_room():
    with (
        pytest.raises(ResourceError, match="Make room there") as caught,
        storage_errors_as_resource_error("Picks", str(FULL)),
    ):
        FULL.write_text("x", encoding="utf-8")
    assert caught.value.exit_code == 4


class FailingFetch:
    """Raises an error a number of times before it returns."""

    def __init__(self, failures, error):
        self.failures, self.error, self.num_calls = failures, error, 0

    def __call__(self):
        self.num_calls += 1
        if self.num_calls <= self.failures:
            raise self.error
        return "there"


@pytest.fixture
def delays(monkeypatch):
    delays = []
    monkeypatch.setattr(storage.time, "sleep", delays.append)
    return delays


def test_remote_storage_is_retried_after_growing_delays(delays):
    fetch = FailingFetch(3, ConnectionError("reset by peer"))
    assert storage.with_retries(fetch, fsspec.filesystem("memory")) == "there"
    assert delays == [1, 4, 16]


def test_the_last_error_of_remote_storage_is_raised(delays):
    fetch = FailingFetch(99, TimeoutError("no answer"))
    with pytest.raises(TimeoutError):
        storage.with_retries(fetch, fsspec.filesystem("memory"))
    assert fetch.num_calls == 4


@pytest.mark.parametrize("error", [FileNotFoundError("gone"), PermissionError("not yours")])
def test_a_missing_or_forbidden_file_is_not_retried(delays, error):
    with pytest.raises(type(error)):
        storage.with_retries(FailingFetch(1, error), fsspec.filesystem("memory"))
    assert delays == []


def test_a_local_disk_is_not_retried(delays):
    with pytest.raises(OSError, match="broken"):
        storage.with_retries(FailingFetch(1, OSError("broken")), fsspec.filesystem("file"))
    assert delays == []


def test_a_portal_that_does_not_answer_is_named_with_the_cure():
    from gql.transport.exceptions import TransportConnectionFailed

    with (
        pytest.raises(ResourceError, match=r"not answer, or fails \(.*no route\).*network"),
        storage_errors_as_data_error("The list of runs"),
    ):
        raise TransportConnectionFailed("no route")
