"""The best training of a search is looked for in the search's own folder only."""

import pytest
import yaml

from octopi.errors import DataError
from octopi.system.job_folder import best_trial_folder


def write_results(folder, content):
    folder.mkdir()
    path = folder / "optimization_results.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder


def test_the_best_trial_is_a_folder_of_the_search(tmp_path):
    sweep = write_results(tmp_path / "search", {"best": {"folder": "trial_3"}})
    assert best_trial_folder(sweep) == sweep / "trial_3"


@pytest.mark.parametrize("name", ["../elsewhere", "/etc", "", ".", "trial_0/../..", 7, None])
def test_a_best_trial_outside_of_the_search_is_refused(tmp_path, name):
    sweep = write_results(tmp_path / "search", {"best": {"folder": name}})
    with pytest.raises(DataError, match="is damaged"):
        best_trial_folder(sweep)


@pytest.mark.parametrize("content", [[1], "text", {"best": "trial_0"}])
def test_damaged_results_of_a_search_are_named(tmp_path, content):
    sweep = write_results(tmp_path / "search", content)
    with pytest.raises(DataError, match="is damaged"):
        best_trial_folder(sweep)
