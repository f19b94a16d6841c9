"""By default each command reads what the one before it wrote.

The names stand in each command's file, where `--help` shows them, and agree with these.
"""

import pytest
import yaml

from octopi import workflows
from octopi.config.files import CONF_DIR
from octopi.project.selection import OCTOPI_USER


def settings(name):
    return yaml.safe_load((CONF_DIR / f"{name}.yaml").read_text(encoding="utf-8"))


def written(name):
    node = settings(name)
    return f"{node['name']}:{node['user_id']}/{node['session_id']}"


@pytest.mark.parametrize("command", ["train", "check"])
def test_the_target_is_the_one_that_create_targets_writes(command):
    assert settings(command)["target"] == written("targets/default")


@pytest.mark.parametrize("command", ["localize", "report", "review"])
def test_the_score_maps_are_those_that_segment_writes(command):
    assert settings(command)["input"] == written("segment")


def test_the_python_functions_use_the_same_score_maps():
    name, user_id, session_id = workflows.PREDICTIONS
    assert f"{name}:{user_id}/{session_id}" == written("segment")


@pytest.mark.parametrize("command", ["evaluate", "export", "report"])
def test_the_picks_are_those_that_localize_writes(command):
    picks, localize = settings(command), settings("localize")
    assert (picks["user_id"], picks["session_id"]) == (localize["user_id"], localize["session_id"])


@pytest.mark.parametrize("command", ["extract", "review"])
def test_picks_are_split_and_reviewed_that_localize_wrote(command):
    localize = settings("localize")
    assert settings(command)["picks"] == f"{localize['user_id']}/{localize['session_id']}"


@pytest.mark.parametrize("name", ["targets/default", "segment", "localize", "extract"])
def test_results_are_written_as_user_octopi(name):
    assert settings(name)["user_id"] == OCTOPI_USER
