"""A process that cuts crops and is killed ends the training with a cure, not in a hang."""

import pytest
from tiny import TINY
from torch.utils.data import DataLoader

from octopi.errors import ResourceError, StoppedBySignal
from octopi.training.run import explain_lost_processes

KILLER = """
import multiprocessing, os, signal
import pytorch_lightning as pl

class Killer(pl.Callback):
    def on_train_batch_start(self, *_):
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGKILL)
"""


def test_a_killed_worker_is_named_with_what_to_do(here, octopi_command, capfd, monkeypatch):
    (here / "killing.py").write_text(KILLER, encoding="utf-8")
    monkeypatch.syspath_prepend(here)
    assert octopi_command("create_targets", "tomo_types=[denoised]") == 0
    words = [word for word in TINY if not word.startswith("data.num_workers")]
    killer = ["data.num_workers=1", "+callbacks.killer._target_=killing.Killer"]
    many = ["data.steps_per_epoch=50", "fold=0", "num_folds=3"]
    kept = [word for word in words if not word.startswith("data.steps_per_epoch")]
    assert octopi_command("train", *kept, *many, *killer, "hydra.run.dir=job") == 4
    said = "".join(capfd.readouterr())
    assert "A process that cuts crops is lost: " in said
    assert "data.num_workers" in said


SENDER = KILLER.replace("SIGKILL", "{}")


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGUSR1"])
def test_a_worker_leaves_the_signals_of_its_group_to_the_training(
    here, octopi_command, monkeypatch, name
):
    (here / f"sending_{name}.py").write_text(SENDER.format(name), encoding="utf-8")
    monkeypatch.syspath_prepend(here)
    monkeypatch.setattr("octopi.data.datamodule.WORKER_TIMEOUT", 10.0)
    assert octopi_command("create_targets", "tomo_types=[denoised]") == 0
    kept = [w for w in TINY if not w.startswith(("data.num_workers", "data.steps_per_epoch"))]
    sender = ["data.num_workers=1", f"+callbacks.sender._target_=sending_{name}.Killer"]
    assert octopi_command("train", *kept, "data.steps_per_epoch=20", *sender) == 0


def test_a_worker_that_a_signal_ended_is_not_lost_if_the_training_got_it_too():
    stopped = StoppedBySignal(143, "Stopped by SIGTERM")
    with pytest.raises(StoppedBySignal), explain_lost_processes(lambda: stopped):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated.")


def test_a_worker_killed_while_it_sends_a_crop_is_a_lost_worker(monkeypatch):
    crops = iter(DataLoader(list(range(10_000)), num_workers=1))
    next(crops)

    def broken_off(timeout):
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(crops._data_queue, "get", broken_off)
    lost = pytest.raises(ResourceError, match=r"crops is lost: .*Connection reset.*num_workers")
    with lost, explain_lost_processes():
        list(crops)


def test_a_connection_of_somebody_else_is_not_a_lost_worker():
    with pytest.raises(ConnectionResetError), explain_lost_processes():
        raise ConnectionResetError(104, "Connection reset by peer")
