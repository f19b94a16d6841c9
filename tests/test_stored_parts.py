"""The content of a checkpoint or score map is data: it calls nothing, and damage is named."""

import json
import math
import os

import numpy as np
import pytest
import yaml
from checkpoints import make_info
from torch import nn

from octopi.config.files import CONF_DIR
from octopi.errors import SettingError
from octopi.geometry import Grid
from octopi.inference.ensemble import PREDICTOR
from octopi.localization import LOCALIZER
from octopi.localization.peaks import Peaks
from octopi.models import checkpoint
from octopi.models.checkpoint import NET, TRUSTED_NETS
from octopi.project import open_project
from octopi.stored_parts import build_stored

PEAKS = yaml.safe_load((CONF_DIR / "localizer" / "peaks.yaml").read_text(encoding="utf-8"))
PREDICT = yaml.safe_load((CONF_DIR / "predictor" / "default.yaml").read_text(encoding="utf-8"))
UNET = make_info().net | {"out_channels": 2}


class Mine(Peaks):
    """A localizer of the user."""


def attack(marker):
    return {"_target_": "builtins.open", "file": str(marker), "mode": "w"}


def recipe(**changes):
    of_one_object = {
        "net": UNET,
        "labels": {"ribosome": 1},
        "radii": {"ribosome": 150.0},
        "weights": {"ribosome": 1.0},
        "voxel_spacing": 20.0,
        "predictor": PREDICT | {"window_size": None},
        "localizer": PEAKS,
        "thresholds": {"4": {"ribosome": 0.25}},
    }
    return make_info(**(of_one_object | changes))


@pytest.fixture
def model(tmp_path):
    """Write a checkpoint whose recipe is changed; return its path."""

    def write(**changes):
        net = checkpoint.build_net(UNET)
        checkpoint.save(tmp_path / "model.pth", net.state_dict(), recipe(**changes))
        return tmp_path / "model.pth"

    return write


@pytest.fixture
def score_map(here):
    """Write a score map of the first run with these attributes changed; return the run's name."""

    def write(**changes):
        run = open_project(here / "project.json").runs[0]
        tomogram = run.tomograms()[0]
        grid = Grid.cubic((8, 8, 8), tomogram.voxel_spacing)
        attributes = {
            "objects": ["ribosome"],
            "radii": {"ribosome": 150.0},
            "thresholds": {"4": {"ribosome": 0.25}},
            "beta": 4.0,
            "localizer": PEAKS,
            "checkpoints": {"model.pth": "0"},
            "ensemble": "scores",
        }
        scores = np.zeros((1, 8, 8, 8), np.uint8)
        name = "predict-octopi-1"
        run.write_score_map(tomogram, name, scores, grid=grid, attributes=attributes)
        path = next(here.rglob("*features.zarr/.zattrs"))
        content = json.loads(path.read_text(encoding="utf-8"))
        content["octopi"] = attributes | changes
        path.write_text(json.dumps(content), encoding="utf-8")
        return run.name

    return write


@pytest.mark.parametrize("path", sorted((CONF_DIR / "model").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_network_of_the_config_may_be_in_a_checkpoint(path):
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["_target_"] in TRUSTED_NETS


@pytest.mark.parametrize(
    "path", sorted((CONF_DIR / "localizer").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_localizer_of_the_config_may_be_stored(path):
    node = yaml.safe_load(path.read_text(encoding="utf-8"))
    if "_target_" in node:
        assert type(build_stored(node, LOCALIZER, "a file")).__name__.lower() == path.stem


@pytest.mark.parametrize("command", ["localize", "report"])
@pytest.mark.parametrize("more", [[], ["dry_run=true"]])
def test_a_score_map_calls_nothing(here, octopi_command, capsys, score_map, command, more):
    marker = here / "marker"
    run = score_map(localizer=attack(marker))
    assert octopi_command(command, *more) == 2
    message = capsys.readouterr().err
    assert not marker.exists()
    assert f"Run {run}" in message
    assert "builtins.open" in message
    assert "octopi.localization.peaks.Peaks" in message


@pytest.mark.parametrize("trust", [[], ["trust=[builtins.open]"], ["trust=builtins.open"]])
@pytest.mark.parametrize("part", ["predictor", "localizer", "net"])
def test_a_checkpoint_calls_nothing_even_where_it_is_trusted(
    here, octopi_command, capsys, model, score_map, part, trust
):
    score_map()
    marker = here / "marker"
    command = "localize" if part == "localizer" else "segment"
    path = model(**{part: attack(marker)})
    assert octopi_command(command, f"checkpoint={path}", *trust) == 2
    message = capsys.readouterr().err
    assert not marker.exists()
    assert str(path) in message
    assert "builtins.open" in message
    assert "mistake" not in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_target_": "os.remove"}, "does not build for a file"),
        ({"_target_": "octopi.localization.peaks.np"}, "does not build for a file"),
        ({"_target_": None}, "names a class"),
        ({"_target_": {"_target_": "os.remove"}}, "names a class"),
        ({"min_distance": {"_target_": "os.remove", "path": "x"}}, "'_target_', which no argument"),
        ({"min_distance": [{"_partial_": True}]}, "'_partial_', which no argument"),
        ({"_args_": [1]}, "'_args_', which no argument"),
        ({"_partial_": True}, "'_partial_', which no argument"),
        ({"min_distance": "${oc.env:HOME}"}, "may not refer to other settings"),
        ({"min_distance": "0.7"}, "min_distance must be float above 0 .* not '0.7'"),
        ({"min_distance": None}, "min_distance must be set"),
        ({"min_distance": [0.7]}, "min_distance must be float"),
        ({"min_distance": math.nan}, "must be finite"),
        ({"min_distance": math.inf}, "must be finite"),
        ({"min_distance": 10**40}, "must lie within"),
        ({"min_distance": -1}, "min_distance must be float above 0"),
        ({"min_distence": 1}, "Did you mean min_distance"),
    ],
)
def test_a_stored_node_is_plain_and_fits_its_class(change, message):
    with pytest.raises(SettingError, match=message):
        build_stored(PEAKS | change, LOCALIZER, "The score map")


@pytest.mark.parametrize("node", [None, [], "Peaks", 3, {}, {"min_distance": 1}])
def test_a_value_that_is_no_node_is_refused(node):
    with pytest.raises(SettingError, match="names a class"):
        build_stored(node, LOCALIZER, "The score map")


def test_a_missing_argument_is_named():
    node = {key: value for key, value in PEAKS.items() if key != "centroid_radius"}
    with pytest.raises(SettingError, match="lacks centroid_radius"):
        build_stored(node, LOCALIZER, "The score map")


def test_a_class_of_the_user_needs_trust_and_must_be_of_the_kind():
    node = PEAKS | {"_target_": f"{__name__}.Mine"}
    with pytest.raises(SettingError, match=f"trust=.{__name__}.Mine"):
        build_stored(node, LOCALIZER, "The score map")
    assert isinstance(build_stored(node, LOCALIZER, "The score map", [f"{__name__}.Mine"]), Mine)
    for kind in (NET, PREDICTOR):
        with pytest.raises(SettingError, match="which is not a subclass of"):
            build_stored(node, kind, "The checkpoint", [f"{__name__}.Mine"])


def test_no_untrusted_module_is_imported(tmp_path, monkeypatch):
    (tmp_path / "strange.py").write_text(
        f"open({str(tmp_path / 'marker')!r}, 'w')", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingError):
        build_stored({"_target_": "strange.Peaks"}, LOCALIZER, "The score map")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objects": [["ribosome"]]}, "objects must be"),
        ({"radii": {"ribosome": "large"}}, "radii must be"),
        ({"radii": None}, "radii must be set"),
        ({"thresholds": {"4": 0.5}}, "thresholds must be"),
        ({"beta": math.nan}, "beta must be finite"),
        ({"localizer": "peaks"}, "localizer must be"),
        ({"objects": None}, "objects must be set"),
        ({"objects": ["nobody"], "radii": {"nobody": 1.0}}, "has no object nobody"),
        ({"objects": ["ribosome", "apo-ferritin"]}, "1 channels for 2 objects"),
    ],
)
def test_a_score_map_with_damaged_attributes_is_named(
    here, octopi_command, capsys, score_map, change, message
):
    run = score_map(**change)
    assert octopi_command("localize") == 3
    answer = capsys.readouterr().err
    assert message in answer
    assert run in answer or "nobody" in answer
    assert "mistake" not in answer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predictor": PREDICT | {"num_sides": 99}}, "num_sides must be int of 1 … 8"),
        ({"predictor": PREDICT | {"halo": "wide"}}, "halo must be a list of int"),
        ({"predictor": PREDICT | {"halo": [1]}}, "predictor"),
        ({"predictor": {}}, "names a class"),
        ({"net": UNET | {"channels": [4, 10**9]}}, "must lie within"),
        ({"net": UNET | {"channels": "wide"}}, "channels must be a list of int"),
        ({"net": UNET | {"chanels": [4]}}, "Did you mean channels"),
        ({"net": UNET | {"strides": []}}, "net"),
        ({"net": {"_target_": checkpoint.ENSEMBLE}}, "names no networks"),
        ({"net": {"_target_": checkpoint.ENSEMBLE, "nets": [3]}}, "names no networks"),
        ({"labels": {"ribosome": "one"}}, "labels must be"),
        ({"voxel_spacing": math.inf}, "voxel_spacing must be float above 0"),
        ({"voxel_spacing": 0}, "voxel_spacing must be float above 0"),
        ({"tomo_types": []}, "tomo_types must be"),
        ({"thresholds": None}, "thresholds must be set"),
        ({"size_divisor": 0}, "size_divisor must be"),
        ({"net": "UNet"}, "net must be a mapping"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused_with_the_reason(
    here, octopi_command, capsys, model, change, message
):
    path = model(**change)
    assert octopi_command("segment", f"checkpoint={path}") == 2
    answer = capsys.readouterr().err
    assert message in answer
    assert str(path) in answer or "ensemble" in answer
    assert "mistake" not in answer


def test_a_key_that_no_recipe_has_is_refused(tmp_path, model):
    import torch

    path = model()
    content = torch.load(path, weights_only=True)
    content["recipe"]["more"] = 1
    torch.save(content, path)
    with pytest.raises(SettingError, match="its info has more"):
        checkpoint.read(path)
    del content["recipe"]["more"], content["recipe"]["radii"]
    torch.save(content, path)
    with pytest.raises(SettingError, match="its info lacks radii"):
        checkpoint.read(path)
    torch.save(content | {"weights": {"a": "b"}}, path)
    with pytest.raises(SettingError, match="not tensors by name"):
        checkpoint.read(path)


def test_every_trusted_network_is_one():
    import monai.networks.nets  # noqa: F401  so that the names can be resolved

    from octopi.arguments import import_target

    for name in TRUSTED_NETS:
        assert issubclass(import_target(name, "x"), nn.Module), name
    assert os.sep not in "".join(TRUSTED_NETS)
