"""What is typed for a method: overrides, or folders; what cannot be compared is refused."""

import dataclasses
from pathlib import Path

import pytest
from tiny import TINY

from octopi.cli.python_api import compose
from octopi.comparison.methods import BASE, read_methods
from octopi.config.overrides import override_texts
from octopi.errors import SettingError

TRAINING = " ".join(TINY)


def read(methods, *, base=TRAINING, seeds="[1,2]", num_folds=3, cpu_seconds="null"):
    overrides = [f"seeds={seeds}", f"num_folds={num_folds}", f"cpu_seconds={cpu_seconds}"]
    settings, _ = compose("compare", [*overrides, "methods=[x]"])
    settings = dataclasses.replace(settings, base=base, methods=methods)
    return read_methods(settings, [], Path("job").absolute())


def test_each_method_is_the_base_with_its_overrides_and_the_seeds_of_all(here):
    base, dice = read(["loss=dice model.channels=[4,16]"])
    assert base.name == BASE
    assert dice.name == "loss=dice model.channels=[4,16]"
    assert [training.seed for training in dice.trainings] == [1, 2]
    of_base, of_dice = base.trainings[1].settings, dice.trainings[1].settings
    assert of_dice.loss["_target_"] == "monai.losses.DiceLoss"
    assert of_dice.model["channels"] == [4, 16]
    assert of_base.model["channels"] == [4, 8]
    assert of_dice.data == of_base.data
    assert of_dice.data["seed"] == of_dice.seed == 2
    assert of_dice.num_folds == 3
    folders = {t.folder.relative_to(here) for m in (base, dice) for t in m.trainings}
    assert len(folders) == 4
    assert not any(folder.exists() for folder in folders)


def test_a_budget_of_cpu_seconds_replaces_that_of_epochs(here):
    base, _ = read(["loss=dice"], cpu_seconds=90)
    settings = base.trainings[0].settings
    assert settings.max_cpu_seconds == 90
    assert settings.trainer["max_epochs"] == 1_000_000


def test_a_method_may_have_another_number_of_folds(here):
    base, two = read(["num_folds=2"])
    assert base.trainings[0].settings.num_folds == 3
    assert two.trainings[0].settings.num_folds == 2


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (["loss=dice", "loss=dyce"], "dyce"),
        (["seed=3"], "seed is the same for all methods"),
        (["trainer.max_time=00:01:00:00"], "max_time is the same for all methods"),
        (["project.config=a.json"], "project.config is the same for all methods"),
        (["loss=dice --resolve"], "--resolve is no setting"),
        (["loss='dice"], "cannot be read: No closing quotation"),
        (["outputs/none"], "either all overrides"),
        (["loss=dice outputs/none"], "names settings and a folder"),
        (["num_folds=null"], "it trains no folds"),
        (["loss=dice", "loss dice"], "either all overrides"),
        (["loss=dice", "loss=dice "], "would share a folder"),
    ],
)
def test_a_method_that_cannot_be_compared_is_refused(
    here, octopi_command, capsys, methods, message
):
    typed = override_texts({"base": TRAINING, "methods": methods, "num_folds": 3})
    overrides = [*typed, "dry_run=true"]
    assert octopi_command("compare", *overrides) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error) < 700
    assert not (here / "outputs").exists()


@pytest.mark.parametrize("base", ["outputs/a", "."])
def test_folders_must_be_of_finished_trainings(here, base):
    with pytest.raises(SettingError, match=r"is (no folder|not the folder)"):
        read(["outputs/b"], base=base)


def test_a_finished_training_with_other_settings_is_not_taken_for_this_one(here, octopi_command):
    base, _ = read(["loss=dice"])
    folder = base.trainings[0].folder
    folder.mkdir(parents=True)
    changed = dataclasses.asdict(base.trainings[0].settings) | {"threshold_beta": 1.5}
    Path(folder / "config.yaml").write_text(str(changed).replace("None", "null"), encoding="utf-8")
    (folder / "outcome.json").write_text(
        '{"state": "complete", "values": {}, "seconds": 1}', encoding="utf-8"
    )
    with pytest.raises(SettingError, match="other settings: threshold_beta"):
        read(["loss=dice"])
