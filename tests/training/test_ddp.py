"""One training shared by two processes is the training of one with as many crops a step."""

import contextlib
import json
import math
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from processes import FORK
from waiting import wait_until

from octopi.errors import LockedError, OctopiError, ResourceError, SettingError

WORDS = [
    "tomo_types=[denoised]",
    "model.channels=[4,8]",
    "model.strides=[2]",
    "loss=dice",
    "loss.batch=false",  # a mean over crops: shares of a batch can be averaged
    "augment=none",
    "data.crop_size=[16,32,32]",
    "data.steps_per_epoch=3",
    "data.num_workers=0",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "trainer.gradient_clip_val=0",
    "trainer.enable_progress_bar=false",
    "fold=0",
    "num_folds=3",
]


def trained(folder, *words):
    command = [sys.executable, "-m", "octopi.train", *WORDS, *words, f"hydra.run.dir={folder}"]
    done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return learned(folder)


def learned(folder):
    """Loss of each epoch, and the last weights."""
    history = json.loads((folder / "results.json").read_text(encoding="utf-8"))["history"]
    state = torch.load(folder / "last.ckpt", weights_only=False)["state_dict"]
    return history["train_loss"]["value"], state


@pytest.mark.slow
def test_two_ranks_learn_what_one_process_learns(here, octopi_command):
    assert octopi_command("create_targets", "tomo_types=[denoised]") == 0
    assert octopi_command("train", *WORDS, "data.crops_per_step=4", "hydra.run.dir=one") == 0
    loss, state = learned(here / "one")
    words = ["data.crops_per_step=2", "trainer.devices=2", "logger=mlflow"]
    both_loss, both_state = trained(here / "both", *words)
    assert both_loss == pytest.approx(loss, rel=1e-5)
    for key, value in state.items():
        torch.testing.assert_close(both_state[key], value, rtol=1e-4, atol=1e-6)
    logs = sorted(path.name for path in (here / "both").glob("*.log"))
    assert logs == ["train.log"]  # every rank appends to one
    with contextlib.closing(sqlite3.connect(here / "outputs" / "mlflow.db")) as runs_of_mlflow:
        assert runs_of_mlflow.execute("select count(*) from runs").fetchone() == (
            1,
        )  # of two ranks
    cached = list((here / "outputs" / "cache").glob("*.npy"))
    assert len(cached) == len({path.read_bytes() for path in cached})


@pytest.mark.slow
def test_two_ranks_started_by_copick_train_a_network_that_leaves_parameters_unused(
    here, octopi_command
):
    assert octopi_command("create_targets", "tomo_types=[denoised]") == 0
    words = [word for word in WORDS if not word.startswith("model.")]
    words += ["model=unet_plus_plus", "model.features=[4,4,4,4,4,4]", "trainer.max_epochs=1"]
    copick = ["-c", "from copick.cli.cli import main; main()", "training", "octopi"]
    command = [sys.executable, *copick, *words, "trainer.devices=2", "hydra.run.dir=job"]
    done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    (loss,), _ = learned(here / "job")
    assert math.isfinite(loss)


def test_several_devices_in_a_sweep_are_refused(here, octopi_command, capfd):
    assert octopi_command("create_targets", "tomo_types=[denoised]") == 0
    words = [word for word in WORDS if word != "fold=0"]
    assert octopi_command("train", *words, "data.crops_per_step=2", "trainer.devices=2") == 2
    assert "leave trainer.devices at 1" in "".join(capfd.readouterr())


def other_ranks(pid):
    children = map(
        int, Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    )
    return [child for child in children if b"LOCAL_RANK=1" in environment_of(child)]


def environment_of(pid):
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def runs(pid):
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            != "Z"
        )
    except OSError:
        return False


@pytest.mark.slow
def test_the_second_rank_ends_with_the_first_that_is_killed(here, octopi_command):
    assert octopi_command("create_targets", "tomo_types=[denoised]") == 0
    words = [*WORDS, "trainer.devices=2", "hydra.run.dir=job"]
    command = [sys.executable, "-m", "octopi.train", *words]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as first:
        (second,) = wait_until(
            lambda: other_ranks(first.pid)
        )  # from now on it would wait for the first
        first.kill()
    try:
        wait_until(lambda: not runs(second))
    finally:
        if runs(second):
            os.kill(second, signal.SIGKILL)


def start_as_task(number, refusal, answers):
    """Meet the other task of a step, as a training does; put what came of it into a queue."""
    from octopi.training import ddp

    os.environ |= {"SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS": "2", "SLURM_PROCID": str(number)}
    try:
        ddp.start_together(refusal)
    except OctopiError as error:
        answers.put((number, error.exit_code, str(error)))
    else:
        answers.put((number, 0, ""))


@pytest.mark.parametrize("refusal", [None, LockedError("the folder is in use")])
def test_every_task_begins_or_is_refused_with_the_first(monkeypatch, refusal):
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    answers = FORK.SimpleQueue()
    tasks = [
        FORK.Process(target=start_as_task, args=(number, refusal if number == 0 else None, answers))
        for number in (0, 1)
    ]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()
    got = sorted(answers.get() for _ in tasks)
    told = (0, "") if refusal is None else (7, "the folder is in use")
    assert got == [(0, 0, ""), (1, *told)]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_name_that_does_not_resolve_is_said_before_the_ranks_wait(monkeypatch):
    from octopi.training.ddp import SrunEnvironment

    monkeypatch.setenv("SLURM_STEP_NUM_NODES", "2")
    monkeypatch.setenv("SLURM_NODELIST", "no-such-node[1-2].invalid")
    with pytest.raises(ResourceError, match=r"no-such-node1.*MASTER_ADDR"):
        _ = SrunEnvironment().main_address


def test_a_connection_that_another_rank_closed_is_a_lost_rank(monkeypatch):
    from octopi.training.run import explain_lost_processes

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    lost = pytest.raises(ResourceError, match="Another rank")
    with lost, explain_lost_processes():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [::1]:1")


def test_each_task_of_srun_adds_its_cores_to_a_training(monkeypatch, control_groups):
    from octopi.training import ddp

    control_groups({"cpu.max": "max 100000"})
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "2")
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", "2")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    assert ddp.count_ranks({"accelerator": "cpu", "devices": 2}) == 2
    message = r"devices must be 1 to 2, the cores of the 2 tasks of srun on this machine; not 3"
    with pytest.raises(SettingError, match=message):
        ddp.count_ranks({"accelerator": "cpu", "devices": 3})
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")  # one on each of the two machines
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "1")
    with pytest.raises(SettingError, match=r"devices must be 1 to 1, the cores of this process"):
        ddp.count_ranks({"accelerator": "cpu", "devices": 2})
