"""The folder of a training is read as data: what is damaged is named, nothing else is opened."""

import json
import logging

import numpy as np
import pytest
import yaml
from PIL import Image

from octopi.errors import DataError, SettingError
from octopi.evaluation.candidates_file import write_candidates
from octopi.geometry import Points
from octopi.html_report.training_history import NEW, TRAINING, VALIDATION, read_training_history

INFO = {
    "net": {"_target_": "monai.networks.nets.UNet"},
    "labels": {"ribosome": 1},
    "radii": {"ribosome": 100.0},
    "weights": {"ribosome": 1.0},
    "voxel_spacing": 10.0,
    "working_spacing": None,
    "tomo_types": ["denoised"],
    "size_divisor": 4,
    "predictor": {},
    "localizer": {},
    "thresholds": {"4": {"ribosome": 0.3}},
    "beta": 4.0,
}


@pytest.fixture
def folder(tmp_path):
    """Write the folder of a training with validation by hand."""
    folder = tmp_path / "job"
    folder.mkdir()
    points = Points(np.array([[1.0, 2.0, 3.0]]), np.array([0.5]))
    write_candidates(folder / "candidates.npz", {"TS_02": {"ribosome": points}})
    split = {"train": ["TS_01"], "validation": ["TS_02"], "test": []}
    (folder / "data.json").write_text(json.dumps({"split": split}), encoding="utf-8")
    results = {
        "history": {"val/f1": {"epoch": [0, 1], "value": [None, 0.5]}},
        "metrics_note": "These are against annotations.",
    }
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    (folder / "model_config.yaml").write_text(yaml.safe_dump(INFO), encoding="utf-8")
    (folder / "config.yaml").write_text("target: null\n", encoding="utf-8")
    Image.new("RGB", (6, 4)).save(folder / "folds.png")
    return folder


def test_a_training_is_read_whole(folder):
    history = read_training_history(folder)
    assert history.metrics == {"": {"val/f1": {"epoch": [0.0, 1.0], "value": [None, 0.5]}}}
    roles = [history.role_in_training(name) for name in ("TS_01", "TS_02", "TS_03")]
    assert roles == [TRAINING, VALIDATION, NEW]
    assert history.role_when_scored("TS_02") == VALIDATION
    assert history.to_dict()["note"] == "These are against annotations."
    assert history.checkpoint_info is not None
    assert history.checkpoint_info.picking.thresholds_at() == {"ribosome": 0.3}
    assert [picture["name"] for picture in history.pictures] == ["folds"]


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(SettingError, match=r"config\.yaml"):
        read_training_history(tmp_path)


@pytest.mark.parametrize(
    "name", ["config.yaml", "model_config.yaml", "data.json", "candidates.npz"]
)
@pytest.mark.parametrize("damage", [b"", b"\xff\x00{", b"[1, 2", b"- 1\n- 2\n"])
def test_a_damaged_file_is_named(folder, name, damage):
    (folder / name).write_bytes(damage)
    with pytest.raises(DataError, match=f"{folder / name} is damaged"):
        read_training_history(folder)


@pytest.mark.parametrize("split", [None, [], {"train": "TS_01"}, {"train": [1]}])
def test_a_split_that_names_no_runs_is_refused(folder, split):
    (folder / "data.json").write_text(json.dumps({"split": split}), encoding="utf-8")
    with pytest.raises(DataError, match="trained on"):
        read_training_history(folder)


def test_an_incomplete_checkpoint_info_is_named(folder):
    (folder / "model_config.yaml").write_text("labels: {ribosome: 1}\n", encoding="utf-8")
    with pytest.raises(SettingError, match=r"model_config\.yaml"):
        read_training_history(folder)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"history": 3}',
        '{"history": {"a": {"epoch": [0], "value": [0, 1]}}}',
        '{"history": {"a": {"epoch": ["x"], "value": [0]}}}',
        '{"history": {"a": [0, 1]}}',
    ],
)
def test_damaged_metrics_are_left_out(folder, content, caplog):
    (folder / "results.json").write_text(content, encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert read_training_history(folder).metrics == {"": {}}
    assert str(folder / "results.json") in caplog.text


@pytest.mark.parametrize("damage", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n\x00\x00"])
def test_damaged_pictures_are_left_out(folder, damage, caplog):
    (folder / "folds.png").write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        assert read_training_history(folder).pictures == []
    assert str(folder / "folds.png") in caplog.text


def test_a_link_to_a_picture_outside_of_the_folder_is_left_out(folder, tmp_path):
    Image.new("RGB", (6, 4)).save(tmp_path / "private.png")
    (folder / "private.png").symlink_to(tmp_path / "private.png")
    assert [picture["name"] for picture in read_training_history(folder).pictures] == ["folds"]
