"""Every choice of every group composes, and every key of it has an owner."""

import ast
import dataclasses
import functools
import re
import typing
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import OmegaConf
from required_settings import BASE

import octopi
from octopi.config.check import check_settings, without_null_groups
from octopi.config.files import COMMANDS, CONF_DIR, choices, groups_of
from octopi.config.overrides import override_key
from octopi.config.sections import SECTIONS
from octopi.config.settings import SETTINGS_CLASSES
from octopi.errors import SettingError


@pytest.fixture(autouse=True)
def conf(tmp_path, monkeypatch):
    monkeypatch.setenv("OCTOPI_PROJECT", "project.json")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF_DIR)):
        yield


def composed(verb, *overrides):
    typed_keys = set(map(override_key, overrides))
    overrides = [*(o for o in BASE.get(verb, []) if override_key(o) not in typed_keys), *overrides]
    overrides = without_null_groups(overrides, verb)
    cfg = compose(verb, overrides=overrides, return_hydra_config=True)
    cfg.hydra.runtime.output_dir = "job"
    cfg.hydra.job.num = 0
    HydraConfig.instance().set_config(cfg)
    del cfg.hydra
    return cfg, overrides


def checked_settings(verb, *overrides):
    cfg, overrides = composed(verb, *overrides)
    return check_settings(cfg, SETTINGS_CLASSES[verb], overrides=overrides)


CHOICES = [
    (verb, group, choice)
    for verb in COMMANDS
    for group in groups_of(verb)
    for choice in choices(group)
]


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_command_composes_as_it_stands(verb):
    assert checked_settings(verb)


@pytest.mark.parametrize(("verb", "group", "choice"), CHOICES)
def test_every_choice_has_owners_for_all_its_keys(verb, group, choice):
    if choice == "checkpoint" and groups_of(verb)[group] != "checkpoint":
        with pytest.raises(SettingError, match=f"{group} must name what to build. Choose {group}="):
            checked_settings(verb, f"{group}={choice}")
        return
    assert checked_settings(verb, f"{group}={choice}")


@pytest.mark.parametrize("experiment", choices("experiment"))
@pytest.mark.parametrize(
    "verb",  # compare gives it to its trainings
    [verb for verb in COMMANDS if verb not in ("summarize", "doctor", "compare")],
)
def test_an_experiment_serves_every_command(verb, experiment):
    assert checked_settings(verb, f"experiment={experiment}")


@pytest.mark.parametrize("path", sorted(CONF_DIR.rglob("*.yaml")), ids=lambda p: p.stem)
def test_a_config_file_is_short(path):
    assert path.read_text(encoding="utf-8").count("\n") <= 45


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+modle=1"], "no setting modle.* Did you mean model"),
        (["+model.chanels=[1]"], "no parameter chanels.* Did you mean channels"),
        (["optim.optimizer.lr=fast"], "optim.optimizer.lr must be float above 0 .* not 'fast'"),
        (["optim.optimizer.lr=nan"], "optim.optimizer.lr must be finite, not nan"),
        (["model._target_=os.system"], "is refused: model builds torch.nn.Module only"),
        (["model._target_=logging.os.system"], "cannot be imported"),
        (["loss._target_=builtins.open"], "is refused"),
        (["model._target_=torch.load"], "is refused"),
        (["callbacks.early_stopping._target_=pathlib.Path.unlink"], "cannot be imported|refused"),
        (["model._target_=my_package.Net"], "cannot be imported"),
        (["seed=many"], "seed must be int of 0 … 4294967295, not 'many'"),
        (["best_metric=null"], "best_metric must be set"),
        (["model._target_=torch.nn.Conv3d"], r"Add '\+model.in_channels=…'"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_to_do(overrides, message):
    with pytest.raises(SettingError, match=message):
        checked_settings("train", *overrides)


@pytest.mark.parametrize(
    ("verb", "group"), [(verb, group) for verb in COMMANDS for group in groups_of(verb)]
)
def test_a_group_set_to_null_is_left_out_or_must_be_set(verb, group):
    if group in ("experiment", "search"):
        assert checked_settings(verb, f"{group}=null")
    elif "none" in choices(group):
        none = checked_settings(verb, f"{group}=none")
        assert checked_settings(verb, f"{group}=null") == none
        assert getattr(checked_settings(verb, f"{group}=[]"), group) == {}
    else:
        with pytest.raises(SettingError, match=f"{group} must be set. Choose {group}="):
            checked_settings(verb, f"{group}=null")
        with pytest.raises(SettingError, match=f"{group}"):
            checked_settings(verb, f"~{group}")


def keys_of(node, path=""):
    """Yield the dotted names of all values in a node."""
    for key, value in node.items():
        yield f"{path}{key}"
        if isinstance(value, dict):
            yield from keys_of(value, f"{path}{key}.")


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_value_set_to_null_is_taken_or_named(verb):
    cfg, _ = composed(verb)
    for key in keys_of(dataclasses.asdict(checked_settings(verb))):
        top = key.partition(".")[0]
        if (CONF_DIR / key).is_dir():
            continue  # a group, see above
        changed = cfg.copy()
        OmegaConf.update(changed, key, None)
        try:
            check_settings(changed, SETTINGS_CLASSES[verb], overrides=[f"{key}=null"])
        except SettingError as error:
            assert top in str(error) or "threshold_beta" in str(error)  # which refers to scorer


@pytest.mark.parametrize("path", ["callbacks.weight_averaging", "augment.noise"])
def test_a_part_set_to_null_is_left_out(path):
    top, _, name = path.partition(".")
    assert name in getattr(checked_settings("train"), top)
    assert name not in getattr(checked_settings("train", f"{path}=null"), top)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=-1", "seed must be int of 0 … 4294967295, not -1"),
        ("seed=99999999999", "seed must be int of 0 … 4294967295"),
        (
            "trainer.max_time=banana",
            "trainer.max_time must be str as DD:HH:MM:SS, above 0, or null",
        ),
        ("trainer.max_time=90", "trainer.max_time must be str as DD:HH:MM:SS"),
        ("trainer.devices=0", "trainer.devices must be int of 1 … 1000000"),
        ("trainer.check_val_every_n_epoch=0", "check_val_every_n_epoch must be int of 1 … 1000000"),
        ("trainer.max_epochs=0", "trainer.max_epochs must be int of 1 … 1000000"),
        ("trainer.max_epochs=-1", "trainer.max_epochs must be int of 1 … 1000000"),
        ("trainer.max_epochs=null", "trainer.max_epochs must be set: int of 1 … 1000000"),
        ("trainer.gradient_clip_val=-1", "gradient_clip_val must be float of 0 … 1000000"),
        ("trainer.accumulate_grad_batches=0", "accumulate_grad_batches must be int of 1 … 1000000"),
        ("voxel_spacing=0", "voxel_spacing must be float of 0.5 … 100.0"),
        ("voxel_spacing=[10,-1]", "voxel_spacing must be float of 0.5 … 100.0"),
        (
            "data.crop_size=16",
            "data.crop_size must be a list of int of 1 … 4096 with 3 items, not 16",
        ),
        ("data.working_spacing=0", "data.working_spacing must be float of 0.5 … 100.0, or null"),
        ("num_folds=0", "num_folds must be int of 2 … 1000000"),
        ("num_folds=1", "num_folds must be int of 2 … 1000000"),
        ("fold=-1", "fold must be int of 0 … 1000000"),
        ("threshold_beta=0", "threshold_beta must be float above 0 and at most 100"),
        ("model.strides=2", "model.strides must be a list of int"),
        ("optim.lr_scheduler=null", "optim.lr_scheduler must be set"),
        ("optim.optimizer=null", "optim.optimizer must be set"),
        ("callbacks.weight_averaging.decay=null", "decay must be set: float"),
        ("+optim.optimizer.betas=[0.9,high]", "betas must be a list of float"),
        ("+callbacks.mine={decay: 1}", "callbacks.mine must name what to build"),
        ("+callbacks.mine=1", "callbacks.mine must name what to build"),
        ("+loss._partial_=true", "no parameter _partial_"),
        ("+loss._args_=[1]", "no parameter _args_"),
    ],
)
def test_a_value_out_of_its_range_is_refused_with_the_range(override, message):
    with pytest.raises(SettingError, match=message):
        checked_settings("train", override)


LISTS = [
    *(("train", f"data.{part}_runs") for part in ("train", "validation", "test")),
    ("create_targets", "targets.segmentations"),
    ("create_targets", "targets.objects"),
    *((verb, "tomo_types") for verb in ("train", "create_targets", "check", "plan")),
    *(
        (verb, "runs")
        for verb in COMMANDS
        if "runs" in {f.name for f in dataclasses.fields(SETTINGS_CLASSES[verb])}
    ),
    *((verb, "objects") for verb in ("evaluate", "extract", "export")),
    *((verb, "trust") for verb in ("segment", "localize", "report", "review", "compare")),
    ("review", "annotations"),
    ("train", "objectives"),
]


@pytest.mark.parametrize(("verb", "key"), LISTS)
def test_a_single_name_is_a_list_of_one(verb, key):
    for typed, names in (("TS_02", ["TS_02"]), ("70", ["70"]), ("[TS_02,7]", ["TS_02", "7"])):
        value = dataclasses.asdict(checked_settings(verb, f"{key}={typed}"))
        for part in key.split("."):
            value = value[part]
        assert value == names


def test_scales_of_single_objects_are_written_as_their_comment_says():
    settings = checked_settings("create_targets", "targets.radius_scales={ribosome: 0.4}")
    assert settings.targets.radius_scales == {"ribosome": 0.4}
    with pytest.raises(SettingError, match="radius_scales must be a mapping of names to float abo"):
        checked_settings("create_targets", "targets.radius_scales={ribosome: 0}")


@functools.cache
def read_attributes():
    """Collect the attributes that octopi's code reads: module, owner, name."""
    attributes = set()
    for path in CONF_DIR.parent.joinpath("octopi").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                owner = ast.unparse(node.value).rpartition(".")[2]
                attributes.add((path.stem, owner, node.attr))
    return attributes


def readers(verb):
    """Collect the modules that name the settings class of a command, or a class that holds it."""
    name = SETTINGS_CLASSES[verb].__name__
    texts = [
        (path.stem, path.read_text(encoding="utf-8"))
        for path in CONF_DIR.parent.joinpath("octopi").rglob("*.py")
        if path.stem != "settings"
    ]
    holders = {
        node.name
        for _, text in texts
        if name in text
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef)
        and any(
            isinstance(f, ast.AnnAssign) and ast.unparse(f.annotation) == name for f in node.body
        )
    }
    return {stem for stem, text in texts if any(n in text for n in {name, *holders})} | {"job"}


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_setting_of_a_command_is_read(verb):
    attributes, modules = read_attributes(), readers(verb)
    read = {name for module, owner, name in attributes if module in modules and owner == "settings"}
    nested = {"targets": "TargetsSettings", "rules": "Rules"}
    for f in dataclasses.fields(SETTINGS_CLASSES[verb]):
        if (verb, f.name) != ("train", "trust"):  # read from the command line, before settings are
            assert f.name in read, f"{verb} {f.name}"
        if f.name in nested:
            inner = {name for _, _, name in attributes}
            for part in dataclasses.fields(typing.get_type_hints(SETTINGS_CLASSES[verb])[f.name]):
                assert part.name in inner, f"{verb} {f.name}.{part.name}"


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_key_of_a_commands_file_is_a_setting_of_it(verb):
    content = yaml.safe_load((CONF_DIR / f"{verb}.yaml").read_text(encoding="utf-8"))
    fields = {f.name for f in dataclasses.fields(SETTINGS_CLASSES[verb])}
    assert set(content) - {"defaults", "hydra"} <= fields
    assert set(groups_of(verb)) - {"experiment", "search"} <= fields
    assert fields <= set(content) | set(groups_of(verb))


def test_a_key_of_another_command_is_refused_when_typed():
    with pytest.raises(SettingError, match="no setting"):
        checked_settings("evaluate", "+model.channels=[1]")


@pytest.mark.parametrize("override", ["model=unett", "trainer.max_epoch=3", "chekpoint=a"])
def test_hydra_refuses_unknown_choices_and_keys(override):
    with pytest.raises(HydraException):
        checked_settings("train", override)


def test_a_new_target_drops_the_arguments_of_the_old_one():
    overrides = ["model._target_=torch.nn.Conv3d", "model.in_channels=1", "+model.kernel_size=1"]
    model = checked_settings("train", *overrides).model
    assert model == {"_target_": "torch.nn.Conv3d", "in_channels": 1, "kernel_size": 1}


def test_a_missing_mandatory_setting_is_named():
    with pytest.raises(SettingError, match="checkpoint must be set: type checkpoint=…"):
        cfg = compose("segment")
        check_settings(cfg, SETTINGS_CLASSES["segment"])


def test_what_octopi_reads_of_a_section_cannot_be_left_out(octopi_command, capfd):
    root = Path(octopi.__file__).parent
    text = "".join(path.read_text(encoding="utf-8") for path in root.rglob("*.py"))
    read = set(re.findall(r"\btrainer\[[\"'](\w+)[\"']\]", text))
    assert read == set(SECTIONS["trainer"].read)
    for key in sorted(read):
        assert octopi_command("train", f"~trainer.{key}") == 2
        assert f"trainer.{key} must be set" in capfd.readouterr().err
    for key in ("data.crop_size", "predictor.halo"):  # without a default in code
        assert octopi_command("train", f"~{key}") == 2
        assert key.rpartition(".")[2] in capfd.readouterr().err
