"""One training on several devices: Lightning starts a process for each, and this one is in charge.

The others are started anew with the words of this command line. They train and validate as the
first does, and write nothing.
"""

import logging
import multiprocessing
import os
import sys
from importlib.machinery import ModuleSpec
from typing import Any

from octopi.errors import SettingError


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
    if multiprocessing.parent_process() is not None:
        raise SettingError(
            "In a sweep, or where one command trains all folds, each training has one device and "
            "several train at once: leave trainer.devices at 1. To share a training among devices "
            "start it by itself (fold=0 num_folds=…)."
        )
    if is_helper():
        logging.getLogger("octopi").setLevel(logging.WARNING)  # the first one says it all
    main: Any = sys.modules["__main__"]
    if main.__spec__ is None:  # started by the console script, whose name no file has
        main.__spec__ = ModuleSpec("octopi.train", None)
