"""Every choice of every group composes, and every key of it has an owner."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException

from octopi.config import CONF_DIR, settle
from octopi.errors import SettingError
from octopi.help import VERBS, choices
from octopi.settings import ROOTS

GROUPS = sorted(p.name for p in Path(CONF_DIR).iterdir() if p.is_dir())
BASE = {
    "segment": ["checkpoint=model.pth"],
    "summarize": ["folder=sweep"],
    "extract": ["membrane=membrane:tool/1"],
    "export": ["format=csv"],
    "import_tomograms": ["folder=mrc", "tomo_type=wbp"],
}


@pytest.fixture(autouse=True)
def conf(tmp_path, monkeypatch):
    monkeypatch.setenv("OCTOPI_PROJECT", "project.json")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF_DIR)):
        yield


def settled(verb, *words):
    words = [*BASE.get(verb, []), *words]
    cfg = compose(verb, overrides=words, return_hydra_config=True)
    cfg.hydra.runtime.output_dir = "job"
    cfg.hydra.job.num = 0
    HydraConfig.instance().set_config(cfg)
    del cfg.hydra
    return settle(cfg, ROOTS[verb], overrides=words)


def groups_of(verb):
    text = (CONF_DIR / f"{verb}.yaml").read_text(encoding="utf-8")
    return [group for group in GROUPS if f"- {group}:" in text]


CHOICES = [
    (verb, group, choice)
    for verb in VERBS
    for group in groups_of(verb)
    for choice in choices(group)
]


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_composes_as_it_stands(verb):
    assert settled(verb)


@pytest.mark.parametrize(("verb", "group", "choice"), CHOICES)
def test_every_choice_has_owners_for_all_its_keys(verb, group, choice):
    if choice == "checkpoint":
        pytest.skip("takes its target from the checkpoint; the command's default, settled above")
    assert settled(verb, f"{group}={choice}")


@pytest.mark.parametrize("experiment", choices("experiment"))
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("summarize", "doctor")])
def test_an_experiment_serves_every_command(verb, experiment):
    assert settled(verb, f"experiment={experiment}")


@pytest.mark.parametrize("path", sorted(CONF_DIR.rglob("*.yaml")), ids=lambda p: p.stem)
def test_a_config_file_is_short(path):
    assert path.read_text(encoding="utf-8").count("\n") <= 40


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["+modle=1"], "no setting modle.* Did you mean model"),
        (["+model.chanels=[1]"], "no parameter chanels.* Did you mean channels"),
        (["optim.optimizer.lr=fast"], "optim.optimizer.lr must be float, not 'fast'"),
        (["optim.optimizer.lr=nan"], "optim.optimizer.lr must be finite"),
        (["model._target_=os.system"], "is refused: model builds torch.nn.Module only"),
        (["model._target_=logging.os.system"], "cannot be imported"),
        (["loss._target_=builtins.open"], "is refused"),
        (["model._target_=torch.load"], "is refused"),
        (["callbacks.early_stopping._target_=pathlib.Path.unlink"], "cannot be imported|refused"),
        (["model._target_=my_package.Net"], "cannot be imported"),
        (["seed=many"], "seed must be int, not 'many'"),
        (["best_metric=null"], "best_metric must be set"),
        (["model._target_=torch.nn.Conv3d"], r"Add '\+model.in_channels=…'"),
    ],
)
def test_a_wrong_setting_is_refused_with_the_cure(words, told):
    with pytest.raises(SettingError, match=told):
        settled("train", *words)


def test_a_key_of_another_command_is_refused_when_typed():
    with pytest.raises(SettingError, match="no setting"):
        settled("evaluate", "+model.channels=[1]")


@pytest.mark.parametrize("words", [["model=unett"], ["trainer.max_epoch=3"], ["chekpoint=a"]])
def test_hydra_refuses_unknown_choices_and_keys(words):
    with pytest.raises(HydraException):
        settled("train", *words)


def test_a_new_target_drops_the_arguments_of_the_old_one():
    words = ["model._target_=torch.nn.Conv3d", "model.in_channels=1", "+model.kernel_size=1"]
    model = settled("train", *words).model
    assert model == {"_target_": "torch.nn.Conv3d", "in_channels": 1, "kernel_size": 1}


def test_a_missing_mandatory_setting_is_named():
    with pytest.raises(SettingError, match="checkpoint"):
        cfg = compose("segment")
        settle(cfg, ROOTS["segment"])
