"""What is said of jobs that SLURM refuses, and how long a job may run."""

import pytest

from octopi.errors import ResourceError, SettingError

pytest.importorskip("submitit", reason="the extra `slurm` is not installed")

from octopi.processes.slurm_jobs import refusal


@pytest.mark.parametrize(
    ("printed", "cure"),
    [
        ("sbatch: error: invalid partition specified: x\nsbatch: error: failed", "partition=…"),
        ("sbatch: error: Invalid generic resource (gres) specification", "gpus_per_node=…"),
        ("sbatch: error: Batch job submission failed: Invalid account", "account=…"),
        ("sbatch: error: Memory specification can not be satisfied", "mem_gb=…"),
        ("sbatch: error: CPU count per node can not be satisfied", "cpus_per_task=…"),
        ("sbatch: error: Requested time limit is invalid", "timeout_min=…"),
    ],
)
def test_a_refusal_quotes_sbatch_and_names_the_setting(printed, cure):
    error = refusal(printed)
    assert isinstance(error, SettingError)
    assert printed.splitlines()[0].removeprefix("sbatch: error: ") in str(error)
    assert f"hydra.launcher.{cure}" in str(error)


def test_a_controller_that_does_not_answer_is_no_wrong_setting():
    error = refusal("sbatch: error: Unable to contact slurm controller (connect failure)")
    assert isinstance(error, ResourceError)
    assert "Start the same command later" in str(error)
