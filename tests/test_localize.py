"""What localize reads, score maps and segmentations, and which picks it replaces."""

import json
import os
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import copick
import numpy as np
import pytest
import zarr
from checkpoints import make_info, save_checkpoint
from foreign_volumes import add_segmentation, change_object

import octopi.localize as localize_module
from octopi.candidates import find_run_candidates
from octopi.cli.python_api import compose
from octopi.errors import DataError, NotInProjectError, SettingError
from octopi.geometry import Grid
from octopi.picking import Chance
from octopi.project import open_project
from octopi.project.provenance import identify_tomogram
from octopi.project.queries import PicksQuery, SegmentationQuery
from octopi.project.run_scores import RunScores, find_scores
from octopi.system.job_folder import Job


def test_labels_become_scores_in_little_more_memory_than_the_scores_take():
    labels = {f"object-{k}": k for k in (2, 1, 7)}
    volume = np.random.default_rng(0).choice(
        np.array([0, *labels.values()], np.uint8), (64, 64, 64)
    )
    grid, query = Grid.cubic(volume.shape, 10), SegmentationQuery("targets", "octopi", "1", 10.0)
    run = SimpleNamespace(
        name="TS_1",
        objects={},
        read_segmentation=lambda _query: (volume, grid, {"labels": labels}),
    )
    tracemalloc.start()
    scores = RunScores(run, query, query).read()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * volume.size  # bytes; the scores take three
    assert scores.values.dtype == np.uint8
    for channel, label in zip(scores.values, labels.values(), strict=True):
        assert (channel == np.where(volume == label, 255, 0)).all()


@pytest.mark.parametrize(("spacing", "same"), [(20.2, True), (19.8, True), (20.3, False)])
def test_score_maps_of_a_spacing_are_found_up_to_one_percent(here, spacing, same):
    run = open_project(here / "project.json").runs[0]
    tomogram = next(query for query in run.tomograms() if query.voxel_spacing == 20.0)
    scores = np.zeros((2, 24, 48, 48), np.uint8)
    grid = run.tomogram_grid(tomogram)
    run.write_score_map(tomogram, "predict-octopi-1", scores, grid=grid, attributes={})
    named = {"tomo_type": None, "voxel_spacing": spacing}
    if same:
        assert find_scores(run, "scores", "predict:octopi/1", **named).location == tomogram
    else:
        with pytest.raises(NotInProjectError):
            find_scores(run, "scores", "predict:octopi/1", **named)


def test_features_of_another_program_are_neither_believed_nor_replaced(here, octopi_command, capfd):
    run = open_project(here / "project.json").runs[0]
    tomogram = next(query for query in run.tomograms() if query.voxel_spacing == 20.0)
    scores, grid = np.zeros((2, 24, 48, 48), np.uint8), run.tomogram_grid(tomogram)
    run.write_score_map(tomogram, "predict-octopi-1", scores, grid=grid, attributes={})
    (stored,) = here.rglob("*_predict-octopi-1_features.zarr")
    attributes = json.loads((stored / ".zattrs").read_text(encoding="utf-8"))
    foreign = json.dumps({"multiscales": attributes["multiscales"]})
    (stored / ".zattrs").write_text(foreign, encoding="utf-8")

    assert octopi_command("localize", "runs=[TS_01]") == 3
    assert "score map predict-octopi-1" in (error := capfd.readouterr().err)
    assert "predict-octopi-1 of denoised@20.0, by another program" in error
    save_checkpoint(here / "net.pth", make_info(voxel_spacing=20.0))
    command = ("segment", "checkpoint=net.pth", "accelerator=cpu", "predictor=default")
    small = ("predictor.window_size=null", "predictor.num_sides=1")
    for more in ([], ["dry_run=true"], ["overwrite=true"]):
        assert octopi_command(*command, *small, *more) == 3
        assert "octopi did not write them" in capfd.readouterr().err
    assert (stored / ".zattrs").read_text(encoding="utf-8") == foreign
    assert octopi_command(*command, *small, "overwrite=edited") == 0


def find_labels(run, query):
    return find_scores(run, "segmentation", query, tomo_type=None, voxel_spacing=None).location


SHAPE = (24, 48, 48)
WATERSHED = ["localizer=watershed", "localizer.min_scale=0.1", "localizer.max_scale=5"]


def _ball(radius=4):
    z, y, x = np.indices(SHAPE)
    return (z - 12) ** 2 + (y - 24) ** 2 + (x - 24) ** 2 <= radius**2


def _localize(octopi_command, name):
    source = ["source=segmentation", f"input={name}:someone/0", "thresholds=0.5", "session_id=7"]
    return octopi_command("localize", *source, *WATERSHED, "runs=[TS_01]")


def test_a_binary_mask_gives_picks_of_its_object(here, octopi_command):
    add_segmentation(here, _ball() * np.uint8(255), name="ribosome", multilabel=False)
    assert _localize(octopi_command, "ribosome") == 0
    (run, *_) = open_project(here / "project.json").runs
    picks = [query for query in run.picks() if query.session_id == "7"]
    assert [(query.object_name, len(run.read_picks(query))) for query in picks] == [("ribosome", 1)]


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        (np.where(_ball(), 2, np.nan).astype(np.float32), "voxels that are NaN"),
        (np.where(_ball(), 2.5, 0), "holds scores (0 and 2.5)"),
        (np.where(_ball(), -2, 0), "holds -2 and 0, but a label is never negative"),
        (np.arange(np.prod(SHAPE), dtype=np.uint32).reshape(SHAPE), "which belong to no object"),
    ],
)
def test_a_volume_that_holds_no_labels_is_refused_by_name(
    here, octopi_command, capfd, volume, message
):
    add_segmentation(here, volume, name="painting")
    assert _localize(octopi_command, "painting") == 3
    error = capfd.readouterr().err
    assert "Run TS_01: segmentation painting:someone/0@20.0 " in error
    assert message in error
    assert len(error) < 800


def test_objects_that_share_a_label_are_refused_before_a_voxel_is_read(here, octopi_command, capfd):
    add_segmentation(here, _ball(), name="painting")
    labels = {name: obj.label for name, obj in open_project(here / "project.json").objects.items()}
    change_object(here, "ribosome", label=labels["apo-ferritin"])
    assert _localize(octopi_command, "painting") == 3
    error = capfd.readouterr().err
    assert f"gives the label {labels['apo-ferritin']} to" in error
    assert "ribosome" in error
    octopi_command("check")
    assert f"gives the label {labels['apo-ferritin']} to" in capfd.readouterr().err


def test_a_label_of_an_object_that_is_no_particle_is_known_but_not_picked(here, octopi_command):
    (run, *_) = open_project(here / "project.json").runs
    labels = {name: obj.label for name, obj in run.objects.items()}
    add_segmentation(here, _ball() * np.uint8(labels["membrane"]), name="painting")
    assert _localize(octopi_command, "painting") == 0
    assert "membrane" not in [q.object_name for q in run.picks() if q.session_id == "7"]


@pytest.fixture
def localize(here, octopi_command):
    """Writes score maps of some objects into every run, and localizes them."""

    def run_command(objects, *overrides, values=None, **stored):
        for run in open_project(here / "project.json").runs:
            query = next(q for q in run.tomograms() if q.tomo_type == "denoised")
            grid, volume = run.tomogram_grid(query), run.read_tomogram(query)
            attributes = {
                "objects": objects,
                "checkpoints": {"best_model.pth": ",".join(objects)},
                "train_runs": ["TS_01"],
                **identify_tomogram(run, query, volume),
                **stored,
            }
            scores = np.zeros((len(objects), *grid.shape), np.uint8)
            if values is not None:
                scores[0, ::8, ::8, ::8] = values(scores[0, ::8, ::8, ::8].shape)
            run.write_score_map(query, "predict-octopi-1", scores, grid=grid, attributes=attributes)
        return octopi_command("localize", "localizer=peaks", *overrides)

    return run_command


def picked_objects(here):
    runs = open_project(here / "project.json").runs
    return [sorted(q.object_name for q in run.picks() if q.user_id == "octopi") for run in runs]


def test_picks_of_a_former_model_are_deleted_only_with_overwrite(here, localize, capfd):
    assert localize(["ribosome", "apo-ferritin"]) == 0
    assert picked_objects(here) == [["apo-ferritin", "ribosome"]] * 3
    assert localize(["ribosome"], "dry_run=true") == 2
    assert localize(["ribosome"]) == 2
    assert "has picks octopi/1 of apo-ferritin, which these scores are not of" in (
        capfd.readouterr().err
    )
    assert localize(["ribosome"], "overwrite=true") == 0
    assert picked_objects(here) == [["ribosome"]] * 3


def test_picks_that_a_person_corrected_are_never_replaced_unasked(here, localize, capfd):
    assert localize(["ribosome", "apo-ferritin"]) == 0
    path = next(here.glob("overlay/**/TS_02/Picks/octopi_1_ribosome.json"))
    point = {"location": {"x": 50.0, "y": 60.0, "z": 70.0}}
    corrected = json.loads(path.read_text(encoding="utf-8")) | {"points": [point]}
    path.write_text(json.dumps(corrected), encoding="utf-8")
    for overwrite in ("false", "true"):
        assert localize(["ribosome", "apo-ferritin"], f"overwrite={overwrite}") == 3
        said = capfd.readouterr().err
        assert "Run TS_02: the picks ribosome:octopi/1 would be replaced" in said
        assert "1 picks added, 0 removed" in said
        assert "session_id=2" in said
    assert localize(["ribosome"], "overwrite=true") == 3
    assert json.loads(path.read_text(encoding="utf-8")) == corrected
    assert localize(["ribosome", "apo-ferritin"], "session_id=2") == 0
    assert localize(["ribosome", "apo-ferritin"], "overwrite=edited") == 0
    assert json.loads(path.read_text(encoding="utf-8")) != corrected


def test_picks_say_what_made_them(here, localize):
    assert localize(["ribosome"]) == 0
    run = open_project(here / "project.json").runs[0]
    provenance = run.picks_provenance(PicksQuery("ribosome", "octopi", "1"))
    query = next(q for q in run.tomograms() if q.tomo_type == "denoised")
    assert provenance == {
        "checkpoints": {"best_model.pth": "ribosome"},
        "train_runs": ["TS_01"],
        "source": "scores predict:octopi/1",
        **identify_tomogram(run, query, run.read_tomogram(query)),
    }
    assert localize(["ribosome"], chances={"ribosome": CHANCE}) == 0
    provenance = run.picks_provenance(PicksQuery("ribosome", "octopi", "1"))
    assert (provenance["chance"], provenance["expected_particles"]) == (CHANCE, 0)


def test_scores_of_a_tomogram_that_was_replaced_are_refused(here, localize, octopi_command, capfd):
    assert localize(["ribosome"]) == 0
    project = open_project(here / "project.json")
    query = next(q for q in project.runs[1].tomograms() if q.tomo_type == "denoised")
    store = Path(project.runs[1].open_tomogram(query).store.path)
    array = zarr.open_array(store / "0", mode="r+")
    os.utime(store / "0" / "0" / "0" / "0")
    assert octopi_command("localize", "localizer=peaks") == 0
    array[...] = array[...] + 1
    assert octopi_command("evaluate", "truth=curation/0", "dry_run=true") == 0
    replaced = "1 runs have other tomograms than when their picks were made: TS_02."
    assert replaced in capfd.readouterr().err
    assert octopi_command("localize", "localizer=peaks") == 3
    assert f"Run {project.runs[1].name}: its tomogram {query} has other voxels" in (
        capfd.readouterr().err
    )


def test_a_process_with_other_settings_does_not_write_the_same_picks_at_once(here, localize, capfd):
    holder = (
        "from octopi.project import open_project\n"
        "project = open_project('project.json')\n"
        "with project.writing(project.runs, 'picks octopi/1', {'beta': 2}, dry_run=False):\n"
        "    print('ready', flush=True)\n"
        "    input()\n"
    )
    command = [sys.executable, "-c", holder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"ready\n"
        assert localize(["ribosome"]) == 7
        error = capfd.readouterr().err
        assert "Another process is writing picks octopi/1 with other settings: beta is 2" in error
        assert localize(["ribosome"], "dry_run=true") == 0
        assert localize(["ribosome"], "session_id=2") == 0
        other.communicate(b"\n")
    assert localize(["ribosome"]) == 0


PEAKS = ["localizer.smoothing=0", "localizer.min_distance=0.1", "localizer.centroid_radius=0"]
CHANCE = {"offset": -1.0, "slope": 2.0, "covariance": [0.01, 0.0, 0.01], "found": 1.0}


def scattered(shape):
    """Scores of many peaks, most of them low."""
    return np.random.default_rng(0).beta(0.5, 1.5, shape) * 255


def read_ribosomes(here, run_index=0):
    run = open_project(here / "project.json").runs[run_index]
    return run.read_picks(PicksQuery("ribosome", "octopi", "1"))


def test_scores_of_picks_are_the_chances_that_they_are_particles(here, localize):
    stored = {"chances": {"ribosome": CHANCE}, "thresholds": {"1": {"ribosome": 0.3}}, "beta": 1.0}
    by_training = [*PEAKS, "thresholds_from=training"]
    assert localize(["ribosome"], *by_training, values=scattered, **stored) == 0
    picks = read_ribosomes(here)
    run = open_project(here / "project.json").runs[0]
    scores = scattered(tuple(-(-n // 8) for n in run.tomogram_grid(run.tomograms()[0]).shape))
    chances = Chance(**CHANCE).of(np.sort(scores.astype(np.uint8).ravel())[::-1] / 255)
    assert picks.scores == pytest.approx(chances[chances >= 0.3].astype(np.float32), abs=1e-6)
    assert localize(["ribosome"], *PEAKS, "thresholds=0.8", values=scattered, **stored) == 0
    assert read_ribosomes(here).scores.min() >= 0.8


def test_thresholds_follow_the_candidates_of_all_runs_or_the_training(here, localize, capfd):
    stored = {"chances": {"ribosome": CHANCE}, "thresholds": {"1": {"ribosome": 0.9}}, "beta": 1.0}
    folders = [here / name for name in ("by_training", "by_data")]
    for source, folder in zip(("training", "data"), folders, strict=True):
        overrides = [*PEAKS, f"thresholds_from={source}", f"hydra.run.dir={folder}"]
        assert localize(["ribosome"], *overrides, values=scattered, **stored) == 0
    by_training, by_data = (
        json.loads((folder / "expected.json").read_text(encoding="utf-8"))["ribosome"]
        for folder in folders
    )
    assert by_training["threshold"] == 0.9
    assert by_data["threshold"] < 0.9
    assert by_data["particles"] == pytest.approx(by_training["particles"])
    low, high = by_data["particles_interval"]
    assert low < by_data["particles"] < high
    assert by_data["num_picks"] == sum(len(read_ribosomes(here, i)) for i in range(3))
    assert "from chance" in capfd.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        {"covariance": [0.01, 0.0]},
        {"covariance": [-1.0, 0.0, 0.01]},
        {"covariance": [0.01, 1.0, 0.01]},
        {"found": 0.0},
        {"slope": -1.0},
    ],
)
def test_chances_that_cannot_be_are_damaged_attributes(here, localize, capfd, wrong):
    stored = {"chances": {"ribosome": CHANCE | wrong}}
    assert localize(["ribosome"], values=scattered, **stored) == 3
    assert "has damaged attributes" in capfd.readouterr().err


def test_too_few_candidates_leave_the_threshold_of_the_training(here, localize, capfd):
    stored = {"chances": {"ribosome": CHANCE}, "thresholds": {"1": {"ribosome": 0.9}}, "beta": 1.0}
    assert localize(["ribosome"], **stored) == 0
    assert "Too few ribosome are expected here" in capfd.readouterr().err
    folder = here / "x"
    assert localize(["ribosome"], "thresholds_from=both", f"hydra.run.dir={folder}") == 2


def test_a_bad_label_volume_is_known_before_any_run_is_written(here, octopi_command, capfd):
    volume = np.zeros((24, 48, 48), np.uint8)
    volume[5:9, 5:9, 5:9] = 1
    add_segmentation(here, volume, run="TS_01")
    add_segmentation(here, 77 * volume, run="TS_02")
    words = ["source=segmentation", "input=sheet:someone/0", "localizer=components"]
    for dry_run in ("true", "false"):
        assert octopi_command("localize", *words, f"dry_run={dry_run}") == 3
        assert "Run TS_02: segmentation sheet:someone/0@20.0 holds" in capfd.readouterr().err
    assert not list(here.glob("overlay/**/Picks/*.json"))


def test_of_label_volumes_at_several_spacings_the_one_that_is_named_is_picked(here):
    add_segmentation(here, np.ones((24, 48, 48), np.uint8))
    root = copick.from_file(str(here / "project.json"))
    coarse = root.get_run("TS_01").new_segmentation(
        40.0, "sheet", "0", is_multilabel=True, user_id="someone"
    )
    coarse.from_numpy(np.ones((12, 24, 24), np.uint8))
    run = open_project(here / "project.json").runs[0]
    for spacing in (20.0, 40.0):
        assert find_labels(run, f"sheet:someone/0@{spacing}").voxel_spacing == spacing
    with pytest.raises(SettingError, match="more than one segmentation sheet:someone/0"):
        find_labels(run, "sheet:someone/0")


@pytest.mark.parametrize("edge", [46, 50, 30])
def test_labels_of_another_box_than_the_tomogram_are_refused(here, octopi_command, edge, capfd):
    add_segmentation(here, np.pad(np.ones((2, 2, 2), np.uint8), ((22, 0), (0, edge - 2), (0, 46))))
    run = open_project(here / "project.json").runs[0]
    if edge != 30:
        assert find_labels(run, "sheet:someone/0")
        return
    with pytest.raises(DataError, match=r"24×30×48 voxels of 20 Å, which is the box of no tomogr"):
        find_labels(run, "sheet:someone/0")
    assert octopi_command("check") == 0
    assert "24×30×48 voxels of 20 Å, which is the box of no" in "".join(capfd.readouterr())


def test_an_object_without_chances_keeps_its_threshold_and_nothing_is_expected_of_it(
    here, localize, octopi_command, capfd
):
    stored = {"thresholds": {"1": {"ribosome": 0.9}}, "beta": 1.0}
    overrides = [*PEAKS, f"hydra.run.dir={here / 'x'}"]
    assert localize(["ribosome"], *overrides, values=scattered, **stored) == 0
    expected = json.loads((here / "x" / "expected.json").read_text(encoding="utf-8"))["ribosome"]
    num_picks = sum(len(read_ribosomes(here, i)) for i in range(3))
    assert (expected.pop("threshold"), expected.pop("num_picks")) == (0.9, num_picks)
    assert set(expected.values()) == {None}
    log = capfd.readouterr().err
    row = ["ribosome", "0.900", str(num_picks), "n/a", "n/a", "n/a"]
    assert log.split("recall\n")[1].split()[:6] == row
    overrides = ["objects=[ribosome]", "truth=curation/0", f"hydra.run.dir={here / 'y'}"]
    assert octopi_command("evaluate", *overrides) == 0
    scores = json.loads((here / "y" / "scores.json").read_text(encoding="utf-8"))
    assert scores["expected_particles"] == {"ribosome": None}


def test_a_dry_run_says_which_thresholds_the_data_will_decide(here, localize, capfd):
    stored = {"chances": {"ribosome": CHANCE}, "thresholds": {"1": {"ribosome": 0.9}}, "beta": 1.0}
    by_data = "ribosome from a chance that is chosen from the data (training: 0.9)"
    for overrides, expected in (
        ([], by_data),
        (["thresholds_from=training"], "ribosome from 0.9"),
        (["thresholds={ribosome: 0.7}"], "ribosome from 0.7"),
        (["thresholds=0.8"], "ribosome from 0.8"),
    ):
        assert localize(["ribosome"], "dry_run=true", *overrides, **stored) == 0
        assert f"objects    {expected}\n" in "".join(capfd.readouterr())


def test_neither_the_order_of_runs_nor_a_kill_half_way_changes_the_result(
    here, localize, octopi_command
):
    stored = {"chances": {"ribosome": CHANCE}, "thresholds": {"1": {"ribosome": 0.9}}, "beta": 1.0}
    rng = np.random.default_rng(3)
    command = [*PEAKS, "hydra.run.dir=job"]

    def scattered_anew(shape):
        return rng.beta(0.5, 1.5, shape) * 255

    def result():
        paths = [*sorted(here.rglob("octopi_1_ribosome.json")), here / "job" / "expected.json"]
        assert len(paths) == 4
        return {path: path.read_bytes() for path in paths}

    assert localize(["ribosome"], *command, values=scattered_anew, **stored) == 0
    expected = result()
    for path in list(expected)[1:]:  # as a kill after the first run leaves it
        path.unlink()
    order = "runs=[TS_03,TS_01,TS_02]"
    assert octopi_command("localize", "localizer=peaks", *command, order, "num_workers=3") == 0
    assert result() == expected


@pytest.mark.parametrize("source", ["data", "training"])
def test_processes_that_share_the_runs_write_what_one_alone_writes(
    here, localize, monkeypatch, source
):
    stored = {"chances": {"ribosome": CHANCE}, "thresholds": {"1": {"ribosome": 0.9}}, "beta": 1.0}
    rng = np.random.default_rng(3)
    overrides = ["localizer=peaks", *PEAKS, f"thresholds_from={source}"]

    def result(folder):
        paths = [*sorted(here.rglob("octopi_1_ribosome.json")), here / folder / "expected.json"]
        return {path.name: path.read_bytes() for path in paths}

    words = [*overrides[1:], "hydra.run.dir=alone"]
    values = lambda shape: rng.beta(0.5, 1.5, shape) * 255  # noqa: E731
    assert localize(["ribosome"], *words, values=values, **stored) == 0
    alone = result("alone")
    both_have_claimed, first = threading.Barrier(2), {}

    def find(scores, *arguments):
        if first.setdefault(scores.run.copick_run.root, scores) is scores:
            both_have_claimed.wait(30)
        return find_run_candidates(scores, *arguments)

    monkeypatch.setattr(localize_module, "find_run_candidates", find)
    settings, _ = compose("localize", [*overrides, "num_workers=1"])
    with ThreadPoolExecutor(2) as pool:
        jobs = [Job(here / name, []) for name in ("one", "other")]
        for job in jobs:
            job.folder.mkdir()
        list(pool.map(lambda job: localize_module.localize(settings, job), jobs))
    assert result("one") == result("other") == alone


def test_a_radius_that_is_another_one_than_in_training_is_said(here, localize, capfd):
    now = open_project(here / "project.json").objects["ribosome"].require_radius()
    assert localize(["ribosome"], "dry_run=true", radii={"ribosome": now}) == 0
    assert "in training" not in capfd.readouterr().err
    assert localize(["ribosome"], "dry_run=true", radii={"ribosome": 2 * now}) == 0
    error = capfd.readouterr().err
    assert f"The radius of ribosome is {now:g} Å in the copick config" in error
    assert f"was {2 * now:g} Å in training" in error
