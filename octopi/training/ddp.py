"""Training on several devices: a process, a rank, for each.

All train and validate as the first does; only the first writes.
"""

import datetime
import os
import socket
from collections.abc import Mapping
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from torch import nn

from octopi.config.settings import TrainSettings
from octopi.errors import OctopiError, ResourceError
from octopi.models.devices import count_devices
from octopi.models.properties import unused_parameters
from octopi.system import ranks, resources

START_TIMEOUT = datetime.timedelta(minutes=5)  # for all ranks to import what they need
PORTS = range(1024, 65536)
PORT_DISTANCE = 10_000  # of the port at which the ranks meet first from that of the training


class SrunEnvironment(SLURMEnvironment):
    """The ranks that srun started, by `--ntasks` or `--ntasks-per-node`; octopi requeues itself."""

    def __init__(self) -> None:
        super().__init__(auto_requeue=False)

    @staticmethod
    def _validate_srun_used() -> None:
        """Do without the hint that there is an srun."""

    @staticmethod
    def _validate_srun_variables() -> None:
        """Accept `--ntasks`: `ranks.check_tasks` has compared it with the devices."""

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Accept them: `ranks.check_tasks` has compared them with the tasks."""

    @property
    def main_address(self) -> str:
        """The address of the first rank.

        Raises:
            ResourceError: the name of its machine does not resolve.
        """
        if os.environ.get("SLURM_STEP_NUM_NODES", "1") == "1":
            os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        name = super().main_address
        try:
            socket.getaddrinfo(name, None)
        except OSError as error:
            raise ResourceError(
                f"The ranks cannot find the first of them: the name of its machine, {name}, does "
                "not resolve. Set MASTER_ADDR to its address in the job script."
            ) from error
        return name


def environment_plugins() -> dict[str, Any]:
    """Return the trainer's argument that says who starts the ranks, where SLURM is involved."""
    if ranks.num_tasks() > 1:
        return {"plugins": [SrunEnvironment()]}
    if "SLURM_NTASKS" in os.environ and ranks.TORCHRUN not in os.environ:
        return {"plugins": [LightningEnvironment()]}  # one task starts its ranks itself
    return {}


def prepare_first_rank(num_devices: int) -> None:
    """Let the ranks that this one will start know it, so that none outlives it, and share cores.

    Args:
        num_devices: of this machine, a rank for each.
    """
    if num_devices > 1 and ranks.num_tasks() == 1 and not ranks.is_secondary():
        os.environ[ranks.FIRST_RANK] = str(os.getpid())
        threads = resources.num_threads(num_devices)
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)


def start_together(error: OctopiError | None = None) -> None:
    """Wait in each task of srun until the first may begin; end all of them if it may not.

    Args:
        error: why the first rank may not begin.

    Raises:
        OctopiError: in the other ranks, why the first may not begin.
        ResourceError: another rank did not come.
    """
    if ranks.num_tasks() == 1:
        return
    environment = SrunEnvironment()
    rank, size = environment.global_rank(), environment.world_size()
    port = PORTS[(environment.main_port + PORT_DISTANCE) % len(PORTS)]
    try:
        store = torch.distributed.TCPStore(  # pyright: ignore[reportPrivateImportUsage]  documented
            environment.main_address,
            port,
            is_master=rank == 0,
            timeout=START_TIMEOUT,
            wait_for_workers=False,
        )
        if rank == 0:
            store.set("start", f"{error.exit_code} {error}" if error else "")
            store.wait([str(other) for other in range(1, size)], START_TIMEOUT)
        else:
            answer = store.get("start").decode()
            store.set(str(rank), "")
    except torch.distributed.DistError as lost:
        raise ResourceError(
            f"The {size} ranks of this training did not all start within "
            f"{START_TIMEOUT.seconds // 60} minutes. See the messages of the others."
        ) from lost
    if rank and answer:
        code, _, text = answer.partition(" ")
        refusal = OctopiError(text)
        refusal.exit_code = int(code)
        raise refusal


def count_ranks(trainer: Mapping[str, Any]) -> int:
    """Count the ranks on this machine, one for each device; refuse more than there are.

    Args:
        trainer: the settings `trainer.…`.

    Raises:
        SettingError: this machine has no such devices.
        ResourceError: a GPU is requested, but torch sees none.
    """
    accelerator, devices = trainer["accelerator"], trainer["devices"]
    return count_devices(accelerator, devices, "trainer.", ranks.tasks_per_node())


def strategy_for(net: nn.Module, settings: TrainSettings) -> str:
    """Return the user's strategy, or the one for a network with parameters without a gradient.

    Ranks wait for each other's gradients; those that never come must be looked for in each step.
    """
    strategy = settings.trainer.get("strategy", "auto")
    num_ranks = count_ranks(settings.trainer) * settings.trainer.get("num_nodes", 1)
    if num_ranks == 1 or strategy not in ("auto", "ddp"):
        return strategy
    has_unused = unused_parameters(net, settings.data["crop_size"])
    return "ddp_find_unused_parameters_true" if has_unused else strategy


def is_lost_rank(error: BaseException) -> bool:
    """Return whether an error says that another rank has ended."""
    texts = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL")
    is_distributed = torch.distributed.is_initialized() and isinstance(error, RuntimeError)
    return is_distributed and any(text in str(error) for text in texts)
