"""What SLURM tells a job, and what a job asks of it."""

import pytest

from octopi.system import slurm


@pytest.mark.parametrize(
    ("count", "again"), [(None, False), ("", False), ("0", False), ("2", True)]
)
def test_a_job_knows_that_slurm_started_it_again(monkeypatch, count, again):
    if count is not None:
        monkeypatch.setenv("SLURM_RESTART_COUNT", count)
    assert slurm.is_restarted() is again


def test_without_a_job_nothing_is_requeued():
    assert slurm.requeue_job() == ""


def test_what_slurm_answers_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.setenv("SLURM_JOB_ID", "15")
    program = tmp_path / "scontrol"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    program.write_text('#!/bin/sh\n[ "$*" = "requeue 12_3" ]\n', encoding="utf-8")
    program.chmod(0o755)
    assert slurm.requeue_job() == "SLURM starts job 12_3 again, which goes on from there."
    program.write_text("#!/bin/sh\necho Job may not be requeued >&2; exit 1\n", encoding="utf-8")
    assert slurm.requeue_job() == ("SLURM does not start job 12_3 again: Job may not be requeued.")
