"""The moving average is Lightning's to the last bit."""

import copy

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from octopi.training.weight_averaging import EMAWeightAveraging, FusedAverage


def net():
    return nn.Sequential(nn.Conv3d(1, 5, 3), nn.BatchNorm3d(5), nn.Conv3d(5, 2, 1)).double()


@pytest.mark.parametrize("use_buffers", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.9, 0.997, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_updates_give_the_numbers_of_torchs_own_loop(use_buffers, decay, dtype):
    torch.manual_seed(0)
    model = net().to(dtype)
    expected = AveragedModel(model, avg_fn=get_ema_avg_fn(decay), use_buffers=use_buffers)
    average = FusedAverage(model, decay=decay, use_buffers=use_buffers)
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
    average, resumed = (FusedAverage(model, decay=0.5, use_buffers=True) for _ in range(2))
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
