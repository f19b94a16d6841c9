"""The moving average is Lightning's to the last bit."""

import copy

import pytest
import pytorch_lightning as pl
import torch
from tiny import TINY
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from octopi.training.weight_averaging import (
    EMAWeightAveraging,
    FusedAverage,
    StochasticWeightAveraging,
)


def net():
    return nn.Sequential(nn.Conv3d(1, 5, 3), nn.BatchNorm3d(5), nn.Conv3d(5, 2, 1)).double()


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.997, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_updates_give_the_numbers_of_torchs_own_loop(decay, dtype):
    torch.manual_seed(0)
    model = net().to(dtype)
    expected = AveragedModel(model, avg_fn=get_ema_avg_fn(decay), use_buffers=True)
    average = FusedAverage(model, decay=decay)
    for _ in range(4):
        with torch.no_grad():
            for value in [*model.parameters(), *model.buffers()]:
                if value.is_floating_point():
                    value.add_(torch.randn_like(value))
                else:
                    value.add_(3)
        expected.update_parameters(model)
        average.update_parameters(model)
    assert average.state_dict().keys() == expected.state_dict().keys()
    for name, value in expected.state_dict().items():
        assert torch.equal(average.state_dict()[name], value), name


def test_an_average_goes_on_from_its_checkpoint():
    model = net()
    average, resumed = (FusedAverage(model, decay=0.5) for _ in range(2))
    average.update_parameters(model)
    resumed.load_state_dict(copy.deepcopy(average.state_dict()))
    other = net()
    for each in (average, resumed):
        each.update_parameters(other)
    for name, value in average.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_the_average_lies_on_the_device_that_trains():
    class Strategy:
        root_device = torch.device("meta")

    class Trainer:
        strategy = Strategy()

    callback = EMAWeightAveraging(decay=0.9)
    callback.setup(Trainer(), pl.LightningModule(), "fit")
    callback.setup(Trainer(), net(), "fit")
    assert {p.device.type for p in callback._average_model.module.parameters()} == {"meta"}
    assert callback._average_model.n_averaged.device.type == "cpu"


class Recording(StochasticWeightAveraging):
    """Keeps the weights of each step, and what the average was when the training ended."""

    steps: list[torch.Tensor] = []  # noqa: RUF012  cleared by each test

    def on_train_batch_end(self, trainer, pl_module, *args, **kwargs):
        super().on_train_batch_end(trainer, pl_module, *args, **kwargs)
        self.steps.append(first_weights(pl_module))

    def on_train_end(self, trainer, pl_module):
        super().on_train_end(trainer, pl_module)
        self.steps.append(first_weights(pl_module))


def first_weights(module):
    return next(module.net.parameters()).detach().clone()


@pytest.mark.parametrize("start", [0.5, 0.75])
def test_the_model_is_the_mean_of_the_last_steps(here, octopi_command, start):
    Recording.steps.clear()
    assert octopi_command("create_targets") == 0
    swa = ["callbacks=swa", f"callbacks.weight_averaging.start={start}"]
    own = f"callbacks.weight_averaging._target_={__name__}.Recording"
    decay = "callbacks.weight_averaging.decay=0.9"
    words = [word for word in TINY if "max_epochs" not in word]
    job = ["trainer.max_epochs=4", "hydra.run.dir=job"]
    assert octopi_command("train", *words, *swa, own, decay, *job) == 0
    *steps, average = Recording.steps
    assert len(steps) == 8
    tail = torch.stack(steps[int(start * 8) - 1 :])
    assert torch.allclose(average, tail.mean(dim=0), atol=1e-6)
    assert not torch.allclose(average, steps[-1], atol=1e-6)
