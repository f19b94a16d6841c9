"""Files that only one process can make, and what a listing of them says."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest

from octopi.errors import LockedError, ResourceError
from octopi.project import work_folder
from octopi.project.work_folder import Claim, Listing, WorkFolder, file_name, new_worker_id


@pytest.fixture
def folder(anywhere):
    """The work folder of an output on each backend."""
    fs, root = anywhere.overlay_files()
    fs.makedirs(f"{root}/work", exist_ok=True)
    return WorkFolder(fs, f"{root}/work")


def test_one_of_many_makes_a_file(folder):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda i: folder.create("claim.TS_1.1", str(i)), range(8)))
    assert sum(made) == 1
    assert folder.read("claim.TS_1.1") == str(made.index(True))


def test_a_file_that_was_made_although_its_answer_was_lost_is_ours(folder):
    assert folder.create("claim.TS_1.1", "me")
    assert folder.create("claim.TS_1.1", "me")
    assert not folder.create("claim.TS_1.1", "you")


def test_every_storage_of_the_tests_keeps_two_processes_apart(folder):
    assert folder.is_exclusive()
    assert not folder.list_files().modified


def test_a_storage_that_lets_both_make_a_file_is_found_out(folder, monkeypatch):
    opened, piped = type(folder.fs).open, folder.fs.pipe_file
    monkeypatch.setattr(
        type(folder.fs), "open", lambda fs, path, mode, **k: opened(fs, path, "wb", **k)
    )
    monkeypatch.setattr(folder.fs, "pipe_file", lambda path, content, mode: piped(path, content))
    assert not folder.is_exclusive()


def test_a_folder_where_nothing_can_be_made_is_named(tmp_path):
    folder = WorkFolder(fsspec.filesystem("file"), str(tmp_path / "absent"))
    with pytest.raises(ResourceError, match="absent is not there any more"):
        folder.create("job.1", "{}")
    assert not (tmp_path / "absent").exists()


def test_a_folder_that_cannot_be_made_is_named_with_the_cure(tmp_path):
    (tmp_path / "file").touch()
    folder = WorkFolder(fsspec.filesystem("file"), str(tmp_path / "file" / "work"))
    with pytest.raises(ResourceError, match=r"Not a directory.*point overlay_root"):
        folder.is_exclusive()


def test_a_listing_names_jobs_claims_and_what_is_done(folder):
    for name in ("job.1", "job.12", "done.12.TS_1", "done.1.TS_2", "claim.a.b.2", "claim.a.b.1"):
        folder.create(name, "x")
    listing = folder.list_files()
    assert listing.newest_job() == 12
    assert listing.done(12) == {"TS_1"}
    assert listing.claims() == {"a.b": 2}
    folder.remove("job.12")
    folder.remove("job.12")
    assert folder.list_files().newest_job() == 1
    assert WorkFolder(folder.fs, f"{folder.path}/none").list_files().modified == {}


def test_a_mapping_is_read_back_and_half_of_one_is_none(folder):
    folder.write_mapping("worker.x", {"job": 3})
    assert folder.read_mapping("worker.x") == {"job": 3}
    folder.create("worker.y", '{"job": ')
    assert folder.read_mapping("worker.y") == folder.read_mapping("worker.z") == {}


def test_a_claim_that_was_taken_over_refuses_a_write(folder):
    first = Claim(folder, "TS_1", 1, "me", job=1)
    folder.create(first.file(1), "me")
    first.check()
    second = Claim(folder, "TS_1", 2, "you", job=1)
    folder.create(second.file(2), "you")
    with pytest.raises(LockedError, match="may have taken over its runs"):
        first.check()
    second.check()
    second.finish()
    with pytest.raises(LockedError):
        first.check()
    assert set(folder.list_files().modified) == {"done.1.TS_1"}


def test_a_worker_is_alive_while_it_shows_it(monkeypatch):
    worker = "another-host-1-42-abc"
    listing = Listing({f"worker.{worker}": 1000.0})
    assert listing.is_alive(worker, now=1000.0 + work_folder.LEASE - 1)
    assert not listing.is_alive(worker, now=1000.0 + work_folder.LEASE)
    assert not listing.is_alive("another-host-1-43-abc", now=1000.0)


def test_a_worker_of_this_machine_without_a_process_is_dead_at_once():
    process = subprocess.Popen(["true"])
    process.wait()
    dead = new_worker_id().replace(f"-{os.getpid()}-", f"-{process.pid}-")
    for worker, is_alive in ((dead, False), (new_worker_id(), True)):
        assert Listing({f"worker.{worker}": 0.0}).is_alive(worker, now=1.0) == is_alive
    assert new_worker_id().split("-")[-2] == str(os.getpid())


@pytest.mark.parametrize("name", ["TS_1", "a/b", "..", "ä" * 200, "x" * 250, "a b.c"])
def test_the_name_of_any_run_is_that_of_a_file(name):
    stored = file_name(name)
    assert "/" not in stored
    assert len(f"claim.{stored}.1".encode()) < 255
    assert stored != file_name(f"{name}x")
