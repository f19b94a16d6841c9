"""Whose picks are meant is never guessed."""

import shutil

import copick
import pytest

from octopi.errors import NotInProjectError, SettingError
from octopi.project import find_picks, keep_runs_with, open_project


@pytest.fixture
def twice_picked(tiny_phantom, tmp_path):
    """Runs of a project in which two people picked ribosomes."""
    shutil.copytree(tiny_phantom.parent, tmp_path, dirs_exist_ok=True)
    config = tmp_path / "config.json"
    config.write_text(
        tiny_phantom.read_text(encoding="utf-8").replace(str(tiny_phantom.parent), str(tmp_path)),
        encoding="utf-8",
    )
    run = copick.from_file(str(config)).runs[0]
    run.new_picks("ribosome", session_id="0", user_id="anna").from_numpy([[1.0, 2.0, 3.0]])
    return open_project(str(config)).select(None)


def test_two_sets_of_picks_of_one_object_are_refused_also_when_named(twice_picked):
    with pytest.raises(SettingError, match="more than one set of picks of ribosome"):
        find_picks(twice_picked, objects=["ribosome"], source=None)
    held = {str(q) for run in twice_picked for q in run.picks() if q.object_name == "ribosome"}
    assert len(held) == 2
    with pytest.raises(SettingError, match="more than one set of picks of ribosome"):
        find_picks(twice_picked, objects=None, source=sorted(held))
    found = find_picks(twice_picked, objects=None, source=["ribosome:anna/0"])
    assert str(found["ribosome"]) == "ribosome:anna/0"


def test_runs_without_what_is_looked_for_are_told_and_left_out_unless_they_were_named(
    tiny_phantom, caplog
):
    runs = open_project(str(tiny_phantom)).select(None)

    def find(run):
        if run.name == "TS_02":
            raise NotInProjectError("Run TS_02", "score map", "predict", [])
        return run.name.lower()

    found = keep_runs_with(runs, find, named=False)
    assert [(run.name, held) for run, held in found] == [("TS_01", "ts_01"), ("TS_03", "ts_03")]
    assert "1 runs are left out. Run TS_02 has no score map predict" in caplog.text
    with pytest.raises(NotInProjectError, match="TS_02"):
        keep_runs_with(runs, find, named=True)
    with pytest.raises(NotInProjectError, match="TS_02"):
        keep_runs_with(runs[1:2], find, named=False)
