"""What a command says stays short, however many runs a project has and however long their names."""

import json
import logging

import pytest

from octopi.cli import error_report
from octopi.errors import MAX_MESSAGE_LENGTH

LONG = "a_folder_with_a_long_name_" * 3
PARTS = ["runs=[TS_wrong]", "runs=[TS_0001,TS_0002]", ""]
COMMANDS = {
    "check": PARTS,
    "create_targets": [*PARTS, "targets.picks=nobody/1"],
    "train": [*PARTS[2:], "data.train_runs=[TS_wrong]", "data.validation_runs=[TS_wrong]"],
    "plan": [""],
    "segment": [*PARTS, "checkpoint=nothing.pth"],
    "localize": [*PARTS, "source=segmentation input=labels:nobody/1"],
    "evaluate": [*PARTS, "user_id=nobody", "truth=nobody/1"],
    "export": [f"format=csv {word}" for word in PARTS],
    "extract": PARTS,
    "report": PARTS,
}


@pytest.fixture(scope="module")
def many_runs(tmp_path_factory):
    """The config of a project of 1000 runs with nothing in them, and 200 objects."""
    folder = tmp_path_factory.mktemp("many") / LONG / LONG
    for number in range(1000):
        (folder / "overlay" / "ExperimentRuns" / f"TS_{number:04}_{LONG}").mkdir(parents=True)
    objects = [
        {"name": f"{number:03}-{'x' * 60}", "is_particle": True, "label": number + 1, "radius": 60}
        for number in range(200)
    ]
    config = {
        "config_type": "filesystem",
        "pickable_objects": objects,
        "overlay_root": f"local://{folder}/overlay",
        "overlay_fs_args": {},
    }
    path = folder / "project.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("verb", "word"), [(verb, word) for verb, words in COMMANDS.items() for word in words]
)
def test_what_a_command_says_about_a_thousand_runs_is_short(
    many_runs, tmp_path, monkeypatch, octopi_command, capfd, caplog, verb, word
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OCTOPI_PROJECT", str(many_runs))
    monkeypatch.setattr(error_report, "MAX_MESSAGE_LENGTH", 10**6)  # nothing is cut at the end
    code = octopi_command(verb, *word.split())
    error = capfd.readouterr().err
    assert code in (2, 3), error
    message = error.rpartition("octopi: ")[2]
    assert len(message) <= MAX_MESSAGE_LENGTH
    for record in caplog.records:
        if record.levelno >= logging.WARNING:
            assert len(record.getMessage()) <= MAX_MESSAGE_LENGTH
