"""Outputs at a stride and of objects that overlap, through every command after the training."""

import itertools
import json
from pathlib import Path

import pytest
from processes import run_command
from tiny import RUNS, TINY, enter_copy

from octopi.models import checkpoint
from octopi.project import open_project

PAINTERS, OUTPUTS = ("spheres", "heatmaps", "offsets"), ("exclusive", "independent")
LOCALIZERS = ("peaks", "watershed", "components")
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


class ThreeObjects:
    """A painter of another number of objects."""

    def __call__(self, labels, particles, radii, stride):
        return 0.0 * labels[:, [0, 0, 0], ::stride, ::stride, ::stride]
'''


@pytest.fixture(scope="module")
def folder(tiny_phantom, tmp_path_factory, octopi_command):
    """A working folder with targets and a network of the user, for all of these tests."""
    folder = tmp_path_factory.mktemp("outputs")
    with pytest.MonkeyPatch.context() as patch:
        enter_copy(tiny_phantom, folder, patch)
        (folder / "my_coarse_net.py").write_text(NET, encoding="utf-8")
        patch.syspath_prepend(folder)
        assert octopi_command("create_targets") == 0
        yield folder


@pytest.fixture
def coarse_net(folder):
    return ["model._target_=my_coarse_net.Coarse"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("painter", "outputs", "stride", "localizer"),
    list(itertools.product(PAINTERS, OUTPUTS, (1, 2), LOCALIZERS)),
)
def test_every_painter_output_stride_and_localizer_take_a_step_or_say_what_fits(
    octopi_command, coarse_net, capfd, painter, outputs, stride, localizer
):
    chosen = [f"painter={painter}", f"outputs={outputs}", f"localizer={localizer}"]
    words = [*WORDS, *coarse_net, f"+model.stride={stride}", *chosen, "dry_run=true"]
    gathers = painter == "offsets" and localizer != "peaks"
    assert octopi_command("train", *words) == (2 if gathers else 0)
    assert ("Choose localizer=peaks" in "".join(capfd.readouterr())) == gathers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("painter", "outputs"), [("heatmaps", "exclusive"), ("offsets", "independent")]
)
def test_painted_targets_train_resume_and_pick(octopi_command, coarse_net, painter, outputs):
    job = f"{painter}_job"
    chosen = [f"painter={painter}", f"outputs={outputs}", "+model.stride=2"]
    words = [*WORDS, *coarse_net, *chosen, "augment=default", f"hydra.run.dir={job}"]
    assert octopi_command("train", *words) == 0
    assert octopi_command("train", f"resume={job}", "trainer.max_epochs=2") == 0
    _, info = checkpoint.read(f"{job}/best_model.pth")
    assert info.net_output.offsets == (painter == "offsets")
    trust = "trust=[my_coarse_net.Coarse]"
    segment = [f"checkpoint={job}/best_model.pth", trust, "segmentation=true", f"name={painter}"]
    assert octopi_command("segment", *segment) == 0
    assert octopi_command("localize", f"input={painter}:octopi/1", f"session_id={painter}") == 0
    assert octopi_command("evaluate", f"session_id={painter}", f"hydra.run.dir={job}_scored") == 0


@pytest.mark.slow
def test_a_coarse_output_of_independent_objects_goes_through_every_command(
    folder, octopi_command, coarse_net
):
    words = [*WORDS, *coarse_net, "+model.stride=2", "outputs=independent"]
    folds = ["num_folds=3", "data.ratios=null", "data.train_runs=null", "data.validation_runs=null"]
    assert run_command("train", *words, *folds, "hydra.run.dir=job") == 0
    _, info = checkpoint.read("job/best_model.pth")
    assert (info.net_output.outputs, info.net_output.stride) == ("independent", 2)
    assert all(node["out_channels"] == len(info.labels) for node in info.net["nets"])
    trust = "trust=[my_coarse_net.Coarse]"
    segment = ["checkpoint=job/best_model.pth", trust, "segmentation=true"]
    assert octopi_command("segment", *segment) == 0
    run = open_project(folder / "project.json").runs[0]
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
        (["painter._target_=my_coarse_net.ThreeObjects"], "my_coarse_net.py, line 19"),
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
