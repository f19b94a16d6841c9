"""The CPU-seconds of a training: counted, limited, shared among folds, kept on resume."""

import json
import multiprocessing
import time

import pytest
from tiny import TINY
from waiting import wait_until

from octopi.system.job_folder import read_outcome
from octopi.training import cpu_budget
from octopi.training.cpu_budget import CpuBudget, training_cpu_seconds


@pytest.fixture
def one_second_a_look(monkeypatch):
    """Let the count grow by a CPU-second each time that it is read."""
    seconds = iter(range(10**6))
    monkeypatch.setattr(cpu_budget, "training_cpu_seconds", lambda: float(next(seconds)))


def test_the_budget_ends_a_training_with_its_learning_rate_at_the_end(
    here, octopi_command, one_second_a_look
):
    assert octopi_command("create_targets") == 0
    job = ["hydra.run.dir=job", "trainer.max_epochs=1000", "max_cpu_seconds=40"]
    job += ["trainer.check_val_every_n_epoch=1000"]
    assert octopi_command("train", *TINY, *job, "optim.lr_scheduler.warmup_steps=0") == 0
    history = json.loads((here / "job/results.json").read_text(encoding="utf-8"))["history"]
    rates = history["learning_rate"]["value"]
    assert 2 < len(rates) < 40
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.1 * rates[0]
    outcome = read_outcome(here / "job")
    assert outcome is not None
    assert outcome.steps == pytest.approx(2 * len(rates), abs=1)  # two steps an epoch


def test_what_a_step_costs_leaves_out_validations(one_second_a_look):
    budget = CpuBudget(None)
    budget.load_state_dict({"seconds": 30.0, "validation_seconds": 10.0})
    assert budget.cost(num_steps=4) == {
        "steps": 4,
        "cpu_seconds": 30.0,
        "cpu_seconds_per_step": 5.0,
    }
    assert budget.spent == 0


def test_a_resumed_training_goes_on_counting(one_second_a_look):
    before, budget = CpuBudget(100), CpuBudget(100)
    before.on_train_start(None, None)  # type: ignore[arg-type]  neither is used
    budget.load_state_dict(before.state_dict())
    budget.on_train_start(None, None)  # type: ignore[arg-type]
    assert budget.seconds == 2
    assert budget.spent == pytest.approx(0.03)


def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    time.sleep(60)


def test_data_workers_count():
    process = multiprocessing.get_context("fork").Process(target=work, args=(0.3,), daemon=True)
    process.start()
    try:
        wait_until(lambda: training_cpu_seconds() - time.process_time() > 0.2, seconds=60)
    finally:
        process.kill()
        process.join()


def test_several_devices_are_refused(here, octopi_command, capsys):
    assert octopi_command("create_targets") == 0
    devices = ["trainer.devices=2", "max_cpu_seconds=60", "dry_run=true"]
    assert octopi_command("train", *TINY, *devices) == 2
    assert "max_cpu_seconds counts those of one process" in capsys.readouterr().err
