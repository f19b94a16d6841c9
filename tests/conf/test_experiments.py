"""Every experiment does a step of the real thing, with each of the five commands."""

import pytest
from tiny import RUNS

from octopi.config.files import choices

SMALL = [
    "num_folds=null",
    "data.ratios=null",
    "data.test_runs=null",
    *RUNS,
    "data.crop_size=[16,32,32]",
    "data.steps_per_epoch=1",
    "trainer.max_epochs=1",
    "predictor.num_sides=1",
    "hydra.run.dir=job",
]


@pytest.mark.slow
@pytest.mark.parametrize("experiment", choices("experiment"))
def test_an_experiment_runs_from_targets_to_scores(here, octopi_command, experiment):
    named = f"experiment={experiment}"
    assert octopi_command("create_targets", named) == 0
    assert octopi_command("train", named, *SMALL) == 0
    model = "checkpoint=job/best_model.pth"
    assert octopi_command("segment", named, model, "runs=[TS_03]", "predictor.num_sides=1") == 0
    assert octopi_command("localize", named, model, "runs=[TS_03]", "thresholds=0.5") == 0
    assert octopi_command("evaluate", named, "runs=[TS_03]", "scorer=czii") == 0
