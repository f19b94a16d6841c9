"""Scores from logits: on the grid of the input, and the mean of an ensemble's."""

import numpy as np
import pytest
import torch

from octopi.models.logits import to_scores
from octopi.models.net_output import NetOutput
from octopi.models.properties import EnsembleNet

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(2, 3, 4, 4, 4, generator=GENERATOR)


def test_exclusive_scores_are_those_of_a_softmax_without_background():
    scores = to_scores(LOGITS, NetOutput(), (4, 4, 4))
    assert torch.equal(scores, LOGITS.softmax(1)[:, 1:])
    assert len(NetOutput().channels("abc")) == 4


def test_independent_scores_are_those_of_a_sigmoid_each():
    net_output = NetOutput("independent")
    assert torch.equal(to_scores(LOGITS, net_output, (4, 4, 4)), LOGITS.sigmoid())
    assert len(net_output.channels("abc")) == 3


@pytest.mark.parametrize("outputs", ["exclusive", "independent"])
def test_a_blob_in_a_coarse_output_keeps_its_place_in_the_scores(outputs):
    net_output = NetOutput(outputs, stride=2)
    logits = torch.full((1, 2, 6, 6, 6), -9.0)
    logits[0, 0] = 9.0 if outputs == "exclusive" else -9.0
    logits[0, 1, 2:4, 2:4, 2:4] = 20.0  # the middle of the cube
    scores = to_scores(logits, net_output, (12, 12, 12))[0, -1].numpy()
    centre = [
        np.average(np.arange(12), weights=scores.sum(axes)) for axes in ((1, 2), (0, 2), (0, 1))
    ]
    assert centre == pytest.approx([5.5, 5.5, 5.5], abs=1e-3)


@pytest.mark.parametrize("outputs", ["exclusive", "independent"])
def test_the_scores_of_an_ensemble_are_the_mean_of_those_of_its_networks(outputs):
    net_output = NetOutput(outputs)
    nets = [torch.nn.Conv3d(1, 3, 1) for _ in range(3)]
    image = torch.randn(1, 1, 4, 4, 4, generator=GENERATOR)
    with torch.no_grad():
        ensemble = to_scores(EnsembleNet(nets, net_output)(image), net_output, (4, 4, 4))
        each = [to_scores(net(image), net_output, (4, 4, 4)) for net in nets]
    assert torch.allclose(ensemble, torch.stack(each).mean(0), atol=1e-6)
