"""What this process may use: its affinity and its control groups, not the whole machine."""

import os

import pytest

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
