"""Values are written as overrides that Hydra reads back, and composing leaves Hydra as it was."""

import enum
from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobRuntime
from hydra.errors import HydraException
from omegaconf import OmegaConf

from octopi.config.files import CONF_DIR
from octopi.config.overrides import (
    compose_config,
    last_value,
    override_text,
    repeated_overrides,
    replace_overrides,
)
from octopi.errors import SettingError


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("plain", "plain"),
        ("two words, a comma", "two words, a comma"),
        ("it's", "it's"),
        ("C:\\data\\", "C:\\data\\"),
        ("[x]{y}=$z", "[x]{y}=$z"),
        ("${not.an.interpolation}", "${not.an.interpolation}"),
        ("\\${nor.this}", "\\${nor.this}"),
        ("1", "1"),
        (".5", ".5"),
        ("null", "null"),
        ("", ""),
        ("größe", "größe"),
        (None, None),
        (True, True),
        (3, 3),
        (10.012, 10.012),
        (1e-12, 1e-12),
        ([], []),
        (["TS_01", "1", "a,b"], ["TS_01", "1", "a,b"]),
        ((2, (3, 4)), [2, [3, 4]]),
        ({"apo-ferritin": 0.5, "a": [1]}, {"apo-ferritin": 0.5, "a": [1]}),
        (Path("a b/c"), "a b/c"),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.array(["a", "b"]), ["a", "b"]),
        (torch.tensor([1.0, 2.0]), [1.0, 2.0]),
        (Colour.RED, "red"),
        ({"x": 1}.keys(), ["x"]),
    ],
    ids=str,
)
def test_a_value_is_read_back_as_it_was(value, read):
    cfg = compose_config("localize", [override_text("thresholds", value)])
    assert (
        OmegaConf.to_container(cfg.thresholds, resolve=True) == read
        if (OmegaConf.is_config(cfg.thresholds))
        else cfg.thresholds == read
    )


def test_what_cannot_be_written_as_a_setting_is_refused():
    with pytest.raises(SettingError, match=r"model.act cannot be <built-in function abs>"):
        override_text("model.act", abs)


def test_a_name_that_hydra_has_no_quotes_for_is_refused():
    with pytest.raises(SettingError, match=r"thresholds: the name .größe."):
        override_text("thresholds", {"größe": 0.5})


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("job", "job"),
        ("'job'", "job"),
        (r"'it\'s'", "it's"),
        ('"a b"', "a b"),
        ("a=b", "a=b"),
        ("null", None),
        ("", None),
    ],
)
def test_the_last_value_of_a_setting_counts_without_its_quotes(typed, value):
    assert last_value(["resume=x", "resumed=y", f"resume={typed}"], "resume") == value


def test_composing_leaves_hydra_as_it_was():
    JobRuntime.instance().set("name", "mine")
    with hydra.initialize_config_dir(str(CONF_DIR)):
        previous = GlobalHydra.instance().hydra
        JobRuntime.instance().set("name", "mine")
        compose_config("evaluate", [])
        assert GlobalHydra.instance().hydra is previous
        assert JobRuntime.instance().get("name") == "mine"
    assert not GlobalHydra.instance().is_initialized()
    with pytest.raises(HydraException):
        compose_config("evaluate", ["scorer=nothing"])
    assert not GlobalHydra.instance().is_initialized()


def test_several_values_of_a_setting_are_found_and_the_same_twice_is_one():
    typed = ["seed=1", "~logger", "+logger={a: 1}", "seed=1", "loss=dice", "seed=2", "++seed=3"]
    assert repeated_overrides(typed) == {"seed": ["seed=1", "seed=2", "++seed=3"]}


def test_what_a_sweep_sets_in_its_trainings_takes_the_place_of_what_was_typed():
    typed = ["seed=1", "trainer.enable_progress_bar=true"]
    assert replace_overrides(typed, "trainer.enable_progress_bar=false", "++x=1") == [
        "seed=1", "trainer.enable_progress_bar=false", "++x=1",
    ]  # fmt: skip
