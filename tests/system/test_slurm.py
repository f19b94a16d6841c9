"""What SLURM tells a job, and what a job asks of it."""

import pytest

from octopi.errors import ResourceError
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


def test_jobs_submitted_from_a_job_take_none_of_its_settings(monkeypatch):
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    monkeypatch.setenv("SBATCH_ACCOUNT", "mine")
    with slurm.outside_job():
        assert slurm.os.environ["SBATCH_ACCOUNT"] == "mine"  # in no job it is the user's own
    names = ("SLURM_JOB_ID", "SLURM_MEM_PER_CPU", "SBATCH_MEM_PER_CPU")
    for name in names:
        monkeypatch.setenv(name, "1")
    with slurm.outside_job():
        assert not {*names, "SBATCH_ACCOUNT"} & slurm.os.environ.keys()
        assert slurm.os.environ["SLURM_CONF"] == "/etc/slurm.conf"
    assert {*names, "SBATCH_ACCOUNT"} <= slurm.os.environ.keys()


def test_the_states_of_arrays_are_read_by_task(monkeypatch, tmp_path):
    program = tmp_path / "squeue"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    program.write_text("#!/bin/sh\necho 7_0 RUNNING; echo 7_1 CANCELLED\n", encoding="utf-8")
    program.chmod(0o755)
    assert slurm.job_states(["7_0", "7_1"]) == {"7_0": "RUNNING", "7_1": "CANCELLED"}
    unknown = "#!/bin/sh\necho slurm_load_jobs error: Invalid job id specified >&2; exit 1\n"
    program.write_text(unknown, encoding="utf-8")
    assert slurm.job_states(["8"]) == {}


def test_a_controller_that_stays_silent_is_said(monkeypatch, tmp_path):
    program = tmp_path / "squeue"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    program.write_text("#!/bin/sh\necho Unable to contact >&2; exit 1\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(slurm, "RETRY_WAITS", (0, 0))
    with pytest.raises(ResourceError, match="Unable to contact"):
        slurm.job_states(["8"])


def test_a_job_runs_longer_than_the_steps_of_its_training():
    assert slurm.job_minutes("01:02:03:04") == 24 * 60 + 2 * 60 + 3 + 1 + 30
