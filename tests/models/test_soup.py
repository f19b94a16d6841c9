"""The mean of several networks' weights."""

import numpy as np
import pytest
import torch
from checkpoints import NET, make_info

from octopi.errors import SettingError
from octopi.models import checkpoint
from octopi.models.soup import INITIAL_WEIGHTS_KEY, average_weights, sample_weights

SEGRESNET = {
    "_target_": "monai.networks.nets.SegResNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "init_filters": 8,
    "blocks_down": [1, 1, 1],
    "blocks_up": [1, 1],
}
BATCH_NORM = {**NET, "norm": "batch"}


def make_checkpoint(net=NET, *, start=(1.0, 2.0)):
    """Make the weights and the info of a network that began with `start`."""
    torch.manual_seed(0)
    weights = checkpoint.build_net(net).state_dict()
    provenance = {} if start is None else {INITIAL_WEIGHTS_KEY: list(start)}
    return weights, make_info(net=net, provenance=provenance)


def scaled(loaded, factor):
    """Scale the weights of a checkpoint."""
    return {k: v * factor for k, v in loaded[0].items()}, loaded[1]


def test_a_soup_of_one_network_several_times_is_the_network():
    one = make_checkpoint()
    weights, averaged_info = average_weights([one, one, one])
    assert all(torch.equal(weights[name], one[0][name]) for name in one[0])
    assert averaged_info == one[1]


def test_a_soup_is_the_mean_of_the_weights():
    one = make_checkpoint()
    weights, _ = average_weights([one, scaled(one, 4)])
    assert all(torch.allclose(weights[name], 2.5 * one[0][name]) for name in one[0])
    zero, _ = average_weights([one, scaled(one, -1)])
    assert not any(value.any() for value in zero.values())


def test_statistics_are_averaged_and_counters_are_not():
    one, other = make_checkpoint(BATCH_NORM), make_checkpoint(BATCH_NORM)
    for weights, mean, steps in ((one[0], 1.0, 7), (other[0], 3.0, 9)):
        for name, value in weights.items():
            if name.endswith("running_mean"):
                value.fill_(mean)
            if name.endswith("num_batches_tracked"):
                value.fill_(steps)
    weights, averaged_info = average_weights([one, other])
    assert {float(v.mean()) for k, v in weights.items() if k.endswith("running_mean")} == {2.0}
    counters = [v for k, v in weights.items() if k.endswith("num_batches_tracked")]
    assert {int(v) for v in counters} == {7}
    assert counters[0].dtype == torch.int64
    checkpoint.build_trained_net(weights, averaged_info, where="soup")


def test_the_mean_of_half_precision_is_half_precision():
    one = make_checkpoint()
    half = {k: v.half() for k, v in one[0].items()}, one[1]
    assert {v.dtype for v in average_weights([half, half])[0].values()} == {torch.float16}


def test_a_soup_of_an_ensemble_is_that_of_its_networks():
    one, other = make_checkpoint(), scaled(make_checkpoint(), 3)
    nets = [one, other]
    together = {f"nets.{i}.{k}": v for i, (w, _) in enumerate(nets) for k, v in w.items()}
    info = make_info(
        net={"_target_": checkpoint.ENSEMBLE, "nets": [NET, NET]},
        provenance={"folds": [net[1].provenance for net in nets]},
    )
    weights, averaged_info = average_weights([(together, info)])
    assert averaged_info.net == NET
    assert all(torch.allclose(weights[name], 2 * one[0][name]) for name in one[0])
    checkpoint.build_trained_net(weights, averaged_info, where="soup")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make_checkpoint(SEGRESNET), "_target_"),
        (make_checkpoint({**NET, "channels": [4, 16]}), r"channels \[4, 8\] and \[4, 16\]"),
        (make_checkpoint(start=(1.0, 2.5)), "began with the same weights"),
    ],
)
def test_networks_whose_mean_is_no_network_are_refused_with_the_alternative(other, message):
    with pytest.raises(SettingError, match=message) as refused:
        average_weights([make_checkpoint(), other])
    assert "ensemble=scores" in str(refused.value)


def test_weights_of_another_shape_are_refused():
    one, other = make_checkpoint(), make_checkpoint()
    other[0].popitem()
    with pytest.raises(SettingError, match="differ in name or shape"):
        average_weights([one, other])


def test_a_warning_says_that_the_initial_weights_are_not_known(caplog):
    average_weights([make_checkpoint(), make_checkpoint(start=None)])
    assert "does not say with which weights it began" in caplog.text


def test_a_sample_of_the_weights_tells_networks_apart():
    def sampled(seed):
        torch.manual_seed(seed)
        return sample_weights(checkpoint.build_net(NET))

    assert sampled(1) == sampled(1)
    assert not np.allclose(sampled(1), sampled(2), rtol=1e-3)
