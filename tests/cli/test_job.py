"""What an error becomes on its way to the shell."""

import errno
import logging

import pytest

from octopi.cli import job
from octopi.errors import DataError, DivergedError, ResourceError, SettingError, StoppedBySignal


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingError("x"), 2),
        (DataError("x"), 3),
        (ResourceError("x"), 4),
        (OSError(errno.ENOSPC, "No space left on device", "f"), 4),
        (PermissionError(errno.EACCES, "Permission denied", "f"), 4),
        (MemoryError(), 4),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), 4),
        (DivergedError("x"), 5),
        (KeyboardInterrupt(), 130),
        (StoppedBySignal(143, "x"), 143),
    ],
)
def test_every_error_has_its_exit_code(error, code, capsys):
    assert job._report_error(error) == code
    err = capsys.readouterr().err
    assert err.startswith("octopi: ")
    assert "Traceback" not in err


def test_the_traceback_of_a_mistake_of_ours_is_in_the_log_or_on_the_screen(
    tmp_path, monkeypatch, capsys
):
    log = logging.FileHandler(tmp_path / "job.log", encoding="utf-8")
    for handlers, where in (([log], "is in the job's log file"), ([], "with the traceback above")):
        monkeypatch.setattr(logging.getLogger(), "handlers", handlers)
        assert job._report_error(RuntimeError("a mistake")) == 1
        err = capsys.readouterr().err
        said = "octopi: RuntimeError: a mistake\nThis looks like a mistake in octopi."
        assert err.startswith(said) == bool(handlers)  # else the traceback stands before it
        assert said in err
        assert where in err
    log.close()


def test_a_misspelt_group_is_answered_with_close_ones():
    said = "In 'train': Could not override 'serch'.\nKey 'serch' is not in struct"
    assert job.with_hint(said) == "There is no setting or group serch. Did you mean search?"


def test_an_unknown_choice_is_answered_with_close_ones():
    said = "In 'train': Could not find 'model/unett'\n\nAvailable options in 'model':\n\tunet\n"
    assert "Did you mean unet" in job.with_hint(said + "Config search path:\n\tprovider=hydra")
