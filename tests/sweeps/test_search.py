"""A trial is trained by one worker at a time, and goes on as it was drawn when that dies."""

from functools import cached_property
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf
from optuna.trial import TrialState
from planted import begin_search

from octopi.errors import SettingError
from octopi.processes.tasks import ProcessResult
from octopi.sweeps.search import MAX_ATTEMPTS, PACKAGES, TrialQueue, check_sampler
from octopi.sweeps.space import read_space
from octopi.system.files import write_json

PARAMS = {"loss": "choice(tversky, focal)", "optim.lr": "tag(log, interval(1e-4, 1e-2))"}
WHEN = {"loss=tversky": {"loss.alpha": "interval(0.1, 0.5)"}}
GRID_PARAMS = {"loss": "choice(tversky, focal, dice)"}
GRID = OmegaConf.create({"_target_": "optuna.samplers.GridSampler", "_partial_": True})
SAMPLER = OmegaConf.create({"_target_": "optuna.samplers.RandomSampler"})
SETTINGS = SimpleNamespace(seed=7, objectives=["object_fbeta"], logger={}, fold=None)


@pytest.fixture
def open_queue(tmp_path):
    """Opens the queue of a worker of the same search; locks are released after the test."""
    queues = []

    def open_one(folder=tmp_path, num_trials=3):
        queues.append(
            RecordingQueue(
                folder=folder,
                study=begin_search(folder),
                space=read_space(PARAMS, WHEN, ["seed=1"]),
                sampler=SAMPLER,
                num_trials=num_trials,
                settings=SETTINGS,
            )
        )
        return queues[-1]

    yield open_one
    for queue in queues:
        for task in queue.tasks:
            task.release()


class RecordingQueue(TrialQueue):
    """A queue that remembers its tasks."""

    @cached_property
    def tasks(self):
        return []

    def next(self):
        if task := super().next():
            self.tasks.append(task)
        return task


def finish(task, value, **others):
    task.folder.mkdir(exist_ok=True)
    outcome = {"state": "complete", "values": {"object_fbeta": value}, "seconds": 2.5} | others
    write_json(task.folder / "outcome.json", outcome)


def list_values(task):
    """List the overrides of a trial that were drawn."""
    return [o for o in task.overrides if o.startswith(("loss", "optim"))]


def test_what_a_search_suggests_does_not_depend_on_how_often_it_is_started(open_queue, tmp_path):
    queue = open_queue(tmp_path / "one")
    once = [list_values(queue.next()) for _ in range(3)]
    thrice = [list_values(open_queue(tmp_path / "other").next()) for _ in range(3)]
    assert once == thrice
    assert len({tuple(values) for values in once}) == 3


def test_a_trial_is_given_to_one_worker(open_queue):
    tasks = [open_queue().next() for _ in range(3)]
    assert [task.folder.name for task in tasks] == ["trial_0", "trial_1", "trial_2"]
    assert open_queue().next() is None


def test_a_trial_whose_worker_died_goes_on_as_it_was_drawn(open_queue):
    task = open_queue().next()
    task.release()
    adopted = open_queue().next()
    assert adopted.number == 0
    assert adopted.overrides == task.overrides


@pytest.mark.parametrize("sampler", [SAMPLER, GRID])
def test_a_trial_whose_worker_died_before_it_was_drawn_is_drawn_as_if_it_had_not(
    open_queue, tmp_path, sampler
):
    trials = {}
    for folder in (tmp_path / "killed", tmp_path / "whole"):
        queue = open_queue(folder)
        queue.sampler, queue.space = sampler, read_space(GRID_PARAMS, {}, [])
        if folder.name == "killed":
            queue.study.sampler = queue._sampler(0)
            queue.study.ask()
        while queue.next():
            pass
        trials[folder.name] = [trial.params for trial in queue.study.get_trials()]
    assert trials["killed"] == trials["whole"]


def test_a_trial_whose_workers_keep_dying_is_given_up(open_queue):
    for _ in range(MAX_ATTEMPTS):
        open_queue(num_trials=1).next().release()
    queue = open_queue(num_trials=1)
    assert queue.next() is None
    (trial,) = queue.study.get_trials()
    assert trial.state is TrialState.FAIL
    assert trial.user_attrs["reason"] == f"its worker died {MAX_ATTEMPTS} times"


def test_a_trial_that_finished_after_its_worker_died_counts(open_queue):
    task = open_queue(num_trials=1).next()
    finish(task, 0.75)
    task.release()
    queue = open_queue(num_trials=1)
    assert queue.next() is None
    assert queue.study.best_value == 0.75


def test_neither_overrides_nor_folder_of_a_trial_are_taken_from_the_journal(open_queue):
    queue = open_queue()
    task = queue.next()
    queue._set_attribute(0, "words", ["model._target_=os.system", "hydra.run.dir=/elsewhere"])
    queue._set_attribute(0, "folder", "../elsewhere")
    task.release()
    adopted = open_queue().next()
    assert adopted.overrides == task.overrides
    assert adopted.folder == task.folder


@pytest.mark.parametrize(
    ("result", "outcome", "state", "reason"),
    [
        (ProcessResult(0, ""), {}, TrialState.COMPLETE, None),
        (ProcessResult(0, ""), {"state": "pruned"}, TrialState.PRUNED, None),
        (
            ProcessResult(0, ""),
            {"values": {"object_fbeta": None}},
            TrialState.FAIL,
            "object_fbeta: n/a in validation",
        ),
        (ProcessResult(0, ""), None, TrialState.FAIL, "it left no outcome.json"),
        (ProcessResult(4, "no memory"), None, TrialState.FAIL, "out of resources: no memory"),
        (ProcessResult(5, "nan"), None, TrialState.FAIL, "diverged: nan"),
        (ProcessResult(-9, ""), None, TrialState.FAIL, "killed by SIGKILL"),
        (ProcessResult(1, ""), None, TrialState.FAIL, "ended with exit code 1"),
    ],
)
def test_the_study_records_how_a_trial_ended(open_queue, result, outcome, state, reason):
    queue = open_queue()
    task = queue.next()
    if outcome is not None:
        finish(task, 0.5, **outcome)
    queue.record_result(task, result)
    trial = queue.study.get_trials()[0]
    assert trial.state is state
    assert trial.user_attrs.get("reason") == reason


@pytest.mark.parametrize("installed", [True, False])
def test_the_package_that_a_sampler_needs_is_named_with_the_line_to_install_it(
    monkeypatch, installed
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    check_sampler({"_target_": "optuna.samplers.TPESampler"})
    for sampler, package in PACKAGES.items():
        if installed:
            check_sampler({"_target_": sampler})
        else:
            with pytest.raises(SettingError, match=f"pip install {package}"):
                check_sampler({"_target_": sampler})
