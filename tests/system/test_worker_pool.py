"""A Ctrl-C in the work of several processes."""

import os
import signal
import threading

import pytest

from octopi.system.worker_pool import run_in_processes


class InterruptWhenSent:
    """What each process does first; Ctrl-C comes while it is sent to the first of them."""

    def __init__(self) -> None:
        self.sent = 0

    def __reduce__(self):
        self.sent += 1
        if self.sent == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return _Nothing, ()

    def __call__(self, place: str) -> None:
        raise AssertionError("It is for the processes, which get another.")


class _Nothing:
    def __call__(self, place: str) -> None:
        """A process has nothing to do first."""


@pytest.fixture
def another_thread():
    """One that the signal can reach where the main thread blocks it, as a progress bar's."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    yield
    done.set()
    thread.join()


def test_ctrl_c_while_processes_start_comes_when_they_have(another_thread, capfd):
    begun = []
    items = (begun.append(item) or item for item in range(3))
    with pytest.raises(KeyboardInterrupt):
        list(
            run_in_processes(
                abs, items, initializer=InterruptWhenSent(), worker_names=["cpu", "cpu"]
            )
        )
    assert begun == [0, 1, 2]
    assert "Traceback" not in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
