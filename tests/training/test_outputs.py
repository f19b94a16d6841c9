"""Outputs at a stride and of objects that overlap, through every command after the training."""

import json
import sys
from pathlib import Path

import pytest
from tiny import TINY

from octopi.models import checkpoint
from octopi.project import open_project

RUNS = ["data.train_runs=[TS_01,TS_02]", "data.validation_runs=[TS_03]"]
WORDS = [*(word for word in TINY if not word.startswith("model.")), *RUNS]
NET = '''"""A network whose output is at a part of its input's resolution."""

from torch import nn


class Coarse(nn.Module):
    """Two convolutions and a pooling between them."""

    def __init__(self, out_channels, *, stride):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=1), nn.AvgPool3d(stride), nn.Conv3d(4, out_channels, 1)
        )

    def forward(self, image):
        return self.layers(image)
'''


@pytest.fixture
def coarse_net(here, octopi_command, monkeypatch):
    assert octopi_command("create_targets") == 0
    (here / "my_coarse_net.py").write_text(NET, encoding="utf-8")
    monkeypatch.syspath_prepend(here)
    monkeypatch.delitem(sys.modules, "my_coarse_net", raising=False)
    return ["model._target_=my_coarse_net.Coarse"]


@pytest.mark.slow
def test_a_coarse_output_of_independent_objects_goes_through_every_command(
    here, octopi_command, coarse_net
):
    words = [*WORDS, *coarse_net, "+model.stride=2", "outputs=independent"]
    folds = ["num_folds=3", "data.ratios=null", "data.train_runs=null", "data.validation_runs=null"]
    assert octopi_command("train", *words, *folds, "hydra.run.dir=job") == 0
    _, info = checkpoint.read("job/best_model.pth")
    assert (info.net_output.outputs, info.net_output.stride) == ("independent", 2)
    assert all(node["out_channels"] == len(info.labels) for node in info.net["nets"])
    trust = "trust=[my_coarse_net.Coarse]"
    segment = ["checkpoint=job/best_model.pth", trust, "segmentation=true"]
    assert octopi_command("segment", *segment) == 0
    run = open_project(here / "project.json").runs[0]
    (tomogram, name), *_ = run.score_maps()
    scores, grid, _ = run.read_score_map(tomogram, name)
    assert grid.shape == run.tomogram_grid(tomogram).shape == scores.shape[1:]
    assert octopi_command("localize", "thresholds=0.2") == 0
    assert octopi_command("evaluate", "hydra.run.dir=scored") == 0
    assert json.loads(Path("scored/scores.json").read_text(encoding="utf-8"))
    assert octopi_command("report", "output=report.html") == 0
    assert octopi_command("export", "format=csv", "hydra.run.dir=exported") == 0


def test_a_stride_that_does_not_divide_the_crop_is_refused(octopi_command, coarse_net, capfd):
    words = [*WORDS, *coarse_net, "+model.stride=8", "data.crop_size=[20,32,32]", "dry_run=true"]
    assert octopi_command("train", *words) == 2
    assert "data.crop_size=[20, 32, 32] does not fit" in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["outputs=independent", "loss=dice_ce"], "classes that exclude each other"),
        (["loss._target_=torch.nn.BCEWithLogitsLoss"], "Set outputs=independent"),
        (["outputs=both"], "outputs must be exclusive or independent"),
    ],
)
def test_what_does_not_fit_together_is_refused(octopi_command, coarse_net, capfd, overrides, words):
    words_of_net = [*coarse_net, "+model.stride=1"]
    assert octopi_command("train", *WORDS, *words_of_net, *overrides, "dry_run=true") == 2
    assert words in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "loss",
    [
        ["loss=tversky"],
        ["loss=dice"],
        ["loss=focal", "loss.weights={ribosome: 4}"],
        ["loss=focal_tversky"],
        ["loss=weighted_focal_tversky"],
        ["loss=generalized_dice"],
        ["loss._target_=torch.nn.BCEWithLogitsLoss", "loss.weights={ribosome: 4}"],
    ],
    ids=lambda words: words[0],
)
def test_losses_take_objects_that_overlap(octopi_command, coarse_net, loss):
    words = [*WORDS, *coarse_net, "+model.stride=2", "outputs=independent", *loss]
    assert octopi_command("train", *words, "dry_run=true") == 0
