"""Training on several devices: Lightning starts a process, a rank, for each.

The secondary ranks run this command line again. They train and validate as the first does, and
write nothing.
"""

import logging
import os
import signal

from torch import nn

from octopi.config.settings import TrainSettings
from octopi.models.precision import count_devices
from octopi.models.properties import unused_parameters
from octopi.system.worker_pool import signal_when_parent_ends

FIRST_RANK = "OCTOPI_FIRST_RANK"  # environment variable: the process that started the others


def is_secondary_rank() -> bool:
    """Return whether another process on this machine started this rank."""
    return int(os.environ.get("LOCAL_RANK", "0")) > 0


def check_and_prepare_ddp(num_ranks: int) -> None:
    """Prepare for several ranks, so that none outlives the first.

    Args:
        num_ranks: processes that train together.
    """
    if num_ranks == 1:
        return
    if is_secondary_rank():
        logging.getLogger("octopi").setLevel(logging.WARNING)  # the first rank logs the same
        end_with_first_rank()
        return
    os.environ[FIRST_RANK] = str(os.getpid())


def strategy_for(net: nn.Module, settings: TrainSettings) -> str:
    """Return the user's strategy, or the one for a network with parameters without a gradient.

    Ranks wait for each other's gradients; those that never come must be looked for in each step.
    """
    strategy = settings.trainer.get("strategy", "auto")
    accelerator, devices = settings.trainer["accelerator"], settings.trainer["devices"]
    num_ranks = count_devices(accelerator, devices, "trainer.")
    num_ranks *= settings.trainer.get("num_nodes", 1)
    if num_ranks == 1 or strategy not in ("auto", "ddp"):
        return strategy
    has_unused = unused_parameters(net, settings.data["crop_size"])
    return "ddp_find_unused_parameters_true" if has_unused else strategy


def end_with_first_rank() -> None:
    """End this process when the first rank ends, however that happens."""
    signal_when_parent_ends(signal.SIGKILL)
    if os.environ.get(FIRST_RANK, str(os.getppid())) != str(os.getppid()):
        os._exit(1)  # it ended before the line above
