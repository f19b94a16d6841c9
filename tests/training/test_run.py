"""A training that is stopped says how it goes on."""

import signal
from pathlib import Path

import pytest

from octopi.training.run import stopped_error


@pytest.mark.parametrize(
    ("restarts", "num_finished", "asked"), [(0, 0, True), (3, 1, True), (1, 0, False)]
)
def test_a_job_that_was_too_short_for_an_epoch_is_not_started_for_ever(
    monkeypatch, tmp_path, restarts, num_finished, asked
):
    program = tmp_path / "scontrol"
    program.write_text(f"#!/bin/sh\necho $* >> {tmp_path}/requests\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))
    error = stopped_error(Path("job"), signal.SIGUSR1, 4, num_finished, requeues=True)
    assert (tmp_path / "requests").exists() is asked
    assert ("SLURM starts job 12 again" in str(error)) is asked
    assert ("Give it more time" in str(error)) is not asked
