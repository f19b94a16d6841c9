"""Networks described by a few numbers are MONAI's networks."""

import inspect

import pytest
import torch
import yaml
from monai.networks.nets import AttentionUnet, DynUNet, UNet

from octopi.config.files import CONF_DIR
from octopi.models.checkpoint import TRUSTED_NETS, build_net
from octopi.models.properties import finest_logits, logits_per_head, size_divisor
from octopi.models.unets import SizedAttentionUnet, SizedDynUNet, SizedUNet, UNetPlusPlus


def same_net(one, other):
    shapes = [{k: tuple(v.shape) for k, v in net.state_dict().items()} for net in (one, other)]
    other.load_state_dict(one.state_dict())
    image = torch.rand(1, 1, 16, 16, 16)
    with torch.no_grad():
        return shapes[0] == shapes[1] and torch.equal(one.eval()(image), other.eval()(image))


def test_channels_double_as_the_resolution_halves_and_then_both_stay():
    sized = SizedUNet(3, base_channels=4, num_layers=3, num_hidden_layers=2, num_res_units=2)
    named = UNet(3, 1, 3, [4, 8, 16, 16, 16], [2, 2, 1, 1], num_res_units=2)
    assert same_net(sized, named)


def test_an_attention_unet_is_sized_the_same_way():
    sized = SizedAttentionUnet(3, base_channels=4, num_layers=3, num_hidden_layers=1)
    assert same_net(sized, AttentionUnet(3, 1, 3, [4, 8, 16, 16], [2, 2, 1]))


def test_a_dynunet_upsamples_by_the_strides_it_went_down_by():
    sized = SizedDynUNet(3, strides=[1, 2, 2, 1], base_channels=4, deep_supr_num=0)
    named = DynUNet(3, 1, 3, [3] * 4, [1, 2, 2, 1], [2, 2, 1], [4, 8, 16, 32], res_block=True)
    assert same_net(sized, named)


def test_channels_of_a_dynunet_end_at_320():
    net = SizedDynUNet(2, strides=[1, 2, 2, 2], base_channels=64, deep_supr_num=0)
    assert list(net.filters) == [64, 128, 256, 320]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_each_supervised_layer_gives_a_head_in_training(number):
    net = SizedDynUNet(2, strides=[1, 2, 2, 2], base_channels=2, deep_supr_num=number)
    image = torch.rand(1, 1, 16, 16, 16)
    assert len(logits_per_head(net.train()(image))) == 1 + number
    assert len(logits_per_head(net.eval()(image))) == 1


@pytest.mark.parametrize(
    ("net", "divisor"),
    [
        (SizedUNet(2, base_channels=2, num_layers=4, num_hidden_layers=2), 8),
        (SizedAttentionUnet(2, base_channels=2, num_layers=3, num_hidden_layers=0), 4),
        (SizedDynUNet(2, strides=[1, 2, 2, 1], base_channels=2, deep_supr_num=2), 4),
    ],
)
def test_the_divisor_is_that_of_the_network_underneath(net, divisor):
    assert size_divisor(net) == divisor


@pytest.mark.parametrize("cls", [SizedUNet, SizedAttentionUnet, SizedDynUNet])
def test_a_checkpoint_may_build_it(cls):
    name = f"{cls.__module__}.{cls.__qualname__}"
    assert name in TRUSTED_NETS
    assert isinstance(build_net({"_target_": name, "out_channels": 2, "base_channels": 2}), cls)


@pytest.mark.parametrize(
    ("cls", "wrong", "message"),
    [
        (SizedUNet, {"num_layers": 1}, "num_layers"),
        (SizedUNet, {"base_channels": 0}, "base_channels"),
        (SizedUNet, {"num_hidden_layers": -1}, "num_hidden_layers"),
        (SizedUNet, {"num_res_units": -1}, "num_res_units"),
        (SizedUNet, {"dropout": 1.0}, "dropout"),
        (SizedAttentionUnet, {"num_layers": 2.5}, "num_layers"),
        (SizedAttentionUnet, {"dropout": -0.1}, "dropout"),
        (SizedUNet, {"base_channels": 64, "num_layers": 16}, "2097152 channels; at most 2048"),
        (SizedDynUNet, {"strides": [2, 2, 2]}, "the first 1"),
        (SizedDynUNet, {"strides": [1, 2]}, "three or more"),
        (SizedDynUNet, {"strides": [1, 2, 2], "deep_supr_num": 2}, "must be 0 … 1, not 2"),
        (SizedDynUNet, {"base_channels": 0}, "base_channels"),
    ],
)
def test_a_size_that_makes_no_network_is_refused(cls, wrong, message):
    with pytest.raises(ValueError, match=message):
        cls(2, **wrong)


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (SizedUNet, "unet_sized"),
        (SizedAttentionUnet, "attention_unet_sized"),
        (SizedDynUNet, "dynunet_sized"),
    ],
)
def test_the_defaults_are_those_of_the_config(cls, name):
    node = yaml.safe_load((CONF_DIR / "model" / f"{name}.yaml").read_text(encoding="utf-8"))
    parameters = inspect.signature(cls).parameters
    defaults = {k: p.default for k, p in parameters.items() if k not in ("self", "out_channels")}
    assert {k: list(v) if isinstance(v, tuple) else v for k, v in defaults.items()} == {
        k: v for k, v in node.items() if k != "_target_"
    }


def test_the_first_head_of_unet_plus_plus_is_the_deepest_and_is_what_it_gives_alone():
    arguments = {"spatial_dims": 3, "out_channels": 2, "features": (4, 4, 8, 8, 8, 4)}
    supervised = UNetPlusPlus(deep_supervision=True, **arguments).eval()
    alone = UNetPlusPlus(**arguments).eval()
    alone.load_state_dict(supervised.state_dict())
    image = torch.randn(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        heads, (only,) = supervised(image), alone(image)
    assert len(heads) == 4
    assert torch.equal(heads[0], only)
    assert torch.equal(finest_logits(supervised, image), only)
