"""What this process may use: its affinity and its control groups, not the whole machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import octopi
from octopi.errors import ResourceError
from octopi.system import resources


@pytest.fixture
def free_memory(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text(
        "MemTotal: 99 kB\nMemAvailable: 16000000 kB\n", encoding="utf-8"
    )
    monkeypatch.setattr(resources, "MEMINFO", tmp_path / "meminfo")


def test_the_limits_of_a_container_are_heeded(control_groups, free_memory):
    control_groups({
        "job/memory.max": "max", "memory.max": "4000000000", "memory.current": "1500000000",
        "memory.stat": "anon 5\ninactive_file 500000000", "job/cpu.max": "100000 100000",
    })  # fmt: skip
    assert resources.memory() == 3_000_000_000
    assert resources.num_cores() == 1


def test_the_limits_of_an_old_container_are_heeded(control_groups, free_memory):
    control_groups({
        "memory/job/memory.limit_in_bytes": "2000000000",
        "memory/job/memory.usage_in_bytes": "500000000",
        "cpu/job/cpu.cfs_quota_us": "150000", "cpu/job/cpu.cfs_period_us": "100000",
    }, line="4:memory:/job\n3:cpu:/job")  # fmt: skip
    assert resources.memory() == 1_500_000_000
    assert resources.num_cores() == 1


def test_without_limits_the_free_memory_and_the_affinity_count(control_groups, free_memory):
    control_groups({"memory.max": "max", "cpu.max": "max 100000"})
    assert resources.memory() == 16_384_000_000
    assert resources.num_cores() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("variables", "cores"),
    [
        ({"SLURM_CPUS_PER_TASK": "2", "SLURM_CPUS_ON_NODE": "8"}, 2),
        ({"SLURM_CPUS_ON_NODE": "3"}, 3),
        ({"SLURM_CPUS_ON_NODE": "8", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2"}, 4),
        ({"SLURM_CPUS_PER_TASK": "64"}, 8),
    ],
)
def test_slurm_bounds_the_cores_where_it_does_not_bind_the_process(monkeypatch, variables, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert resources.num_cores() == cores


@pytest.mark.parametrize(
    ("typed", "processes", "threads"),
    [(None, 1, 8), (None, 3, 2), (None, 20, 1), ("1", 1, 1), ("4,2", 1, 4), ("64", 2, 4)],
)
def test_processes_share_the_cores_and_the_users_number_is_an_upper_bound(
    monkeypatch, typed, processes, threads
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS")
    if typed is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", typed)
    assert resources.num_threads(processes) == threads


def test_torch_computes_with_the_cores_of_the_job_and_its_threads_hardly_spin(tmp_path):
    report = "import os, torch; print(torch.get_num_threads(), os.environ.get('GOMP_SPINCOUNT'))"
    (tmp_path / "octopi").write_text(f"import octopi\n{report}\n", encoding="utf-8")
    path = str(Path(octopi.__file__).parents[1])
    given = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | {"PYTHONPATH": path}
    job = {"SLURM_CPUS_PER_TASK": "1"}
    for variables, printed in (
        (job, "1 1000"),
        (job | {"GOMP_SPINCOUNT": "7"}, "1 7"),
        (job | {"OMP_WAIT_POLICY": "ACTIVE"}, "1 None"),
    ):
        command = [sys.executable, str(tmp_path / "octopi")]
        done = subprocess.run(
            command, env=given | variables, capture_output=True, encoding="utf-8", check=False
        )
        assert done.stdout.strip() == printed, done.stderr


def test_octopi_can_be_imported_whatever_slurms_variables_hold():
    given = os.environ | {"SLURM_CPUS_PER_TASK": "2(x3)"}
    command = [sys.executable, "-m", "octopi.status", "--help"]
    assert subprocess.run(command, env=given, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("path", ["/proc/new", "/proc/self/new", "/sys/kernel/new/below"])
def test_the_files_of_the_kernel_are_no_place_to_write_whoever_asks(path):
    with pytest.raises(ResourceError, match=f"written to {path}: .* cannot be written. Elsewhere"):
        resources.check_writable(path, "Elsewhere.")


def test_a_folder_that_can_be_made_is_not_made(tmp_path):
    resources.check_writable(tmp_path / "new" / "below", "Elsewhere.")
    assert not (tmp_path / "new").exists()
