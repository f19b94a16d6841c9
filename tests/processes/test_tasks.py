"""Several trainings in processes: which are started, and how often the queue is asked."""

from dataclasses import dataclass, field

import pytest
from tqdm import tqdm

from octopi.processes import tasks
from octopi.processes.tasks import ProcessResult, TrainingTask, UnfinishedError, run_tasks


@dataclass
class Training:
    """A training that ends when it has been looked at so many times."""

    looks_left: int

    def poll(self):
        self.looks_left -= 1
        return None if self.looks_left else ProcessResult(0, "")

    def send(self, number):
        raise AssertionError(number)


class ManySlots:
    size = 9

    def start(self, started):
        return [Training(looks_left=100) for _ in started]


@dataclass
class Queue:
    tasks: list
    num_asked: int = 0
    ended: list = field(default_factory=list)

    def next(self):
        self.num_asked += 1
        return self.tasks.pop(0) if self.tasks else None

    def record_result(self, task, result):
        self.ended.append(task.number)

    record_interruption = record_result

    def num_elsewhere(self):
        return 0


@pytest.fixture
def no_waiting(monkeypatch):
    monkeypatch.setattr(tasks, "POLL_INTERVAL", 0.0)
    monkeypatch.setattr(tasks, "WAIT_INTERVAL", 1e6)


def test_a_queue_is_not_asked_at_each_look_at_the_trainings(tmp_path, no_waiting):
    queue = Queue([TrainingTask(number, tmp_path / str(number), []) for number in range(2)])
    run_tasks(queue, ManySlots(), tqdm(disable=True), resume_command="")
    assert queue.ended == [0, 1]
    assert queue.num_asked <= 5  # two tasks, none, and none again when both have ended


@pytest.mark.parametrize(("code", "exit_code"), [(4, 4), (7, 7), (-9, 6), (143, 6), (0, 6)])
def test_trainings_that_a_signal_ended_are_parts_that_failed(code, exit_code):
    assert UnfinishedError("", ProcessResult(code, "")).exit_code == exit_code
