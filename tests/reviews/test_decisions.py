"""A file of decisions is applied only where it is whole, and of these picks in this project."""

import json
import os

import pytest
from damage import damaged_bytes, damaged_values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scored_project import copy_project, decide, make_scored_project

from octopi.errors import MAX_MESSAGE_LENGTH, DataError
from octopi.geometry import Points
from octopi.project import open_project
from octopi.project.queries import PicksQuery
from octopi.reviews.decisions import check_belongs, read_decisions

SOME = {0: "accept", 1: "reject", 2: "relabel", 3: "accept", 5: "reject", 8: "accept"}


@pytest.fixture(scope="module")
def page(tiny_phantom, tmp_path_factory, octopi_command):
    """The page of a project beside it."""
    page = tmp_path_factory.mktemp("decisions") / "page.html"
    config = make_scored_project(tiny_phantom, page.parent)
    command = [f"project.config={config}", f"output={page}", "annotations=curation/0"]
    assert octopi_command("review", *command) == 0
    return page


@pytest.fixture(scope="module")
def project(page):
    return open_project(page.with_name("project.json"))


def change(path, **values):
    file = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**file, **values}), encoding="utf-8")


def edit_decision(**values):
    def edit(path):
        decisions = json.loads(path.read_text(encoding="utf-8"))["decisions"]
        change(path, decisions=[{**decisions[0], **values}, *decisions[1:]])

    return edit


def edit_run(**values):
    def edit(path):
        runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
        name = next(iter(runs))
        change(path, runs={**runs, name: {**runs[name], **values}})

    return edit


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def drop_one(path):
    change(path, decisions=json.loads(path.read_text(encoding="utf-8"))["decisions"][1:])


def double_one(path):
    decisions = json.loads(path.read_text(encoding="utf-8"))["decisions"]
    change(path, decisions=[*decisions, decisions[0]], num_decisions=len(decisions) + 1)


BAD = [
    (cut, "cut off or no JSON"),
    (lambda path: path.write_text("{}", encoding="utf-8"), "no file that a page"),
    (lambda path: path.write_text("[1", encoding="utf-8"), "cut off or no JSON"),
    (lambda path: path.write_text("[" * 10**5, encoding="utf-8"), "cut off or no JSON"),
    (lambda path: path.write_bytes(b"\xff\xfe\x00"), "no text"),
    (lambda path: change(path, version=2), "version 2"),
    (lambda path: change(path, page="../../x"), "page"),
    (lambda path: change(path, decisions=[], num_decisions=0), "nothing is accepted"),
    (lambda path: change(path, decisions=[None] * 10**4), "decisions.0"),
    (lambda path: change(path, extra="x" * 10**4), "extra"),
    (drop_one, "says 6 decisions and holds 5"),
    (double_one, "decided twice"),
    (edit_decision(object="ribosom"), "ribosom is none of its objects"),
    (edit_decision(decision="maybe"), "decisions.0.*decision"),
    (edit_decision(decision="relabel"), "contradict each other"),
    (edit_decision(relabelled="ribosome"), "contradict each other"),
    (edit_decision(position=[1.0, 2.0]), "decisions.0.position"),
    (edit_decision(position=[1.0, 2.0, float("nan")]), "decisions.0.position"),
    (edit_decision(position=[1e6, 2.0, 3.0]), "outside of tomogram"),
    (edit_decision(run="TS_99"), "nothing is said of run TS_99"),
    (edit_decision(chance="high"), "decisions.0.chance"),
    (edit_run(tomogram={"tomogram": "denoised@20.0"}), "another project"),
    (edit_run(tomogram={"tomogram": "x" * 10**4}), "another project"),
]


@pytest.mark.parametrize(("edit", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_a_file_that_was_cut_off_or_edited_is_refused(page, project, edit, message):
    decide(page, SOME)
    path = page.with_name("decisions.json")
    edit(path)
    with pytest.raises(DataError, match=message) as error:
        check_belongs(read_decisions(path), project, path)
    assert len(str(error.value)) <= MAX_MESSAGE_LENGTH


def test_a_sound_file_is_read_with_all_its_decisions(page, project):
    written = decide(page, SOME)
    path = page.with_name("decisions.json")
    file = read_decisions(path)
    check_belongs(file, project, path)
    assert file.runs.keys() == written["runs"].keys()
    assert [d.decision for d in file.decisions] == list(SOME.values())
    assert sum(map(len, file.accepted().values())) == 4
    assert sum(map(len, file.rejected().values())) == 3


def test_a_pipe_is_no_file_of_decisions(tmp_path):
    os.mkfifo(tmp_path / "decisions.json")
    with pytest.raises(FileExistsError, match="no file"):
        read_decisions(tmp_path / "decisions.json")


def test_the_same_decisions_have_the_same_source_in_any_order(page):
    decide(page, SOME)
    first = read_decisions(page.with_name("decisions.json"))
    change(page.with_name("decisions.json"), decisions=decide(page, SOME)["decisions"][::-1])
    assert read_decisions(page.with_name("decisions.json")).source == first.source
    decide(page, SOME | {1: "accept"})
    assert read_decisions(page.with_name("decisions.json")).source != first.source


def test_decisions_of_another_project_are_refused(page, tmp_path):
    decide(page, SOME)
    path = page.with_name("decisions.json")
    config = copy_project(page.with_name("project.json"), tmp_path)
    check_belongs(read_decisions(path), open_project(config), path)  # a copy is the same
    for folder in list(tmp_path.rglob("TS_0*")):
        folder.rename(folder.with_name(folder.name.replace("TS_0", "lam_")))
    with pytest.raises(DataError, match=r"another project: .* has no run TS_0"):
        check_belongs(read_decisions(path), open_project(config), path)


def test_picks_that_changed_since_are_warned_of(page, tmp_path, caplog):
    run_name = decide(page, SOME)["decisions"][0]["run"]
    path = page.with_name("decisions.json")
    project = open_project(copy_project(page.with_name("project.json"), tmp_path))
    run = project.select([run_name])[0]
    run.write_picks(PicksQuery("ribosome", "octopi", "1"), Points.empty())
    check_belongs(read_decisions(path), project, path)
    assert f"ribosome:octopi/1 in run {run_name}" in caplog.text


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(page, project, data):
    written = decide(page, SOME)
    path = page.with_name("decisions.json")
    if data.draw(st.booleans()):
        path.write_text(json.dumps(data.draw(damaged_values(written))), encoding="utf-8")
    else:
        path.write_bytes(data.draw(damaged_bytes(path.read_bytes())))
    try:
        check_belongs(read_decisions(path), project, path)
    except DataError as error:
        assert len(str(error)) <= MAX_MESSAGE_LENGTH
