"""The line that trains with decisions says what the training before was made of."""

import shlex

import pytest
from scored_project import copy_project, make_scored_project

from octopi.config.overrides import override_key, override_value
from octopi.geometry import Points
from octopi.html_report.training_history import TrainingHistory
from octopi.project import open_project
from octopi.project.queries import PicksQuery, SegmentationQuery
from octopi.project.run_scores import find_score_map
from octopi.reviews.training import (
    TrainedOn,
    find_trained_on,
    next_session,
    write_commands,
)

OBJECTS = ["apo", "ribosome"]


@pytest.fixture
def project(tiny_phantom, tmp_path):
    return open_project(copy_project(tiny_phantom, tmp_path))


def typed(line):
    """Return what a shell and Hydra make of the line: the settings of both commands."""
    return [
        {override_key(word): override_value(word) for word in shlex.split(part)[2:]}
        for part in line.split(" && ")
    ]


def write(project, trained_on, **changes):
    options = {
        "accepted": sets_of("apo", "curator/2"),
        "rejected": ["curator-rejected/2"],
        "partial": frozenset(OBJECTS),
        "objects": OBJECTS,
        "overrides": ["num=3"],
    }
    return typed(write_commands(project, trained_on, **{**options, **changes}))


def sets_of(name, *user_sessions):
    return [PicksQuery.parse(f"{name}:{user_session}") for user_session in user_sessions]


def test_sets_that_all_objects_have_are_named_once_and_others_by_object(project):
    same = {name: sets_of(name, "me/1", "curator/1") for name in OBJECTS}
    targets, _ = write(project, TrainedOn(same, {"rejected": {"apo": "apo:curator-rejected/1"}}))
    assert targets["targets.picks"] == ["me/1", "curator/1", "curator/2"]
    assert targets["targets.rejected"] == ["curator-rejected/1", "curator-rejected/2"]
    unlike = {"apo": sets_of("apo", "me/1"), "ribosome": sets_of("ribosome", "you/7")}
    targets, _ = write(project, TrainedOn(unlike))
    assert targets["targets.picks"] == ["apo:me/1", "ribosome:you/7", "apo:curator/2"]
    project.runs[0].write_picks(PicksQuery("virus-like-particle", "me", "1"), Points.empty())
    targets, _ = write(project, TrainedOn({"apo": sets_of("apo", "me/1", "curator/3")}))
    assert targets["targets.picks"] == ["apo:me/1", "apo:curator/3", "apo:curator/2"]


def test_what_was_not_decided_is_not_named(project):
    targets, _ = write(project, TrainedOn(), rejected=[], partial=frozenset())
    assert targets == {"targets.picks": ["curator/2"], "targets.session_id": 1}


def test_objects_are_partial_where_they_were_or_became_so(project):
    assert write(project, TrainedOn())[0]["targets.annotation"] == "partial"
    targets, _ = write(project, TrainedOn(), partial=frozenset(["apo"]))
    assert targets["targets.annotation"] == {"apo": "partial"}


def test_the_training_is_repeated_from_its_weights_on_the_project_that_was_named(
    project, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "outputs" / "my 'first'"
    folder.mkdir(parents=True)
    (folder / "best_model.pth").touch()
    history = TrainingHistory(
        folder,
        checkpoint_info=None,
        config={
            "tomo_types": ["denoised"],
            "voxel_spacing": [10.0, 20.0],
            "data": {"working_spacing": 20},
        },
        metrics={},
        note="",
        splits={},
        candidates={},
        folds={},
    )
    config = "project.config='a b.json'"
    targets, train = write(project, TrainedOn(history=history), overrides=["num=3", config])
    assert targets["project.config"] == train["project.config"] == "a b.json"
    assert targets["tomo_types"] == ["denoised"]
    assert (targets["voxel_spacing"], targets["data.working_spacing"]) == (10.0, 20)
    assert train["experiment"] == "outputs/my 'first'/"
    assert train["init_from"] == "outputs/my 'first'/best_model.pth"
    assert train["target"] == "targets:octopi/1"


def test_a_folder_beside_is_named_so_that_it_is_taken_for_one(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    history = TrainingHistory(tmp_path / "before", None, {}, {}, "", {}, {}, {})
    assert write(project, TrainedOn(history=history))[1]["experiment"] == "before/"


def test_targets_are_painted_as_before(project):
    radii = {"apo": 60.0, "ribosome": 150.0}
    picks = {name: sets_of(name, "me/1") for name in OBJECTS}
    attributes = {
        "object_radii": radii,
        "sphere_radii": {"apo": 24.0, "ribosome": 60.0},
        "annotated": "lamella:me/1",
        "masks": {"membrane": "membrane:me/1"},
    }
    targets, _ = write(project, TrainedOn(picks, attributes))
    assert targets["targets.annotated"] == "lamella:me/1"
    assert targets["targets.segmentations"] == ["membrane:me/1"]
    assert targets["targets.radius_scale"] == 0.4
    unlike = {**attributes, "sphere_radii": {"apo": 30.0, "ribosome": 60.0}}
    targets, _ = write(project, TrainedOn(picks, unlike))
    assert targets["targets.radius_scales"] == {"apo": 0.5, "ribosome": 0.4}


def test_sessions_are_counted_on():
    assert next_session([]) == "1"
    assert next_session(["2", "11", "first"]) == "12"


def test_what_a_target_was_painted_from_is_found_through_the_checkpoint(
    tiny_phantom, tmp_path, octopi_command, monkeypatch
):
    config = make_scored_project(tiny_phantom, tmp_path)
    monkeypatch.setenv("OCTOPI_PROJECT", str(config))
    job = f"hydra.run.dir={tmp_path / 'job'}"
    assert octopi_command("create_targets", "targets.annotation={ribosome: partial}", job) == 0
    (tmp_path / "config.yaml").write_text("target: targets:octopi/1\n", encoding="utf-8")
    scores = [find_score_map(run, "predict:octopi/1", None) for run in open_project(config).runs]
    project = open_project(config)
    options = {"checkpoint": [str(tmp_path / "best_model.pth")], "objects": OBJECTS}
    assert find_trained_on(project, [], annotations=None, **options).partial  # of any run
    trained_on = find_trained_on(project, scores, annotations=None, **options)
    assert [*trained_on.picks["ribosome"]] == sets_of("ribosome", "curation/0")
    assert trained_on.partial == {"ribosome"}
    assert trained_on.target == SegmentationQuery.parse("targets:octopi/1")
    assert trained_on.annotated_picks(scores[0].run).keys() == trained_on.picks.keys()
    for name in ("me/1", "you/2"):
        project.runs[1].write_picks(*sets_of("ribosome", name), Points.empty())
    trained_on = find_trained_on(project, scores, annotations=["me/1", "you/2"], **options)
    assert {n: [*sets] for n, sets in trained_on.picks.items()} == {
        "ribosome": sets_of("ribosome", "me/1", "you/2")
    }
    assert trained_on.annotated_picks(scores[0].run) == {}
