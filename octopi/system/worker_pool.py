"""Pools: of processes, none of which outlives the one that started it, and of threads."""

import contextlib
import ctypes
import functools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Event
from typing import TypeVar

from octopi.errors import ResourceError
from octopi.signals import STOP_SIGNALS

Item = TypeVar("Item")
Result = TypeVar("Result")

PR_SET_PDEATHSIG = 1  # of Linux's prctl
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def exit_with_parent() -> None:
    """Ignore what stops the parent, and exit when that ends, even if it is killed."""
    for number in (*STOP_SIGNALS, signal.SIGINT):  # a group of processes gets them together
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def signal_when_parent_ends(number: int) -> None:
    """Have the kernel send this process a signal when its parent ends, even if killed; on Linux."""
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, number)


def run_in_processes(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    initializer: Callable[[str], None],
    worker_names: Sequence[str],
) -> Iterator[Result]:
    """Call a function with each item in spawned processes; yield results as they are ready.

    On Ctrl-C, or after an error, items in work are finished and no other is begun.

    Args:
        work: takes an item, returns its result.
        items: in the order in which they are begun; each is taken when a process is free.
        initializer: called first in each process, with its worker name.
        worker_names: of devices for example; a process is started for each.

    Raises:
        ResourceError: a process was lost.
    """
    context = multiprocessing.get_context("spawn")
    free, stop = context.SimpleQueue(), context.Event()
    for name in worker_names:
        free.put(name)
    pool = ProcessPoolExecutor(
        len(worker_names),
        mp_context=context,
        initializer=_begin,
        initargs=(free, stop, initializer),
    )
    try:
        yield from _run_as_free(
            functools.partial(_submit_uninterrupted, pool, work), items, len(worker_names)
        )
    except BrokenProcessPool as error:
        raise ResourceError(
            "A process is lost; most often the machine ran out of memory. Use fewer devices. "
            "Finished runs are kept: the same command does the others."
        ) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def run_in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], *, num_threads: int
) -> Iterator[Result]:
    """Call a function with each item in threads; yield results as they are ready.

    An item is taken when a thread is free for it; after a failure no other is.
    """
    with ThreadPoolExecutor(num_threads) as pool:
        yield from _run_as_free(functools.partial(pool.submit, work), items, num_threads)


def _run_as_free(
    submit: Callable[[Item], "Future[Result]"], items: Iterable[Item], num_workers: int
) -> Iterator[Result]:
    """Yield results as they are ready; take an item when a worker is free for it."""
    running: set[Future[Result]] = set()
    for item in items:
        running.add(submit(item))
        if len(running) == num_workers:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    for future in as_completed(running):
        yield future.result()


def _submit_uninterrupted(
    pool: Executor, work: Callable[[Item], Result], item: Item
) -> "Future[Result]":
    with _sigint_blocked():  # it may start a process
        return pool.submit(_run_unless_stopped, work, item)


def map_ahead(
    pool: Executor, work: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """Yield the results in order; while one is used, compute the next in the pool."""
    upcoming: Future[Result] | None = None
    for item in items:
        future = pool.submit(work, item)
        if upcoming is not None:
            yield upcoming.result()
        upcoming = future
    if upcoming is not None:
        yield upcoming.result()


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Delay a Ctrl-C until the end of the block; a process that it starts never gets one.

    The processes inherit that the signal is blocked. Here it still reaches any other thread, a
    progress bar's for example, and Python answers it in the main one: its handler waits too.
    """
    arrived: list[int] = []
    usual = signal.getsignal(signal.SIGINT)
    is_answered_here = threading.current_thread() is threading.main_thread()
    if is_answered_here:
        signal.signal(signal.SIGINT, lambda number, _frame: arrived.append(number))
    blocked_before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked_before)
        if is_answered_here:
            signal.signal(signal.SIGINT, usual)
        for number in arrived[:1]:
            signal.raise_signal(number)


_stop: Event | None = None


def _begin(free: "SimpleQueue[str]", stop: Event, initializer: Callable[[str], None]) -> None:
    global _stop  # noqa: PLW0603  a pool passes nothing else to its work
    exit_with_parent()
    _stop = stop
    initializer(free.get())


def _run_unless_stopped(work: Callable[[Item], Result], item: Item) -> Result:
    assert _stop is not None
    if _stop.is_set():
        raise InterruptedError("The work was ended before this item was begun.")
    return work(item)
