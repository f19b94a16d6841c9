"""Losses and callbacks are tried before a training begins."""

import pytest
from monai.losses import DiceCELoss

from octopi.errors import SettingError
from octopi.training.build_checks import check_loss

SETTINGS = {"softmax": True, "to_onehot_y": True}


def test_a_loss_that_teaches_nothing_is_refused():
    check_loss(DiceCELoss(**SETTINGS), 3)
    with pytest.raises(SettingError, match="Are all of its weights 0"):
        check_loss(DiceCELoss(lambda_dice=0.0, lambda_ce=0.0, **SETTINGS), 3)
