"""Short forms of the command line are replaced by what they stand for."""

import pytest

from octopi.cli.overrides import expand_overrides, expand_paths
from octopi.cli.python_api import compose
from octopi.config.overrides import override_value
from octopi.errors import SettingError

AWKWARD = "it's, a=[b] ü"


def test_a_bare_path_is_a_project_or_a_folder():
    assert expand_paths(["a/b.json", "num_runs=3"]) == ["project.config=a/b.json", "num_runs=3"]
    assert expand_paths(["outputs/first"]) == ["folder=outputs/first"]
    assert expand_paths(["--cfg", "job", "+x=1"]) == ["--cfg", "job", "+x=1"]


@pytest.mark.parametrize(
    ("typed", "expanded"),
    [
        ("checkpoint=~/a.pth", "checkpoint=/home/me/a.pth"),
        ("checkpoint=[~/a.pth, ~/b.pth]", "checkpoint=[/home/me/a.pth, /home/me/b.pth]"),
        ("+out='~/a b'", "+out='/home/me/a b'"),
        ("out=~", "out=/home/me"),
        ("out=~nobody-here/x", "out=~nobody-here/x"),
        ("out=./~/x", "out=./~/x"),
        ("name=a~b", "name=a~b"),
        ("~callbacks.swa", "~callbacks.swa"),
    ],
)
def test_the_home_folder_may_be_a_tilde_behind_the_sign_of_a_setting(monkeypatch, typed, expanded):
    monkeypatch.setenv("HOME", "/home/me")
    assert expand_overrides([typed], verb="segment") == [expanded]


def test_an_experiment_of_conf_is_left_to_hydra():
    assert expand_overrides(["experiment=czii"], verb="train") == ["experiment=czii"]


def test_the_same_sweep_has_the_same_folder_and_another_has_another():
    def folder(*overrides):
        return expand_overrides(["-m", *overrides], verb="train")[-1]

    first = folder("search=unet", "seed=1", "hydra.sweeper.n_trials=4")
    assert first.startswith("hydra.sweep.dir=outputs/train/unet-")
    assert first == folder("seed=1", "search=unet", "hydra.sweeper.n_trials=8")
    assert first != folder("search=unet", "seed=2")
    assert folder("seed=1", "hydra.sweep.dir=here") == "hydra.sweep.dir=here"
    assert expand_overrides(["seed=1"], verb="train") == ["seed=1"]


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("seed: 1\n", "_global_`\\."),
        ("", "_global_`\\."),
        ("seed: 1\n# @package _global_\n", "_global_`\\."),
        ("\ufeff# @package _global_\nseed: 1\n", ".*without BOM"),
    ],
)
def test_a_file_that_does_not_say_where_its_settings_belong_is_refused(tmp_path, text, cure):
    path = tmp_path / "experiment" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingError, match=rf"(?s)mine.yaml .*first line `# @package {cure}"):
        expand_overrides([f"experiment={path}"], verb="train")
    path.write_text("\n# mine\r\n#@package _global_\nseed: 1\n", encoding="utf-8")
    assert expand_overrides([f"experiment={path}"], verb="train")


def test_an_experiment_may_be_a_file(tmp_path):
    path = tmp_path / AWKWARD / "experiment" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("# @package _global_\nseed: 77\n", encoding="utf-8")
    overrides = expand_overrides([f"experiment={path}", "target=a:b/1"], verb="train")
    assert overrides[:2] == ["target=a:b/1", "experiment=mine"]
    assert compose("train", overrides)[0].seed == 77


def test_a_sweep_in_a_dry_run_has_the_folder_it_will_have():
    real = expand_overrides(["-m", "seed=1,2"], verb="train")
    dry = expand_overrides(["-m", "seed=1,2", "dry_run=true"], verb="train")
    assert real[-1] in dry
    with pytest.raises(SettingError, match="leave out -m"):
        expand_overrides(["-m", "beta=1,2", "dry_run=true"], verb="localize")


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        (["--runs", "TS_01"], "'runs=[TS_01]'"),
        (["--run-names", "TS_01"], "'runs=[TS_01]'"),
        (["--config", "a b/p.json"], "'project.config=\"a b/p.json\"'"),
        (["-c", "p.json"], "project.config=p.json"),
        (["--voxel-spacing=10"], "'voxel_spacing=\"10\"'"),
        (["--tomo-type", "--overwrite"], "Did you mean tomo_types"),
    ],
)
def test_options_with_dashes_are_answered_with_the_setting(typed, shown):
    with pytest.raises(SettingError) as refused:
        expand_overrides(typed, verb="create_targets")
    assert shown in str(refused.value)


@pytest.mark.parametrize("typed", [["--cfg", "job"], ["-m", "seed=1"], ["-cd", "conf"], []])
def test_hydras_own_options_are_taken(typed):
    assert expand_overrides(typed, verb="train")[: len(typed)] == typed


@pytest.mark.parametrize(
    ("typed", "target"),
    [
        (["targets.session_id=2"], "targets:octopi/2"),
        (["targets.session_id=1", "targets.session_id='007'"], "targets:octopi/007"),
        (["targets.user_id=me", "targets.name=mine"], "mine:me/1"),
    ],
)
@pytest.mark.parametrize("verb", ["train", "check"])
def test_targets_are_chosen_with_the_words_that_made_them(verb, typed, target):
    overrides = expand_overrides([*typed, "runs=[TS_01]"], verb=verb)
    assert overrides == ["runs=[TS_01]", f'target="{target}"']
    assert compose(verb, overrides)[0].target == target


def test_a_target_named_twice_or_other_settings_of_targets_are_left_to_be_refused():
    for typed in (["target=a:b/1", "targets.session_id=2"], ["targets.radius_scale=2"]):
        assert expand_overrides(typed, verb="train") == typed
        with pytest.raises(SettingError, match=r"no setting.* targets"):
            compose("train", typed)
    made = ["targets.session_id=2"]
    assert expand_overrides(made, verb="create_targets") == made


def test_an_experiment_of_a_comparison_is_that_of_its_base(tmp_path):
    typed = ["experiment=czii", "base='loss=dice seed=1'", "methods=[loss=focal]"]
    expanded = expand_overrides([*typed, "hydra.run.dir=job"], verb="compare")
    assert override_value(expanded[-1]) == "experiment=czii loss=dice seed=1"
    assert expanded[:-1] == ["methods=[loss=focal]", "hydra.run.dir=job"]


def test_a_comparison_has_the_same_folder_each_time_it_is_typed():
    typed = ["methods=[loss=focal]", "base=loss=dice"]
    first, again = (
        expand_overrides([*typed, *more], verb="compare") for more in ([], ["trust=[a]"])
    )
    assert first[-1] == again[-1]
    assert first[-1].startswith("hydra.run.dir=outputs/compare/comparison-")
    assert expand_overrides(["methods=[loss=tversky]"], verb="compare")[-1] != first[-1]


def test_resume_auto_keeps_the_command_line_and_needs_the_same_folder_each_time():
    typed = ["model=unet", "resume=auto", "hydra.run.dir=job"]
    assert expand_overrides(typed, verb="train") == typed
    with pytest.raises(SettingError, match=r"hydra\.run\.dir=outputs/NAME"):
        expand_overrides(["resume=auto"], verb="train")
