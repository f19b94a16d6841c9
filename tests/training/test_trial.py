"""A dry run takes a step and validates on random numbers: what would fail later fails there."""

import sys

import pytest
from tiny import RUNS, TINY

DRY = [*TINY, *RUNS, "dry_run=true"]
SCORER = [
    "scorer.tolerance_scale=0.5",
    "scorer.beta=1",
    "scorer.num_resamples=0",
    "scorer.seed=0",
]
OWN = '''"""A user's parts that fail at work, not before."""

from torch import nn

from octopi.evaluation.scores import Matched
from octopi.localization.localizer import Localizer


class FailsInTraining(nn.Module):
    """A network that takes only images of a few values while it trains."""

    def __init__(self, out_channels):
        super().__init__()
        self.layer = nn.Conv3d(1, out_channels, 1)

    def forward(self, image):
        if self.training and not image.is_meta and image.std() > 0:
            raise ArithmeticError("noise")
        return self.layer(image)


class NoNumbers(FailsInTraining):
    """A network whose gradients are no numbers."""

    def forward(self, image):
        return (self.layer(image) - self.layer(image)).sqrt()


class ReturnsLists(Localizer):
    """A localizer that returns no points."""

    def _find(self, channel):
        return [[0.0, 0.0, 0.0]]


class FailsWithPicks(Matched):
    """A scorer that divides by nothing."""

    def __call__(self, picks, truth, *, radii, weights):
        return 1 / 0
'''


@pytest.fixture
def own_parts(here, octopi_command, monkeypatch):
    assert octopi_command("create_targets") == 0
    (here / "my_parts.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(here)
    monkeypatch.delitem(sys.modules, "my_parts", raising=False)
    return here


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model._target_=my_parts.FailsInTraining"], "my_parts.py, line 18"),
        (["model._target_=my_parts.NoNumbers"], "not finite"),
        (["localizer._target_=my_parts.ReturnsLists"], "my_parts.ReturnsLists must return Points"),
        (["scorer._target_=my_parts.FailsWithPicks", *SCORER], "my_parts.py, line 40"),
    ],
)
def test_parts_that_fail_at_work_fail_in_the_dry_run(
    own_parts, octopi_command, capfd, overrides, words
):
    small = [word for word in DRY if not word.startswith("model.")]
    base = DRY if not overrides[0].startswith("model") else small
    assert octopi_command("train", *base, *overrides) == 2
    output = "".join(capfd.readouterr())
    assert words in output
    assert "mistake in octopi" not in output
