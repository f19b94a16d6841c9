"""Which rank of a training a process is, and whether srun started one for each device."""

import pytest
from tiny import RUNS, TINY

from octopi.errors import SettingError
from octopi.system import ranks


def in_step(patch, *, tasks, number=0, nodes=1):
    """Set what srun sets in a task of a step."""
    patch.setenv("SLURM_STEP_NUM_TASKS", str(tasks))
    patch.setenv("SLURM_STEP_NUM_NODES", str(nodes))
    patch.setenv("SLURM_PROCID", str(number))


@pytest.mark.parametrize(("number", "secondary"), [(0, False), (1, True)])
def test_the_first_task_of_srun_is_the_first_rank(monkeypatch, number, secondary):
    in_step(monkeypatch, tasks=2, number=number)
    assert ranks.is_secondary() is secondary


@pytest.mark.parametrize("name", ["LOCAL_RANK", "NODE_RANK", "RANK"])
def test_lightning_and_torchrun_tell_a_process_its_rank(monkeypatch, name):
    assert not ranks.is_secondary()
    monkeypatch.setenv(name, "1")
    assert ranks.is_secondary()


@pytest.mark.parametrize("name", ["RANK", "SLURM_STEP_NUM_TASKS"])
def test_a_rank_that_is_no_number_is_refused_with_how_to_unset_it(monkeypatch, name):
    monkeypatch.setenv(name, "captain")
    with pytest.raises(SettingError, match=f"{name}=captain in the environment.*unset {name}"):
        ranks.is_secondary()
    monkeypatch.setenv(name, "")
    assert not ranks.is_secondary()


@pytest.mark.parametrize(
    ("tasks", "nodes", "devices", "num_nodes"),
    [(1, 1, 1, 1), (1, 1, 4, 1), (2, 1, 2, 1), (4, 2, 2, 2), (2, 1, [0, 1], 1), (3, 1, "auto", 1)],
)
def test_a_task_for_each_device_is_accepted(monkeypatch, tasks, nodes, devices, num_nodes):
    in_step(monkeypatch, tasks=tasks, nodes=nodes)
    ranks.check_tasks(devices, num_nodes)


@pytest.mark.parametrize(
    ("tasks", "nodes", "devices", "num_nodes", "cure"),
    [
        (2, 1, 1, 1, "trainer.devices=2 trainer.num_nodes=1"),
        (4, 2, 2, 1, "trainer.devices=2 trainer.num_nodes=2"),
        (2, 1, [0], 1, "srun --ntasks=1"),
        (1, 1, 2, 2, "srun --nodes=2 --ntasks-per-node=2"),
    ],
)
def test_other_numbers_are_refused_with_what_to_type(
    monkeypatch, tasks, nodes, devices, num_nodes, cure
):
    in_step(monkeypatch, tasks=tasks, nodes=nodes)
    with pytest.raises(SettingError, match=cure):
        ranks.check_tasks(devices, num_nodes)


@pytest.mark.parametrize("number", [0, 1])
def test_a_training_is_refused_by_each_task_where_they_are_not_its_devices(
    monkeypatch, here, octopi_command, capsys, number
):
    in_step(monkeypatch, tasks=2, number=number)
    monkeypatch.setattr(ranks, "prepare_secondary", lambda: None)  # this process is no rank
    assert octopi_command("train", *TINY, *RUNS) == 2
    assert "Type trainer.devices=2 trainer.num_nodes=1" in capsys.readouterr().err


def test_torchrun_inside_srun_counts_its_own_processes(monkeypatch):
    in_step(monkeypatch, tasks=2, nodes=2)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("RANK", "3")
    ranks.check_tasks(4, 2)
    assert ranks.is_secondary()


def test_a_training_that_a_task_starts_is_no_rank_of_it(monkeypatch):
    in_step(monkeypatch, tasks=2, number=1)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    environment = ranks.without_rank(ranks.os.environ)
    assert "SLURM_PROCID" not in environment
    assert "SLURM_STEP_NUM_TASKS" not in environment
    assert environment["SLURM_CPUS_PER_TASK"] == "4"


@pytest.mark.parametrize(
    "trainer", [{"devices": 2}, {"devices": [0, 1]}, {"devices": [1]}, {"num_nodes": 2}]
)
def test_one_of_several_trainings_takes_one_device(trainer):
    with pytest.raises(SettingError, match="CUDA_VISIBLE_DEVICES chooses the GPUs"):
        ranks.check_one_device(trainer)
    ranks.check_one_device({"devices": "auto", "num_nodes": 1})
    ranks.check_one_device({})
