"""A lock ends with whoever holds it."""

import subprocess
import sys

import pytest

from octopi.errors import LockedError
from octopi.system import locks


def test_a_folder_in_use_says_by_whom(tmp_path):
    with locks.lock_folder(tmp_path):
        said = r"in use by process \d+ on .* since"
        with pytest.raises(LockedError, match=said) as caught, locks.lock_folder(tmp_path):
            pass
        assert caught.value.exit_code == 7
    with locks.lock_folder(tmp_path):
        pass


def test_a_lock_lives_on_in_a_child_and_ends_with_it(tmp_path):
    path = tmp_path / "claim"
    file = locks.try_lock(path)
    assert file is not None
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[file.fileno()]
    )
    file.close()
    assert locks.is_locked(path)
    assert locks.try_lock(path) is None
    child.communicate(b"\n")
    assert not locks.is_locked(path)
