"""The queue of tomograms: order, overlap and what an error leaves undone."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from octopi.segment import map_ahead


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
