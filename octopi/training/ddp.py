"""One training on several devices: Lightning starts a process for each, and this one is in charge.

The others are started anew with the words of this command line. They train and validate as the
first does, and write nothing.
"""

import logging
import os
import signal

from octopi.system.worker_pool import signal_when_parent_ends

FIRST_RANK = "OCTOPI_FIRST_RANK"  # environment variable: the process that started the others


def is_secondary_rank() -> bool:
    """Whether another process of this machine is in charge of the training."""
    return int(os.environ.get("LOCAL_RANK", "0")) > 0


def check_and_prepare_ddp(num_ranks: int) -> None:
    """Let Lightning start the other ranks, none of which outlives this one.

    Args:
        num_ranks: processes that train together.
    """
    if num_ranks == 1:
        return
    if is_secondary_rank():
        logging.getLogger("octopi").setLevel(logging.WARNING)  # the first one says it all
        end_with_first_rank()
        return
    os.environ[FIRST_RANK] = str(os.getpid())


def end_with_first_rank() -> None:
    """End this process when the first rank ends, however that happens; nothing is written here."""
    signal_when_parent_ends(signal.SIGKILL)
    if os.environ.get(FIRST_RANK, str(os.getppid())) != str(os.getppid()):
        os._exit(1)  # it ended before the line above
