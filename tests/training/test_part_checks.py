"""Losses and callbacks are tried before a training begins."""

from types import SimpleNamespace

import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss
from torch import nn

from octopi.config.build import build
from octopi.errors import SettingError
from octopi.training.part_checks import (
    check_augment,
    check_deterministic,
    check_loss,
    loss_operations,
    net_operations,
)

SETTINGS = {"softmax": True, "to_onehot_y": True}


def test_a_loss_that_teaches_nothing_is_refused():
    check_loss(DiceCELoss(**SETTINGS), "labels", 2)
    with pytest.raises(SettingError, match="Are all of its weights 0"):
        check_loss(DiceCELoss(lambda_dice=0.0, lambda_ce=0.0, **SETTINGS), "labels", 2)


AUGMENTATIONS = '''"""Augmentations of a user."""


def brighter(image, target, rng, *, factor):
    """Multiply."""
    return image * factor, target


class Shorter:
    """Cuts a plane off."""

    def __call__(self, image, target, rng):
        return image[:, :, 1:], target


def without_numbers(image, target, rng):
    """Divide zero by zero."""
    return 0 * image / 0, target


def interpolated(image, target, rng):
    """Blur labels."""
    return image, (target * 0.5 + 100).to(target.dtype)


def one(image, target, rng):
    return image


def fails(image, target, rng):
    raise KeyError("lut")
'''


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_augmentations.py").write_text(AUGMENTATIONS, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder / "my_augmentations.py"


def compose(**step):
    return build(
        {
            "_target_": "octopi.data.augment.Compose",
            "flip": {"_target_": "octopi.data.augment.Flip", "axes": ["z"], "prob": 0.5},
            "mine": step,
        },
        "augment",
    )


def test_augmentations_of_the_user_and_of_monai_are_taken(own):
    good = [
        {"_target_": "my_augmentations.brighter", "factor": 2.0},
        {"_target_": "monai.transforms.RandFlipd", "keys": ["image", "target"], "prob": 0.5},
        {"_target_": "monai.transforms.RandGaussianSmoothd", "keys": ["image"], "prob": 0.5},
        {
            "_target_": "monai.transforms.RandAffined",
            "keys": ["image", "target"],
            "mode": ["bilinear", "nearest"],
            "rotate_range": [0.1, 0.0, 0.0],
            "prob": 0.5,
        },
    ]
    for step in good:
        check_augment(compose(**step), (8, 8, 8), 3)


@pytest.mark.parametrize(
    ("step", "line", "words"),
    [
        ("Shorter", 9, r"changes the image from \[2, 1, 8, 8, 8\] to \[2, 1, 7, 8, 8\]"),
        ("without_numbers", 16, "NaN"),
        ("interpolated", 21, "labels that no target has"),
        ("one", 26, "returns Tensor, not image and target"),
        ("fails", 31, "KeyError: 'lut'"),
    ],
)
def test_a_wrong_augmentation_is_refused_with_its_file_and_line(own, step, line, words):
    with pytest.raises(
        SettingError, match=rf"augment.mine: {step} in {own}, line {line} .*{words}"
    ):
        check_augment(compose(_target_=f"my_augmentations.{step}"), (8, 8, 8), 3)


def test_an_augmentation_of_monai_that_interpolates_labels_is_refused():
    step = {"_target_": "monai.transforms.RandAffined", "keys": ["image", "target"], "prob": 1.0}
    with pytest.raises(SettingError, match=r"augment\.mine: RandAffined makes labels"):
        check_augment(compose(**step, rotate_range=[0.5, 0.5, 0.5]), (8, 8, 8), 100)


def test_a_transform_of_monai_that_is_not_random_is_refused():
    with pytest.raises(SettingError, match="or your own"):
        compose(_target_="monai.transforms.SaveImaged", keys=["image"])


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
    ("part", "operations", "refused"),
    [
        ("the net", lambda: net_operations(Blurry(), [8, 8, 8]), "upsample_trilinear3d_backward"),
        ("the net", lambda: net_operations(nn.Conv3d(1, 3, 1), [8, 8, 8]), None),
        ("the loss", lambda: loss_operations(DiceCELoss(**SETTINGS), "labels", 2), "nll_loss2d"),
        ("the loss", lambda: loss_operations(DiceLoss(**SETTINGS), "labels", 2), None),
    ],
)
def test_what_a_gpu_cannot_do_deterministically_is_refused_there_alone(
    monkeypatch, part, operations, refused
):
    check_deterministic(part, operations, settings_of("cpu"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for deterministic in (False, "warn"):
        check_deterministic(part, operations, settings_of("gpu", deterministic=deterministic))
    if refused is None:
        check_deterministic(part, operations, settings_of("gpu"))
        return
    with pytest.raises(SettingError, match=f"{refused}.*, which {part} needs") as error:
        check_deterministic(part, operations, settings_of("gpu"))
    assert len(str(error.value)) <= 600
