"""`octopi plan`: what it writes is an experiment that every command takes."""

import pytest
import yaml
from tiny import TINY

PLAN = "outputs/plan/experiment/project.yaml"
SHORT = [word for word in TINY if word.startswith(("trainer.", "model.", "data.steps", "data.num"))]


@pytest.fixture
def planned(here, octopi_command, capfd):
    assert octopi_command("plan", "model.channels=[4,8]", "model.strides=[2]") == 0
    return yaml.safe_load((here / PLAN).read_text(encoding="utf-8")), "".join(capfd.readouterr())


def test_a_plan_says_what_it_saw_what_follows_and_how_to_use_it(planned, here):
    content, said = planned
    text = (here / PLAN).read_text(encoding="utf-8")
    assert text.startswith("# @package _global_")
    assert "3 of 24×48×48 voxels of 20 Å" in text
    assert content["tomo_types"] == ["denoised"]
    assert content["data"]["working_spacing"] is None
    assert content["data"]["crop_size"] == [24, 48, 48]
    assert content["model"] == {"channels": [4, 8], "strides": [2]}
    assert content["num_folds"] == 3
    assert "Time: training about" in text
    assert said.strip().endswith(f"octopi train experiment={PLAN}")


def test_every_command_takes_it_and_training_takes_a_step(planned, here, octopi_command):
    named = f"experiment={PLAN}"
    assert octopi_command("create_targets", named) == 0
    assert octopi_command("check", named) == 0
    once = ["num_folds=null", "data.ratios=null", "data.train_runs=[TS_01,TS_02]",
            "data.validation_runs=[TS_03]", "hydra.run.dir=job"]  # fmt: skip
    assert octopi_command("train", named, *SHORT, *once) == 0
    config = yaml.safe_load((here / "job" / "config.yaml").read_text(encoding="utf-8"))
    assert config["data"]["crop_size"] == [24, 48, 48]
    assert config["predictor"]["window_size"] == [26, 48, 48]  # wider than its halos
    model = "checkpoint=job/best_model.pth"
    assert octopi_command("segment", named, model, "runs=[TS_03]", "predictor.num_sides=1") == 0
    assert octopi_command("localize", named, model, "runs=[TS_03]", "thresholds=0.5") == 0
    assert octopi_command("evaluate", named, "runs=[TS_03]", "scorer=czii") == 0


def test_a_training_from_a_plan_goes_on_without_its_being_named_again(
    planned, here, octopi_command
):
    named = f"experiment={PLAN}"
    assert octopi_command("create_targets", named) == 0
    once = ["num_folds=null", "data.ratios=[1,0,0]", "hydra.run.dir=job"]
    assert octopi_command("train", named, *SHORT, *once) == 0
    assert octopi_command("train", "resume=job", "trainer.max_epochs=2") == 0


def test_a_plan_that_was_edited_is_not_replaced_unasked(planned, here, octopi_command):
    path = here / PLAN
    path.write_text("# @package _global_\nmine: 1\n", encoding="utf-8")
    assert octopi_command("plan") == 2
    assert "mine" in path.read_text(encoding="utf-8")


def test_a_dry_run_shows_the_plan_and_writes_nothing(here, octopi_command, capfd):
    before = sorted(here.rglob("*"))
    words = ["model.channels=[4,8]", "model.strides=[2]", "targets.radius_scale=0.4", "name=mine"]
    assert octopi_command("plan", *words, "dry_run=true") == 0
    said = "".join(capfd.readouterr())
    assert "outputs/plan/experiment/mine.yaml would be written" in said
    assert "radius_scale: 0.4" in said
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("experiment=outputs/none.yaml", "There is no experiment"),
        ("experiment=elsewhere.yaml", "folder called experiment"),
    ],
)
def test_an_experiment_that_cannot_be_is_answered(here, octopi_command, capfd, word, told):
    (here / "elsewhere.yaml").write_text("# @package _global_\n", encoding="utf-8")
    assert octopi_command("create_targets", word) == 2
    assert told in capfd.readouterr().err


def test_picks_of_several_users_must_be_told_apart(here, octopi_command, capfd):
    assert octopi_command("plan", "targets.picks=nobody/1") == 3
    assert "curation/0" in capfd.readouterr().err
