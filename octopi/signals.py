"""The signals that end a job, and how they end a command that is still being imported."""

import contextlib
import os
import signal
import threading
from typing import Any

# That end a job, beside Ctrl-C: a queue sends them, or a terminal that is closed.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def signals_to_handle() -> list[signal.Signals]:
    """Return the signals that end this process, without those that `nohup` or a shell ignores.

    In another thread than the main one, as of a window or a notebook, Python lets none be handled.
    """
    if threading.current_thread() is not threading.main_thread():
        return []
    numbers = (*STOP_SIGNALS, signal.SIGINT)
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def stop_while_importing() -> None:
    """Let a signal end this process at once, with its code and a line; until the work begins."""
    for number in signals_to_handle():
        signal.signal(number, _end_before_work)


def leave_signals_to_parent(*_: Any) -> None:
    """Ignore what stops the parent, to which a group of processes listens together.

    Not SIGTERM, by which a parent ends a worker that is stuck.
    """
    for number in (*STOP_SIGNALS, signal.SIGINT):
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)


def handler_after_work(number: int, handler: Any) -> Any:
    """Return the handler of a signal from before the work; Python's own in place of an import's."""
    if handler is not _end_before_work:
        return handler
    return signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL


def _end_before_work(number: int, _frame: Any) -> None:
    name = signal.Signals(number).name
    text = f"octopi: Stopped by {name} before the work began: nothing was written. Start it again."
    with contextlib.suppress(OSError):  # a terminal that was closed
        os.write(2, f"{text}\n".encode())
    os._exit(128 + number)
