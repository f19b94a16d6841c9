"""Arguments of a training called from Python become overrides and nodes of its config."""

import pytest
import torch
from monai.losses import DiceCELoss, FocalLoss, GeneralizedDiceLoss, TverskyLoss

from octopi.cli.python_api import compose
from octopi.cli.python_training import describe_loss, model_overrides
from octopi.losses import FocalTverskyLoss, WeightedFocalTverskyLoss

TVERSKY = TverskyLoss(to_onehot_y=True, softmax=True, alpha=0.3, beta=0.7)


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ({"architecture": "UNet"}, "UNet"),
        ({"architecture": "AttentionUnet"}, "AttentionUnet"),
        ({"architecture": "DynUNet", "filters": [8, 8, 8, 8]}, "DynUNet"),
        ({"architecture": "segresnet", "init_filters": 8}, "SegResNetDS"),
        ({"architecture": "SwinUNETR", "feature_size": 12, "dim_in": (32, 64, 64)}, "SwinUNETR"),
        ({"architecture": "MedNeXt"}, "MedNeXt"),
        ({"architecture": "UnetPlusPlus"}, "UNetPlusPlus"),
        ({"_target_": "monai.networks.nets.BasicUNet", "spatial_dims": 3}, "BasicUNet"),
    ],
)
def test_an_architecture_is_chosen_by_name_and_its_arguments_go_to_it(model, target):
    settings, _ = compose("train", model_overrides(model))
    assert settings.model["_target_"].startswith(("monai.networks.nets.", "octopi.models.unets."))
    assert settings.model["_target_"].endswith(f".{target}")
    arguments = {k: v for k, v in model.items() if k not in ("architecture", "dim_in")}
    assert arguments.items() <= settings.model.items()


@pytest.mark.parametrize(
    ("loss", "arguments"),
    [
        (TVERSKY, {"alpha": 0.3, "beta": 0.7, "softmax": True, "smooth_nr": 1e-5}),
        (FocalLoss(gamma=3.0, weight=torch.tensor([1.0, 2.0])), {"gamma": 3.0, "weight": [1, 2]}),
        (GeneralizedDiceLoss(w_type="simple"), {"w_type": "simple"}),
        (FocalTverskyLoss(0.2, 0.8, 1.5), {"alpha": 0.2, "beta": 0.8, "gamma": 1.5}),
        (WeightedFocalTverskyLoss(2.0, 0.2, weight_focal=0.1), {"gamma": 2.0, "alpha": 0.2}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_loss_is_recorded_with_the_arguments_that_it_exposes(loss, arguments):
    recorded = describe_loss(loss)
    assert recorded["_target_"].rpartition(".")[2] == type(loss).__name__
    assert arguments.items() <= recorded.items()


@pytest.mark.parametrize(
    "loss", [FocalTverskyLoss(0.2, 0.8, 1.5), WeightedFocalTverskyLoss(2.0, 0.2, 0.7, 0.9, 0.1)]
)
def test_the_losses_of_octopi_expose_all_their_arguments(loss, caplog):
    recorded = describe_loss(loss)
    assert not caplog.text
    logits, target = torch.randn(1, 3, 4, 4, 4), torch.randint(0, 3, (1, 1, 4, 4, 4))
    again = type(loss)(**{k: v for k, v in recorded.items() if k != "_target_"})
    assert again(logits, target) == loss(logits, target)


def test_an_argument_that_a_loss_does_not_expose_is_warned_of(caplog):
    assert "include_background" not in describe_loss(DiceCELoss(lambda_ce=0.5))
    assert "DiceCELoss does not expose its include_background" in caplog.text
