"""Every search is a legal config, and so is whatever it may suggest."""

import optuna
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from optuna.distributions import CategoricalDistribution

from octopi.config.build import build
from octopi.config.check import check_settings
from octopi.config.files import CONF_DIR, choices
from octopi.config.settings import TrainSettings
from octopi.models.properties import check_size, size_divisor
from octopi.sweeps.space import UNCONDITIONAL, read_space, strip_condition, suggest_overrides

SEARCHES = choices("search")
NUM_SUGGESTIONS = 20
NUM_BUILT = 3  # of them: building a SwinUNETR takes seconds

CROPS = [64, 80, 96, 112, 128, 144, 160]
HEADS = [[3, 6, 12, 24], [6, 12, 24, 48]]
DEPTHS = [[2, 2, 2, 2], [2, 2, 4, 2], [2, 4, 2, 2], [2, 4, 4, 2], [2, 4, 4, 4]]
TRAINING = {
    "optim.optimizer.lr": [1e-4, 1e-3],
    "optim.optimizer.weight_decay": [1e-4, 1e-2],
    "loss": ["focal", "weighted_focal_tversky", "focal_tversky"],
    "loss.gamma": [0.1, 2.0],
    "loss.alpha": [0.1, 0.5],
    "loss.beta": [0.5, 0.9],
    "loss.weight_tversky": [0.1, 0.9],
    "loss.weight_focal": [0.1, 0.9],
}
# What octopi 1.7.0 searched: the values of a choice, or the ends of a range.
OCTOPI_1_7 = {
    "unet": {
        "model.num_layers": [3, 4],
        "model.num_hidden_layers": [1, 2],
        "model.base_channels": [8, 16, 32],
        "model.num_res_units": [1, 2],
        "model.dropout": [0.0, 0.3],
        "data.crop_size": [[n] * 3 for n in CROPS],
        "data.crops_per_step": [4, 8, 16, 24, 32, 48],
    },
    "segresnet": {
        "model.init_filters": [16, 32],
        "model.dsdepth": [1, 3],
        "model.blocks_down": [[1, 2, 2, 4], [1, 2, 2, 2], [1, 1, 2, 2]],
        "data.crop_size": [[n] * 3 for n in CROPS],
        "data.crops_per_step": [4, 8, 16, 24, 32, 48],
    },
    "dynunet": {
        "model.strides": [[1, 2, 2], [1, 2, 2, 2], [1, 2, 2, 1]],
        "model.deep_supr_num": [0, 1],
        "model.dropout": [0.0, 0.3],
        "data.crop_size": [[n] * 3 for n in CROPS[:4]],
        "data.crops_per_step": [4, 8, 16],
    },
    "swin_unetr": {
        "model.feature_size": [12, 24, 36],
        "model.num_heads": HEADS,
        "model.depths": DEPTHS,
        "model.window_size": [5, 7, 8],
        "model.drop_rate": [0.0, 0.3],
        "model.attn_drop_rate": [0.0, 0.3],
        "model.dropout_path_rate": [0.0, 0.2],
        "data.crop_size": [[n] * 3 for n in (64, 96, 128)],
        "data.crops_per_step": [4, 8, 16],
    },
}


@pytest.fixture(autouse=True)
def conf(monkeypatch):
    monkeypatch.setenv("OCTOPI_PROJECT", "project.json")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF_DIR)):
        yield


def composed(*overrides):
    cfg = compose("train", overrides=list(overrides), return_hydra_config=True)
    cfg.hydra.runtime.output_dir = "job"
    cfg.hydra.job.num = 0
    HydraConfig.instance().set_config(cfg)
    return cfg


def space_of(search, *typed):
    overrides = [f"search={search}", *typed]
    sweeper = composed(*overrides).hydra.sweeper
    return read_space(sweeper.params, sweeper.when, overrides)


def suggested(space, number):
    """Yield the overrides of some trials, and their settings."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=7))
    for _ in range(number):
        overrides = suggest_overrides(space, study.ask())
        cfg = composed(*overrides)
        del cfg.hydra
        yield overrides, check_settings(cfg, TrainSettings, overrides=overrides)


@pytest.mark.parametrize("search", SEARCHES)
def test_every_suggestion_is_a_legal_setting(search):
    space = space_of(search)
    losses = set()
    for overrides, settings in suggested(space, NUM_SUGGESTIONS):
        build(settings.loss, "loss")
        losses.add(settings.loss["_target_"])
        assert settings.pruner["_target_"] == "optuna.pruners.MedianPruner"
        assert f"search={search}" in overrides
    assert len(losses) > 3


@pytest.mark.parametrize("search", SEARCHES)
def test_a_suggested_network_takes_the_suggested_crop(search):
    for _, settings in suggested(space_of(search), NUM_BUILT):
        net = build(settings.model, "model", out_channels=2)
        check_size(settings.data["crop_size"], divisor=size_divisor(net), key="data.crop_size")


def test_a_search_among_models_has_the_space_of_each():
    among = space_of("models")
    (families,) = values_of(among, "model")
    for search in set(SEARCHES) - {"models"}:
        alone = space_of(search)
        (override,) = [
            override for override in alone.fixed[UNCONDITIONAL] if override.startswith("model=")
        ]
        assert override.removeprefix("model=") in families.choices
        for setting in {strip_condition(name) for name in alone.params[UNCONDITIONAL]}:
            assert all(d in values_of(among, setting) for d in values_of(alone, setting))


def values_of(space, setting):
    """Return the distributions that a setting is drawn from."""
    sections = space.params.values()
    drawn = [d for s in sections for name, d in s.items() if strip_condition(name) == setting]
    assert drawn, f"{setting} is not searched"
    return drawn


def contains(distribution, value):
    if isinstance(distribution, CategoricalDistribution):
        text = str(value).replace(" ", "") if isinstance(value, list) else value
        return text in distribution.choices
    return distribution.low <= value <= distribution.high


@pytest.mark.parametrize("search", OCTOPI_1_7)
def test_the_ranges_are_at_least_those_of_octopi_1_7(search):
    space = space_of(search)
    for setting, wanted in (TRAINING | OCTOPI_1_7[search]).items():
        for value in wanted:
            assert any(contains(d, value) for d in values_of(space, setting)), (setting, value)


def test_supervised_layers_depend_on_the_strides():
    space = space_of("dynunet", "model.strides=[1,2,2,1]")
    assert [(d.low, d.high) for d in values_of(space, "model.deep_supr_num")] == [(0, 2)]
    fixed = space_of("dynunet", "model.deep_supr_num=1")
    assert not any("model.deep_supr_num" in params for params in fixed.params.values())


@pytest.mark.parametrize("typed", ["model=dynunet", "pruner=hyperband", "pruner=none", "loss=dice"])
def test_the_command_line_wins_over_the_search(typed):
    group, choice = typed.split("=")
    cfg = composed("search=unet", typed)
    assert cfg.hydra.runtime.choices[group] == choice
    space = space_of("unet", typed)
    assert typed in space.fixed[UNCONDITIONAL]
    assert "optim.optimizer.lr" in space.params[UNCONDITIONAL]
    for _, settings in suggested(space, 2):
        assert getattr(settings, group) is not None


def test_another_model_than_the_search_is_about_keeps_its_own_shape():
    space = space_of("unet", "model=dynunet")
    names = space.params[UNCONDITIONAL].keys()
    assert not any(name.startswith("model.") for name in names)
    assert space_of("unet").params[UNCONDITIONAL].keys() > names
