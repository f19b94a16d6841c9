"""What one training of a sweep would refuse is said before the first begins."""

import pytest
from sweeping import write_overlay
from tiny import RUNS, TINY

DRY = "dry_run=true"


@pytest.fixture
def sweep(here, octopi_command, capfd):
    """Runs a sweep; returns its exit code and what it said."""
    assert octopi_command("create_targets") == 0

    def run(*overrides):
        capfd.readouterr()
        arguments = [*TINY, *RUNS, *overrides, "hydra.sweep.dir=sweep"]
        code = octopi_command("train", "-m", *arguments)
        assert not (here / "sweep" / "results.json").exists()
        return code, capfd.readouterr().err.split("octopi: ")[-1]

    return run


@pytest.mark.parametrize("dry", [(DRY,), ()])
@pytest.mark.parametrize(
    ("values", "training", "cause"),
    [
        ("optim.optimizer.lr=1e-3,1e-4,-1", "lr_-1", "lr"),
        ("loss=tversky,focal,focall", "loss_focall", "Did you mean focal?"),
        ("loss.alpha=0.2,0.3,banana", "alpha_banana", "alpha"),
    ],
)
def test_a_setting_of_the_third_training_is_refused_before_the_first(
    sweep, here, dry, values, training, cause
):
    code, said = sweep(values, *dry)
    assert code == 2
    assert training in said
    assert cause in said
    assert not list(here.glob("sweep/*/*"))


def test_a_dry_run_finds_what_shows_only_when_the_third_training_is_built(sweep):
    code, said = sweep("seed=1,2", "data.crop_size=[16,32,32],[16,32,33]", DRY)
    assert code == 2
    assert "crop_size_-16,32,33" in said
    assert "multiples of" in said


def test_a_dry_run_of_sound_trainings_passes(sweep, here):
    assert sweep("fold=0,1,2", "num_folds=3", "data.train_runs=null",
                 "data.validation_runs=null", DRY)[0] == 0  # fmt: skip
    assert not list(here.glob("sweep/*"))


@pytest.mark.parametrize("dry", [(DRY,), ()])
@pytest.mark.parametrize(
    ("override", "cause"),
    [
        ("optim.optimizer.lr=interval(-1,1e-3)", "lr"),
        ("loss=choice(tversky,focal,focall)", "Did you mean focal?"),
    ],
)
def test_a_value_that_a_search_may_draw_is_refused_before_its_first_trial(
    sweep, here, dry, override, cause
):
    code, said = sweep(*write_overlay(here), override, *dry)
    assert code == 2
    assert cause in said
    assert not list(here.glob("sweep/*"))


def test_a_value_that_only_some_trials_have_is_refused_too(sweep, here):
    arguments = write_overlay(here)
    path = here / "my_conf" / "search" / "mine.yaml"
    text = path.read_text(encoding="utf-8").replace("interval(0.1, 0.5)", "choice(0.1, 0.2, -3)")
    path.write_text(text, encoding="utf-8")
    code, said = sweep(*arguments, DRY)
    assert code == 2
    assert "loss.alpha" in said
