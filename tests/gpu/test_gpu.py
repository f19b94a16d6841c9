"""What only a GPU can show: `make gpu` runs these and `benchmarks/gpu.py`.

The same paths run in every test of the CPU, and on the device of `pretend_device.py`.
"""

import copy
import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from tiny import RUNS, TINY
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from octopi.inference.predictor import Predictor
from octopi.models import checkpoint
from octopi.models.unets import SizedUNet
from octopi.project import open_project
from octopi.training.weight_averaging import FusedAverage

NUM_GPUS = torch.cuda.device_count()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(NUM_GPUS == 0, reason="needs a GPU")]
on_two = pytest.mark.skipif(NUM_GPUS < 2, reason="needs two GPUs")


def words_of(accelerator, *more):
    kept = [word for word in TINY if not word.startswith(("trainer.accelerator", "trainer.prec"))]
    return [*kept, *RUNS, f"trainer.accelerator={accelerator}", *more]


@pytest.fixture
def train(here, octopi_command):
    """Trains on the GPU; returns the losses and the last weights."""
    assert octopi_command("create_targets", "tomo_types=[denoised]") == 0

    def run(name, *more, accelerator="gpu"):
        words = words_of(accelerator, *more, f"hydra.run.dir={name}")
        assert octopi_command("train", *words) == 0
        results = json.loads((here / name / "results.json").read_text(encoding="utf-8"))
        weights, _ = checkpoint.read(here / name / "best_model.pth")
        return results["history"]["train_loss"]["value"], weights

    return run


def scores_of(config, name):
    project = open_project(config)
    runs = {run.name: run for run in project.runs}
    return {
        n: run.read_score_map(*next(pair for pair in run.score_maps() if name in pair[1]))[0]
        for n, run in runs.items()
    }


def test_the_commands_run_on_the_gpu_and_say_so(here, train, octopi_command):
    train("job")
    log = (here / "job" / "train.log").read_text(encoding="utf-8")
    assert f"Device: 1 × {torch.cuda.get_device_name(0)}" in log
    assert "on the GPU, where crops are cut" in log
    model = "checkpoint=job/best_model.pth"
    for accelerator in ("gpu", "cpu"):
        words = [f"accelerator={accelerator}", f"name={accelerator}"]
        assert octopi_command("segment", model, *words) == 0
        words = [words[0], f"input={accelerator}:octopi/1", f"session_id={accelerator}"]
        assert octopi_command("localize", model, *words) == 0
    ours, theirs = (scores_of(here / "project.json", name) for name in ("gpu", "cpu"))
    for name, scores in ours.items():
        assert np.abs(scores.astype(int) - theirs[name]).max() <= 6  # of 255, in 16 bits


def test_crops_cut_on_the_gpu_teach_what_those_of_the_cpu_teach(train):
    words = ["trainer.precision=32-true", "augment=none"]
    on_gpu, _ = train("one", *words)
    on_cpu, _ = train("two", *words, accelerator="cpu")
    assert on_gpu == pytest.approx(on_cpu, rel=1e-2)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_a_training_is_finite_in_every_precision(train, precision):
    losses, weights = train("job", f"trainer.precision={precision}", "trainer.max_epochs=3")
    assert np.isfinite(losses).all()
    assert all(value.isfinite().all() for value in weights.values())


def test_a_deterministic_training_is_repeated_to_the_last_bit(train):
    words = ["trainer.deterministic=true", "loss=tversky", "trainer.max_epochs=2"]
    (first, weights), (second, others) = (train(name, *words) for name in ("one", "two"))
    assert first == second
    assert all(torch.equal(weights[name], others[name]) for name in weights)


class CountSyncs(pl.Callback):
    """Counts the warnings of CUDA's debug mode from step to step."""

    def __init__(self):
        self.ends = []

    def on_train_batch_end(self, *_):
        self.ends.append(len(self.caught))


def test_a_step_waits_for_the_gpu_once(train, monkeypatch):
    from octopi.training import run

    counter, build_trainer = CountSyncs(), run.build_trainer

    def build(settings, folder, callbacks, *more):
        return build_trainer(settings, folder, [*callbacks, counter], *more)

    monkeypatch.setattr(run, "build_trainer", build)
    with warnings.catch_warnings(record=True) as counter.caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            train("job", "data.steps_per_epoch=8", "augment=none")
        finally:
            torch.cuda.set_sync_debug_mode("default")
    syncs = np.diff(counter.ends)
    assert syncs[1:].max() <= 1, [str(w.message) for w in counter.caught]


def test_windows_that_do_not_fit_are_halved(caplog):
    torch.cuda.empty_cache()
    net = SizedUNet(4, base_channels=32, num_layers=3).cuda().eval()
    volume = np.random.default_rng(0).normal(size=(256, 256, 256)).astype(np.float32)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, 2e9 / total))
    try:
        scores = Predictor(window_size=None, halo=[4, 4, 4], num_sides=1)(net, volume, divisor=4)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert scores.shape == (3, 256, 256, 256)
    assert "going on with" in caplog.text


def test_the_moving_average_is_torchs_own_to_the_last_bit():
    model = nn.Sequential(nn.Conv3d(1, 64, 3), nn.BatchNorm3d(64), nn.Conv3d(64, 7, 3)).cuda()
    expected = AveragedModel(model, avg_fn=get_ema_avg_fn(0.997), use_buffers=True)
    average = FusedAverage(copy.deepcopy(model), decay=0.997)
    for _ in range(5):
        with torch.no_grad():
            for value in model.parameters():
                value.add_(torch.randn_like(value))
        expected.update_parameters(model)
        average.update_parameters(model)
    for name, value in expected.module.state_dict().items():
        assert torch.equal(average.module.state_dict()[name], value), name


@on_two
@pytest.mark.parametrize("model", ["unet", "unet_plus_plus"])
def test_two_gpus_train_together(here, octopi_command, model):
    assert octopi_command("create_targets", "tomo_types=[denoised]") == 0
    words = [word for word in words_of("gpu") if not word.startswith("model.")]
    words += [f"model={model}", "trainer.devices=2", "hydra.run.dir=job"]
    subprocess.run([sys.executable, "-m", "octopi.train", *words], check=True)
    history = json.loads((here / "job" / "results.json").read_text(encoding="utf-8"))["history"]
    assert np.isfinite(history["train_loss"]["value"]).all()


@on_two
def test_folds_share_the_gpus_that_are_named(here, octopi_command, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert octopi_command("create_targets", "tomo_types=[denoised]") == 0
    words = [word for word in words_of("gpu") if not word.startswith("data.")]
    command = [sys.executable, "-m", "octopi.train", *words, "num_folds=3", "hydra.run.dir=cv"]
    subprocess.run(command, check=True)
    for fold in range(3):
        log = (here / "cv" / f"fold_{fold}" / "train.log").read_text(encoding="utf-8")
        assert "Device: 1 ×" in log
