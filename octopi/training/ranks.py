"""One training on several devices: Lightning starts a process for each, and this one is in charge.

The others are started anew with the words of this command line. They train and validate as the
first does, and write nothing.
"""

import logging
import os


def is_helper() -> bool:
    """Whether another process of this machine is in charge of the training."""
    return int(os.environ.get("LOCAL_RANK", "0")) > 0


def prepare(num_ranks: int) -> None:
    """Lightning can start the other ranks; raises SettingError where it cannot.

    Args:
        num_ranks: processes that train together.
    """
    if num_ranks == 1:
        return
    if is_helper():
        logging.getLogger("octopi").setLevel(logging.WARNING)  # the first one says it all
