"""Processes that we start: none outlives the one that started it, however that ends."""

import multiprocessing
import os
import signal
import threading


def belong_to_parent() -> None:
    """This process leaves Ctrl-C to its parent, and ends when that does, even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
