"""Losses and callbacks are tried before a training begins."""

from types import SimpleNamespace

import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss
from torch import nn

from octopi.errors import SettingError
from octopi.training.build_checks import check_deterministic, check_loss

SETTINGS = {"softmax": True, "to_onehot_y": True}


def test_a_loss_that_teaches_nothing_is_refused():
    check_loss(DiceCELoss(**SETTINGS), 3)
    with pytest.raises(SettingError, match="Are all of its weights 0"):
        check_loss(DiceCELoss(lambda_dice=0.0, lambda_ce=0.0, **SETTINGS), 3)


class Blurry(nn.Module):
    """A network that resizes by linear interpolation."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 3, 1)

    def forward(self, image):
        small = self.conv(image)[..., ::2, ::2, ::2]
        return nn.functional.interpolate(small, scale_factor=2, mode="trilinear")


def settings_of(accelerator, *, deterministic=True):
    return SimpleNamespace(
        trainer={"accelerator": accelerator, "deterministic": deterministic},
        data={"crop_size": [8, 8, 8]},
    )


@pytest.mark.parametrize(
    ("net", "loss", "named"),
    [
        (Blurry(), DiceLoss(**SETTINGS), "upsample_trilinear3d_backward, which the network Blurry"),
        (nn.Conv3d(1, 3, 1), DiceCELoss(**SETTINGS), "nll_loss2d_forward, which the loss DiceCE"),
        (nn.Conv3d(1, 3, 1), DiceLoss(**SETTINGS), None),
    ],
)
def test_what_a_gpu_cannot_do_deterministically_is_refused_there_alone(
    monkeypatch, net, loss, named
):
    check_deterministic(net, loss, settings_of("cpu"), 3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for deterministic in (False, "warn"):
        check_deterministic(net, loss, settings_of("gpu", deterministic=deterministic), 3)
    if named is None:
        check_deterministic(net, loss, settings_of("gpu"), 3)
        return
    with pytest.raises(SettingError, match=named) as error:
        check_deterministic(net, loss, settings_of("gpu"), 3)
    assert len(str(error.value)) <= 600
