"""`octopi evaluate`: what was not picked is no miss, and a score says what it is worth."""

import json

import numpy as np
import pytest
from tiny_project import OBJECTS, make_project

from octopi.geometry import Grid, Points
from octopi.project.queries import PicksQuery, SegmentationQuery

RUNS = ("TS_1", "TS_2")
POINTS = Points(np.array([[100.0, 100, 100], [200, 150, 80]]))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose two runs have true picks of both objects."""
    project = make_project(tmp_path / "project", run_names=RUNS)
    for run in project.runs:
        for name in OBJECTS:
            run.write_picks(PicksQuery(name, "curation", "0"), POINTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OCTOPI_PROJECT", str(project.config_paths[0]))
    return project


def write_picks(run, *names, points=POINTS, **provenance):
    for name in names:
        run.write_picks(PicksQuery(name, "octopi", "1"), points, provenance=provenance)


def counts(tmp_path):
    scores = json.loads(next(tmp_path.glob("outputs/**/scores.json")).read_text(encoding="utf-8"))
    return {run: {name: tuple(n) for name, n in c.items()} for run, c in scores["runs"].items()}


def test_a_run_that_was_not_localized_is_named_and_has_no_misses(
    project, octopi_command, capfd, tmp_path
):
    write_picks(project.runs[0], *OBJECTS)
    assert octopi_command("evaluate", "runs=[TS_1,TS_2]") == 3
    assert "Run TS_2 was not localized: it has no picks of octopi/1" in capfd.readouterr().err
    assert octopi_command("evaluate", "hydra.run.dir=outputs/all") == 0
    assert "Run TS_2 was not localized" in capfd.readouterr().err
    assert counts(tmp_path) == {"TS_1": dict.fromkeys(OBJECTS, (2, 0, 0))}


def test_an_empty_file_of_picks_is_a_row_of_misses(project, octopi_command, tmp_path):
    for run in project.runs:
        write_picks(run, *OBJECTS, points=Points.empty())
    assert octopi_command("evaluate") == 0
    assert counts(tmp_path) == {run: dict.fromkeys(OBJECTS, (0, 0, 2)) for run in RUNS}


def test_an_object_that_was_not_picked_is_left_out_unless_it_is_named(
    project, octopi_command, capfd, tmp_path
):
    for run in project.runs:
        write_picks(run, "ribosome")
    assert octopi_command("evaluate", "objects=[ribosome,apo]") == 3
    assert "No run has picks of apo by octopi/1" in capfd.readouterr().err
    assert octopi_command("evaluate", "hydra.run.dir=outputs/all") == 0
    assert "No run has picks of apo by octopi/1: not scored." in capfd.readouterr().err
    assert counts(tmp_path) == {run: {"ribosome": (2, 0, 0)} for run in RUNS}


def test_only_named_objects_are_scored(project, octopi_command, tmp_path):
    for run in project.runs:
        write_picks(run, *OBJECTS)
    assert octopi_command("evaluate", "objects=[ribosome]") == 0
    assert counts(tmp_path) == {run: {"ribosome": (2, 0, 0)} for run in RUNS}


def test_an_object_that_one_run_lacks_is_named(project, octopi_command, capfd):
    write_picks(project.runs[0], *OBJECTS)
    write_picks(project.runs[1], "ribosome")
    assert octopi_command("evaluate") == 0
    assert "apo is not scored in 1 of 2 runs that have no picks of it: TS_2." in (
        capfd.readouterr().err
    )


def test_picks_are_not_scored_against_themselves(project, octopi_command, capfd):
    assert octopi_command("evaluate", "user_id=curation", "session_id=0") == 2
    assert "curation/0 of apo, ribosome would be scored against themselves" in (
        capfd.readouterr().err
    )


def test_runs_that_were_trained_on_and_picks_of_several_networks_are_named(
    project, octopi_command, capfd
):
    provenance = {"checkpoints": {"job/best_model.pth": "1"}, "train_runs": ["TS_2", "TS_9"]}
    write_picks(project.runs[0], *OBJECTS, **provenance)
    write_picks(project.runs[1], *OBJECTS, **{**provenance, "checkpoints": {"b.pth": "2"}})
    assert octopi_command("evaluate") == 0
    log = capfd.readouterr().err
    assert "1 of 2 runs have the names of runs that the network was trained on (TS_2)" in log
    assert "made by different networks: b.pth, job/best_model.pth." in log


def test_what_others_write_as_the_origin_of_picks_is_left_alone(project, octopi_command):
    for run in project.runs:
        write_picks(run, *OBJECTS, train_runs={"a": 1}, checkpoints=["x"], other=1)
        assert run.picks_provenance(PicksQuery("apo", "octopi", "1")) == {}
    assert octopi_command("evaluate") == 0


def test_picks_in_voxels_and_a_truth_with_particles_twice_are_warned_of(
    project, octopi_command, capfd
):
    voxels = Points(np.array([[10.0, 10, 10], [20, 15, 8], [5, 9, 3]]))
    for run in project.runs:
        write_picks(run, *OBJECTS, points=voxels if run.name == "TS_2" else POINTS)
    twice = Points(np.concatenate([POINTS.positions, POINTS.positions[:1]]))
    project.runs[0].write_picks(PicksQuery("apo", "curation", "0"), twice)
    assert octopi_command("evaluate", "dry_run=true") == 0
    log = capfd.readouterr().err
    assert "3 picks of apo:octopi/1 lie where voxel numbers would, in 1 runs: TS_2 (3)" in log
    assert (
        "1 picks of apo:curation/0 are closer than 10.012 Å to another, in 1 runs: TS_1 (1)" in log
    )


def scattered_picks(rng, keep):
    """Picks scored by their chances, and those of the particles among them that are annotated."""
    positions = np.stack(
        [np.arange(120) * 90.0 % 250, np.arange(120) // 3 * 7.0, np.arange(120)], 1
    )
    scores = rng.uniform(0.5, 1, len(positions))
    is_particle = rng.random(len(positions)) < scores
    annotated = is_particle & (rng.random(len(positions)) < keep)
    return Points(positions, scores), Points(positions[annotated]), is_particle.mean()


OUT_OF_REACH = Points(np.full((2, 3), 200.0))


def test_a_partial_truth_gives_estimates_that_are_marked(project, octopi_command, capfd, tmp_path):
    rng = np.random.default_rng(0)
    for run in project.runs:
        picks, annotated, precision = scattered_picks(rng, 0.4)
        run.write_picks(PicksQuery("ribosome", "curation", "0"), annotated)
        run.write_picks(PicksQuery("apo", "curation", "0"), OUT_OF_REACH)
        write_picks(run, "ribosome", points=picks, expected_particles=100.0)
        write_picks(run, "apo", points=POINTS)
    folder = tmp_path / "outputs" / "partial"
    command = ["evaluate", "objects=[ribosome,apo]", "scorer.tolerance_scale=0.01"]
    assert octopi_command(*command, "truth_annotation=partial", f"hydra.run.dir={folder}") == 0
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    found = scores["scores"]["ribosome"]
    assert found["recall"] == 1
    assert found["tp"] / (found["tp"] + found["fp"]) < 0.4
    assert found["precision"] == pytest.approx(precision, abs=0.25)
    share, low, high = found["annotated_share"]
    assert low <= share <= high < 1
    log = capfd.readouterr().err
    assert "of the ribosome seem annotated" in log
    assert "Nothing tells which part of the apo is annotated" in log
    assert "~ marks estimates" in log
    assert f"~{scores['reliability']['ribosome']['error']:.3f}" in log
    assert scores["expected_particles"] == {"ribosome": 200.0, "apo": None}
    assert octopi_command(*command) == 0
    log = capfd.readouterr().err
    assert "of the ribosome seem annotated" in log
    assert "truth_annotation=partial estimates them" in log
    assert "apo seem" not in log


def test_scores_of_picks_are_compared_with_how_many_are_right(project, octopi_command, tmp_path):
    for run in project.runs:
        run.write_picks(PicksQuery("ribosome", "curation", "0"), POINTS)
        write_picks(run, "ribosome", points=Points(POINTS.positions, [0.9, 0.7]))
    folder = tmp_path / "outputs" / "all"
    assert octopi_command("evaluate", "objects=[ribosome]", f"hydra.run.dir={folder}") == 0
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    assert scores["reliability"]["ribosome"]["error"] == pytest.approx(0.2)
    assert scores["expected_particles"] == {"ribosome": None}
    assert (folder / "reliability.png").stat().st_size > 0


def test_picks_outside_what_is_annotated_are_neither_right_nor_wrong(
    project, octopi_command, tmp_path
):
    run = project.runs[0]
    grid = run.tomogram_grid(run.tomograms()[0])
    mask = np.zeros(grid.shape, np.uint8)
    mask[..., : grid.shape[2] // 2] = 1
    query = SegmentationQuery("region", "curation", "0", run.tomograms()[0].voxel_spacing)
    run.write_segmentation(query, mask, grid=grid, attributes={})
    inside, outside = [0.2 * grid.shape[2], 0.8 * grid.shape[2]] * np.array(grid.spacing[2])
    places = np.array([[x, 20.0, 20.0] for x in (inside, outside)])
    run.write_picks(PicksQuery("ribosome", "curation", "0"), Points(places[:1]))
    write_picks(run, "ribosome", points=Points(places))
    for name, expected in (("null", (1, 1, 0)), ("region:curation/0", (1, 0, 0))):
        folder = tmp_path / "outputs" / name.partition(":")[0]
        command = ["evaluate", "objects=[ribosome]", "runs=[TS_1]", f"annotated={name}"]
        assert octopi_command(*command, f"hydra.run.dir={folder}") == 0
        scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        assert tuple(scores["runs"]["TS_1"]["ribosome"]) == expected
    assert octopi_command("evaluate", "runs=[TS_1,TS_2]", "annotated=region:curation/0") == 3


def test_a_region_or_a_word_that_cannot_be_used_is_refused(project, octopi_command, capfd):
    run = project.runs[0]
    spacing = run.tomograms()[0].voxel_spacing
    shape = run.tomogram_grid(run.tomograms()[0]).shape
    wrong = np.ones((shape[0] // 2, *shape[1:]), np.uint8)
    for name, mask in (("empty", np.zeros(shape, np.uint8)), ("wrong", wrong)):
        query = SegmentationQuery(name, "curation", "0", spacing)
        run.write_segmentation(query, mask, grid=Grid.cubic(mask.shape, spacing), attributes={})
    write_picks(run, *OBJECTS)
    for override, code, message in (
        ("annotated=empty:curation/0", 3, "Run TS_1: empty:curation/0, the mask of what is annot"),
        ("annotated=wrong:curation/0", 3, "is the box of no tomogram"),
        ("annotated=none:curation/0", 3, "no segmentation none:curation/0"),
        ("annotated=empty", 2, "empty"),
        ("truth_annotation=partly", 2, "must be complete or partial, not 'partly'"),
    ):
        for dry_run in ("true", "false"):
            assert octopi_command("evaluate", override, f"dry_run={dry_run}") == code
            error = capfd.readouterr().err
            assert message in error
            assert len(error) < 700


def test_scores_that_are_no_chances_are_not_compared(project, octopi_command, tmp_path):
    for run in project.runs:
        write_picks(run, "ribosome", points=Points(POINTS.positions, [-3.0, 12.0]))
    folder = tmp_path / "outputs" / "all"
    assert octopi_command("evaluate", f"hydra.run.dir={folder}") == 0
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    assert scores["reliability"] == {}
