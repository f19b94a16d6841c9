"""A Ctrl-C in the work of several processes; the order and the errors of work done ahead."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from octopi.system.worker_pool import map_ahead, run_in_processes, run_in_threads


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


def test_ctrl_c_while_a_process_starts_comes_when_it_has(another_thread, capfd):
    begun = []
    items = (begun.append(item) or item for item in range(3))
    with pytest.raises(KeyboardInterrupt):
        list(
            run_in_processes(
                abs, items, initializer=InterruptWhenSent(), worker_names=["cpu", "cpu"]
            )
        )
    assert begun == [0]
    assert "Traceback" not in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_the_next_result_is_computed_while_one_is_used():
    started = {item: threading.Event() for item in range(4)}

    def work(item):
        started[item].set()
        return 10 * item

    with ThreadPoolExecutor(1) as pool:
        results = map_ahead(pool, work, range(4))
        assert next(results) == 0
        assert started[1].wait(10)
        assert not started[2].is_set()  # no more than one ahead: each holds a tomogram
        assert [*results] == [10, 20, 30]


def test_an_error_is_raised_in_its_turn_and_no_other_item_is_started():
    started = []

    def work(item):
        started.append(item)
        return 1 / (2 - item)

    with ThreadPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError):
        for _ in map_ahead(pool, work, range(9)):
            pass
    assert started == [0, 1, 2, 3]


def test_no_items_give_no_results():
    with ThreadPoolExecutor(1) as pool:
        assert [*map_ahead(pool, str, [])] == []


def test_threads_take_an_item_when_one_of_them_is_free():
    taken, finished = [], []

    def take():
        for item in range(6):
            assert len(taken) - len(finished) < 2
            taken.append(item)
            yield item

    for result in run_in_threads(str, take(), num_threads=2):
        finished.append(result)
    assert sorted(finished) == [*"012345"]


def test_an_error_in_a_thread_is_raised_and_no_other_item_is_taken():
    items = iter([1, 0, *range(2, 9)])
    with pytest.raises(ZeroDivisionError):
        for _ in run_in_threads(lambda item: 1 / item, items, num_threads=1):
            pass
    assert next(items) == 2
