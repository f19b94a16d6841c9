from pathlib import Path

import aiohttp
import asyncssh
import fsspec
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ProfileNotFound,
)
from s3fs.errors import translate_boto_error

from octopi.errors import MAX_MESSAGE_LENGTH, DataError, ResourceError
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


@pytest.mark.parametrize(
    "error",
    [
        translate_boto_error(ClientError({"Error": {"Code": code, "Message": "gone."}}, ""))
        for code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")
    ]
    + [NoCredentialsError(), ProfileNotFound(profile="gone")],
)
def test_keys_that_s3_refuses_end_the_work_and_are_to_be_corrected(error):
    for explained in (
        storage_errors_as_data_error("The tomogram"),
        storage_errors_as_resource_error("Picks", "s3://bucket"),
    ):
        with (
            pytest.raises(ResourceError, match="Correct or renew the keys of S3") as caught,
            explained,
        ):
            raise error
        assert ".." not in str(caught.value)
        assert len(str(caught.value)) <= MAX_MESSAGE_LENGTH


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


@pytest.mark.parametrize(
    "error", [FileNotFoundError("gone"), PermissionError("not yours"), NoCredentialsError()]
)
def test_a_missing_or_forbidden_file_is_not_retried(delays, error):
    with pytest.raises(type(error)):
        storage.with_retries(FailingFetch(1, error), fsspec.filesystem("memory"))
    assert delays == []


def test_a_local_disk_is_not_retried(delays):
    with pytest.raises(OSError, match="broken"):
        storage.with_retries(FailingFetch(1, OSError("broken")), fsspec.filesystem("file"))
    assert delays == []


def test_a_bucket_of_a_mistyped_name_is_refused_and_not_made(s3, files):
    files.overlay, files.access = "s3://mistyped/overlay", s3[1]
    with pytest.raises(ResourceError, match=r"bucket does not exist.*point overlay_root"):
        files.open().check_writable()
    assert "mistyped" not in fsspec.filesystem("s3", **files.access).ls("", refresh=True)


def test_a_portal_that_does_not_answer_is_named_with_the_cure():
    from gql.transport.exceptions import TransportConnectionFailed

    with (
        pytest.raises(ResourceError, match=r"not answer, or fails \(.*no route\).*network"),
        storage_errors_as_data_error("The list of runs"),
    ):
        raise TransportConnectionFailed("no route")
