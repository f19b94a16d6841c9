"""Files of a job's folder are read as data: they lead to no other folder, and damage is named."""

import json

import pytest
import yaml

from octopi.errors import DataError, SettingError
from octopi.system.job_folder import Outcome, best_trial_folder, check_holds_no_others, read_outcome


def write_results(folder, content):
    folder.mkdir()
    path = folder / "optimization_results.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder


def test_the_best_trial_is_a_folder_of_the_search(tmp_path):
    sweep = write_results(tmp_path / "search", {"best": {"folder": "trial_3"}})
    assert best_trial_folder(sweep) == sweep / "trial_3"


@pytest.mark.parametrize("name", ["../elsewhere", "/etc", "", ".", "..", "trial_0/../..", 7, None])
def test_a_best_trial_outside_of_the_search_is_refused(tmp_path, name):
    sweep = write_results(tmp_path / "search", {"best": {"folder": name}})
    with pytest.raises(DataError, match="is damaged"):
        best_trial_folder(sweep)


@pytest.mark.parametrize("content", [[1], "text", {"best": "trial_0"}])
def test_damaged_results_of_a_search_are_named(tmp_path, content):
    sweep = write_results(tmp_path / "search", content)
    with pytest.raises(DataError, match=f"is damaged: .*octopi summarize folder={sweep}"):
        best_trial_folder(sweep)


def test_the_outcome_of_a_training_is_none_until_it_has_ended(tmp_path):
    assert read_outcome(tmp_path) is None
    text = (
        '{"state": "pruned", "values": {"a": 0.5, "b": null}, "seconds": 3, "key of tomorrow": 1}'
    )
    (tmp_path / "outcome.json").write_text(text, encoding="utf-8")
    assert read_outcome(tmp_path) == Outcome("pruned", {"a": 0.5, "b": None}, 3)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        "{}",
        '{"state": "complete", "values": {"a": 0.5}}',
        '{"state": "complete", "values": {"a": "high"}, "seconds": 3}',
        '{"state": "complete", "values": 0.5, "seconds": 3}',
    ],
)
def test_a_damaged_outcome_is_named_with_the_cure(tmp_path, text):
    path = tmp_path / "outcome.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=f"{path} is damaged: .*Delete it and start"):
        read_outcome(tmp_path)


def test_files_that_octopi_did_not_write_are_refused_and_those_of_a_training_are_not(tmp_path):
    names = ("config.yaml", "data.json")
    check_holds_no_others(tmp_path, names)
    (tmp_path / "data.json").write_text("{}", encoding="utf-8")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(SettingError, match=r"has data\.json, which octopi did not write"):
        check_holds_no_others(tmp_path, names)
    for text in ("color: red\n", "- a\n", "a: [", ""):
        (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(SettingError, match=r"config\.yaml, data\.json.*hydra\.run\.dir="):
            check_holds_no_others(tmp_path, names)
    settings = dict.fromkeys(("project", "data", "model", "trainer", "seed"), 1)
    (tmp_path / "config.yaml").write_text(json.dumps(settings), encoding="utf-8")
    check_holds_no_others(tmp_path, names)
