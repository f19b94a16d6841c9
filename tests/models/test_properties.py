"""Properties of a network, found without running it."""

import pytest
import torch
from monai.networks.nets import UNet
from torch import nn

from octopi.errors import SettingError
from octopi.models.properties import (
    activation_bytes,
    check_num_classes,
    check_size,
    logits_per_head,
    output_stride,
    size_divisor,
)


def unet(strides):
    return UNet(3, 1, 2, channels=[4] * (len(strides) + 1), strides=strides)


@pytest.mark.parametrize(("strides", "divisor"), [((1,), 1), ((2, 2), 4), ((2, 2, 1, 2), 8)])
def test_the_divisor_is_the_product_of_the_strides(strides, divisor):
    assert size_divisor(unet(strides)) == divisor


def test_finding_the_divisor_leaves_the_network_as_it_was():
    net = unet((2,)).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    size_divisor(net)
    assert net.training
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert all(p.device.type == "cpu" for p in net.parameters())


def test_a_network_that_shrinks_its_input_is_refused():
    with pytest.raises(SettingError, match="of that size"):
        size_divisor(nn.Conv3d(1, 2, 3))


def test_a_net_whose_output_has_one_size_is_refused():
    with pytest.raises(SettingError, match="one cube becomes 192 times smaller, another 320"):
        size_divisor(nn.Sequential(nn.Conv3d(1, 2, 1), nn.AdaptiveAvgPool3d(1)))


@pytest.mark.parametrize(("layers", "divisor", "stride"), [(1, 2, 2), (2, 4, 4)])
def test_an_output_at_a_stride_is_found(layers, divisor, stride):
    net = nn.Sequential(nn.Conv3d(1, 2, 1), *[nn.AvgPool3d(2) for _ in range(layers)])
    assert size_divisor(net) == divisor
    assert output_stride(net, divisor) == stride


def test_a_network_at_the_grid_of_its_input_has_a_stride_of_one():
    assert output_stride(unet((2, 2)), 4) == 1


class Own(nn.Module):
    """A network of a user.

    Args:
        fault: raised by a forward pass, or None.
        make: from the image, what it returns.
    """

    def __init__(self, *, fault=None, make=lambda image: image):
        super().__init__()
        self.fault, self.make = fault, make

    def forward(self, image):
        """Return what `make` makes of the image."""
        if self.fault:
            raise self.fault
        return self.make(image)


@pytest.mark.parametrize(
    ("net", "cause"),
    [
        (Own(fault=KeyError("skip_3")), "KeyError: 'skip_3'"),
        (Own(make=lambda image: None), "TypeError"),
        (Own(make=lambda image: image[:, 0]), r"becomes \[1, "),
    ],
)
def test_a_network_that_fails_is_refused_with_the_cause(net, cause):
    with pytest.raises(SettingError, match=cause):
        size_divisor(net)


@pytest.mark.parametrize(
    "make", [lambda image: image, lambda image: (image.repeat(1, 3, 1, 1, 1), image)]
)
def test_a_network_of_another_number_of_classes_is_refused_in_each_head(make):
    with pytest.raises(SettingError, match="3 channels"):
        check_num_classes(Own(make=make), 1, 3)
    check_num_classes(Own(make=lambda image: image.repeat(1, 3, 1, 1, 1)), 1, 3)


def test_the_nearest_legal_size_is_proposed():
    with pytest.raises(SettingError, match=r"data.crop_size=\[64, 64, 32\]"):
        check_size([60, 64, 30], divisor=32, key="data.crop_size")
    check_size([64, 96, 32], divisor=32, key="data.crop_size")


def test_heads_come_out_of_a_tensor_a_list_and_a_stack():
    one = torch.zeros(2, 3, 4, 4, 4)
    assert [tuple(h.shape) for h in logits_per_head(one)] == [(2, 3, 4, 4, 4)]
    assert len(logits_per_head([one, one])) == 2
    assert [tuple(h.shape) for h in logits_per_head(torch.zeros(2, 5, 3, 4, 4, 4))] == [
        (2, 3, 4, 4, 4)
    ] * 5


def test_what_a_step_keeps_grows_with_the_crop_and_the_width():
    small = UNet(3, 1, 4, channels=[8, 16], strides=[2], num_res_units=0)
    wide = UNet(3, 1, 4, channels=[16, 32], strides=[2], num_res_units=0)
    one = activation_bytes(small, [16, 16, 16])
    assert activation_bytes(small, [32, 32, 32]) == 8 * one
    assert one > 2 * 8 * 8**3  # its first layer's output alone
    assert activation_bytes(wide, [16, 16, 16]) > one
