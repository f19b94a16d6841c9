"""The processes, called ranks, that train one network together: which one this is.

Each task that srun started is a rank. Elsewhere Lightning starts the ranks beside the first, which
run the same command line again, or torchrun starts them all. Standard library only.
"""

import logging
import os
import signal
from collections.abc import Mapping
from typing import Any

from octopi.errors import SettingError
from octopi.system.resources import variable_number
from octopi.system.worker_pool import signal_when_parent_ends

FIRST_RANK = "OCTOPI_FIRST_RANK"  # environment variable: the process that started the others
TORCHRUN = "TORCHELASTIC_RUN_ID"  # set by torchrun in the processes that it starts
# By which srun, Lightning and torchrun tell a process its rank.
RANK_VARIABLES = (
    *("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS"),
    *("SLURM_NTASKS_PER_NODE", "LOCAL_RANK", "NODE_RANK", "RANK", "WORLD_SIZE", FIRST_RANK),
)


def num_tasks() -> int:
    """Count the ranks that srun has started; 1 where it started none, or torchrun does."""
    return 1 if TORCHRUN in os.environ else variable_number("SLURM_STEP_NUM_TASKS")


def tasks_per_node() -> int:
    """Count the ranks that srun has started on each machine; 1 where it started none."""
    return max(1, num_tasks() // (variable_number("SLURM_STEP_NUM_NODES") or 1))


def is_secondary() -> bool:
    """Return whether this process is another rank than the first."""
    if num_tasks() > 1:
        return variable_number("SLURM_PROCID", 0) > 0
    names = ("RANK", "LOCAL_RANK", "NODE_RANK")
    return any(variable_number(name, 0) > 0 for name in names)


def prepare_secondary() -> None:
    """Log only warnings from another rank than the first, and end it with the first."""
    if is_secondary():
        logging.getLogger("octopi").setLevel(logging.WARNING)  # the first rank logs the same
        signal_when_parent_ends(signal.SIGKILL)
        if os.environ.get(FIRST_RANK, str(os.getppid())) != str(os.getppid()):
            os._exit(1)  # it ended before the line above


def without_rank(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a training that this process starts, which is no rank of it."""
    return {name: value for name, value in environment.items() if name not in RANK_VARIABLES}


def check_tasks(devices: Any, num_nodes: int) -> None:
    """Raise SettingError in every rank unless srun started a task for each device.

    Args:
        devices: of each node: a number or a list of them; another text is checked later, when
            the devices are known.
        num_nodes: machines that train together.
    """
    count = len(devices) if isinstance(devices, list) else devices
    if not str(count).isdecimal():
        return
    tasks, count = num_tasks(), int(count)
    if tasks == 1 and num_nodes > 1 and not {TORCHRUN, "NODE_RANK"} & os.environ.keys():
        raise SettingError(
            f"trainer.num_nodes={num_nodes} needs a task for each device: start it as srun "
            f"--nodes={num_nodes} --ntasks-per-node={count} octopi train …"
        )
    if tasks in (1, count * num_nodes):
        return
    per_node = tasks_per_node()
    raise SettingError(
        f"srun started {tasks} tasks, and each trains on one device; trainer.devices={count} with "
        f"trainer.num_nodes={num_nodes} are {count * num_nodes}. Type trainer.devices={per_node} "
        f"trainer.num_nodes={tasks // per_node}, or start one task, which starts the others: "
        "srun --ntasks=1 …"
    )


def check_one_device(trainer: Mapping[str, Any]) -> None:
    """Raise SettingError where one of several trainings would take more than one device.

    Args:
        trainer: the settings of Lightning's trainer.
    """
    devices, nodes = trainer.get("devices", 1), trainer.get("num_nodes", 1)
    if devices not in ("auto", -1, "-1", 1, "1") or nodes != 1:
        raise SettingError(
            "In a sweep, or where one command trains all folds, each training has one device and "
            "several train at once: leave trainer.devices at 1. CUDA_VISIBLE_DEVICES chooses the "
            "GPUs. To share a training among devices start it by itself (fold=0 num_folds=…)."
        )
