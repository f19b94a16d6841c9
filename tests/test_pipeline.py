"""The five commands, one after the other, on the synthetic project."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
import yaml
import zarr
from processes import Command
from scipy.spatial import KDTree
from tiny import RUNS, TINY
from waiting import wait_until

from octopi.inference import gpu_peaks
from octopi.models import checkpoint
from octopi.project import open_project
from octopi.project.queries import PicksQuery

OBJECTS = {
    "apo-ferritin": 1,
    "beta-galactosidase": 2,
    "ribosome": 3,
    "thyroglobulin": 4,
    "virus-like-particle": 5,
}


@pytest.fixture
def trained(here, octopi_command):
    assert octopi_command("create_targets") == 0
    assert octopi_command("train", *TINY, *RUNS, "hydra.run.dir=job") == 0
    return here / "job"


def test_the_commands_pick_every_object_in_every_run(trained, here, octopi_command):
    model = f"checkpoint={trained / 'best_model.pth'}"
    assert octopi_command("segment", model, "segmentation=true") == 0
    assert octopi_command("localize", model, "thresholds=0.01") == 0
    assert octopi_command("evaluate", "hydra.run.dir=scores", "scorer=czii") == 0
    project = open_project(here / "project.json")
    for run in project.runs:
        picked = {q.object_name for q in run.picks() if q.user_session == "octopi/1"}
        assert picked == set(OBJECTS)
        points = run.read_picks(PicksQuery("ribosome", "octopi", "1"))
        assert points.scores is not None
        assert (points.scores >= 0.01).all()
        assert [q.name for q in run.segmentations() if q.user_id == "octopi"] == [
            "predict",
            "targets",
        ]
    report = json.loads((here / "scores" / "scores.json").read_text(encoding="utf-8"))
    assert set(report["scores"]) == set(OBJECTS)
    assert set(report["runs"]) == {"TS_01", "TS_02", "TS_03"}


def test_a_training_leaves_its_model_its_record_and_its_log(trained):
    names = {path.name for path in trained.iterdir()}
    assert names >= {
        "best_model.pth",
        "model_config.yaml",
        "results.json",
        "last.ckpt",
        "curves.png",
        "config.yaml",
        "data.json",
        "train.log",
    }
    log = (trained / "train.log").read_text(encoding="utf-8")
    assert "Device: 1 × CPU" in log
    assert "outputs/cache, which stay in RAM" in log
    _, info = checkpoint.load(trained / "best_model.pth")
    assert info.labels == OBJECTS
    assert set(info.thresholds["4"]) == set(OBJECTS)
    assert info.tomo_types == ["denoised"]
    assert info.voxel_spacing == pytest.approx(20.0)
    assert info.provenance["split"]["validation"] == ["TS_03"]
    assert (
        yaml.safe_load((trained / "model_config.yaml").read_text(encoding="utf-8"))["labels"]
        == OBJECTS
    )
    results = json.loads((trained / "results.json").read_text(encoding="utf-8"))
    assert results["annotated_share"] == info.annotated_share
    history = results["history"]
    assert history["train_loss"]["epoch"] == [0]
    assert history["object_fbeta"]["value"][0] is not None


def test_finished_runs_are_skipped_and_those_of_another_model_refused(
    trained, here, octopi_command, caplog, capsys
):
    model = trained / "best_model.pth"
    assert octopi_command("segment", f"checkpoint={model}") == 0
    before = {p: p.stat().st_mtime_ns for p in here.rglob("*features.zarr/.zattrs")}
    assert len(before) == 3
    assert octopi_command("segment", f"checkpoint={model}") == 0
    assert before == {p: p.stat().st_mtime_ns for p in here.rglob("*features.zarr/.zattrs")}
    weights, info = checkpoint.read(model)
    other = {name: value + 0.01 for name, value in weights.items()}
    checkpoint.save(here / "other.pth", other, info)
    assert octopi_command("segment", "checkpoint=other.pth") == 2
    assert "overwrite=true" in capsys.readouterr().err
    assert octopi_command("segment", "checkpoint=other.pth", "overwrite=true") == 0
    assert before != {p: p.stat().st_mtime_ns for p in here.rglob("*features.zarr/.zattrs")}


def test_score_maps_of_other_settings_or_of_a_replaced_tomogram_are_not_done(
    trained, here, octopi_command, capsys
):
    words = ["segment", f"checkpoint={trained / 'best_model.pth'}", "runs=[TS_01]"]
    assert octopi_command(*words, "segmentation=true") == 0
    for override, difference in (
        ("predictor.num_sides=2", "predictor.num_sides is 1, not 2"),
        ("predictor.window_size=[48,48,48]", "predictor.window_size is None, not [48, 48, 48]"),
        ("voxel_spacing=20", "working_spacing is None, not 20.0"),
    ):
        assert octopi_command(*words, override) == 2
        assert difference in capsys.readouterr().err
    assert octopi_command(*words, "tomo_type=wbp", "scores=false", "segmentation=true") == 2
    assert "tomogram is denoised@20.0, not wbp@20.0" in capsys.readouterr().err
    chunk = next(here.glob("**/TS_01/**/denoised.zarr/0/0/0/0"))
    chunk.touch()
    assert octopi_command(*words) == 0
    array = zarr.open_array(chunk.parents[2], mode="r+")
    array[...] = array[...] * 2 + 1
    assert octopi_command(*words) == 2
    assert "tomogram is another" in capsys.readouterr().err
    assert octopi_command(*words, "overwrite=true") == 0
    assert octopi_command(*words) == 0


def test_two_checkpoints_predict_one_score_map(trained, here, octopi_command):
    model = trained / "best_model.pth"
    weights, info = checkpoint.read(model)
    checkpoint.save(here / "other.pth", {k: v * 0.9 for k, v in weights.items()}, info)
    assert octopi_command("segment", f"checkpoint=[{model},other.pth]", "runs=[TS_03]") == 0
    run = open_project(here / "project.json").select(["TS_03"])[0]
    tomogram, name = run.score_maps()[0]
    assert len(run.score_map_attributes(tomogram, name)["checkpoints"]) == 2


@pytest.mark.slow
def test_two_processes_share_the_queue_of_runs(trained, here, octopi_command):
    model = f"checkpoint={trained / 'best_model.pth'}"
    assert octopi_command("segment", model, "runs=[TS_01,TS_02]", "accelerator=cpu") == 0
    alone = _score_maps(here)
    assert octopi_command("segment", model, "accelerator=cpu", "devices=2", "overwrite=true") == 0
    together = _score_maps(here)
    assert set(together) == {"TS_01", "TS_02", "TS_03"}
    assert all((alone[name] == together[name]).all() for name in alone)


def test_threads_find_the_picks_that_one_finds(trained, here, octopi_command, capsys):
    model = f"checkpoint={trained / 'best_model.pth'}"
    assert octopi_command("segment", model) == 0
    for num_workers in (1, 3):
        overrides = [f"num_workers={num_workers}", f"session_id={num_workers}", "thresholds=0.01"]
        assert octopi_command("localize", *overrides) == 0
    for run in open_project(here / "project.json").runs:
        for name in OBJECTS:
            alone, at_once = (run.read_picks(PicksQuery(name, "octopi", s)) for s in "13")
            assert (alone.positions == at_once.positions).all()
            assert (alone.scores == at_once.scores).all()
    assert octopi_command("localize", "num_workers=0") == 2
    assert "num_workers must be int of 1 … 512, not 0" in capsys.readouterr().err


def test_localize_finds_maxima_on_a_gpu_if_requested(
    trained, here, octopi_command, capsys, monkeypatch
):
    """The CPU stands in for the GPU."""
    devices, find = [], gpu_peaks._find_local_maxima

    def stand_in(values, kernels, min_height, device):
        devices.append(device)
        return find(values, kernels, min_height, torch.device("cpu"))

    monkeypatch.setattr(gpu_peaks, "_find_local_maxima", stand_in)
    assert octopi_command("segment", f"checkpoint={trained / 'best_model.pth'}") == 0
    for accelerator, has_gpu in (("cpu", False), ("gpu", True)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda has_gpu=has_gpu: has_gpu)
        overrides = [f"session_id={accelerator}", f"accelerator={accelerator}", "thresholds=0.01"]
        assert octopi_command("localize", *overrides) == 0
    runs = open_project(here / "project.json").runs
    assert devices == [torch.device("cuda")] * len(runs) * len(OBJECTS)
    for run in runs:
        for name in OBJECTS:
            cpu, gpu = (run.read_picks(PicksQuery(name, "octopi", s)) for s in ("cpu", "gpu"))
            assert len(cpu) == len(gpu)
            distances, _ = KDTree(cpu.positions).query(gpu.positions)  # equal scores have no order
            assert (distances < 0.01).all()
    assert octopi_command("localize", "accelerator=gpu", "localizer=components") == 2
    assert "accelerator=gpu needs localizer=peaks" in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert octopi_command("localize", "accelerator=gpu") == 4
    assert "torch sees no GPU. Use accelerator=cpu" in capsys.readouterr().err
    assert octopi_command("localize", "accelerator=tpu") == 2
    assert "accelerator must be cpu or gpu, not 'tpu'" in capsys.readouterr().err


@pytest.mark.slow
def test_an_error_in_one_process_is_reported_and_a_rerun_does_the_rest(
    trained, here, octopi_command, capfd
):
    tomograms = here.glob("static/ExperimentRuns/TS_02/VoxelSpacing*/*.zarr")
    chunks = {tomogram / "0/0/0/0": (tomogram / "0/0/0/0").read_bytes() for tomogram in tomograms}
    for chunk in chunks:
        chunk.write_bytes(b"")
    overrides = [f"checkpoint={trained / 'best_model.pth'}", "accelerator=cpu"]
    assert octopi_command("segment", *overrides, "devices=2") == 3
    error = capfd.readouterr().err
    assert "Run TS_02: tomogram" in error
    assert "1 of 3 runs failed. The others are done" in error
    assert set(_score_maps(here)) == {"TS_01", "TS_03"}
    assert octopi_command("status") == 0
    assert "failed 1 of 3 tries: Run TS_02: tomogram" in capfd.readouterr().err
    for chunk, content in chunks.items():
        chunk.write_bytes(content)
    assert octopi_command("segment", *overrides) == 0
    assert set(_score_maps(here)) == {"TS_01", "TS_02", "TS_03"}


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["child", "parent"])
def test_a_killed_process_takes_the_others_with_it(trained, here, victim):
    overrides = [f"checkpoint={trained / 'best_model.pth'}", "accelerator=cpu", "devices=2"]
    parent = Command("segment", *overrides, log=here / "log")
    children = wait_until(lambda: _workers_of(parent.pid))
    os.kill(children[0] if victim == "child" else parent.pid, signal.SIGKILL)
    assert parent.wait() == (4 if victim == "child" else -signal.SIGKILL)
    assert victim == "parent" or "A process is lost" in parent.output()
    wait_until(lambda: not any(Path(f"/proc/{child}/cmdline").exists() for child in children))


@pytest.mark.slow
def test_ctrl_c_leaves_the_rest_of_the_queue_undone_and_a_rerun_does_it(
    trained, here, octopi_command
):
    overrides = [f"checkpoint={trained / 'best_model.pth'}", "accelerator=cpu"]
    parent = Command("segment", *overrides, "devices=2", log=here / "log")
    children = wait_until(lambda: _workers_of(parent.pid))
    os.killpg(parent.pid, signal.SIGINT)  # as a terminal does: all of them get it
    assert parent.wait() == 130
    assert "Traceback" not in parent.output()
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert len(_score_maps(here)) < 3
    assert octopi_command("segment", *overrides) == 0
    assert set(_score_maps(here)) == {"TS_01", "TS_02", "TS_03"}


def _workers_of(pid):
    """Return the processes that a segmentation started, once both run."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    lines = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    workers = [child for child, line in lines.items() if b"spawn_main" in line]
    return workers if len(workers) == 2 else []


def _score_maps(here):
    runs = open_project(here / "project.json").runs
    return {
        run.name: run.read_score_map(*run.score_maps()[0])[0] for run in runs if run.score_maps()
    }


def test_a_project_of_tomograms_only_can_be_picked(trained, here, octopi_command, tmp_path):
    for picks in here.rglob("Picks/*"):
        picks.unlink()
    model = f"checkpoint={trained / 'best_model.pth'}"
    assert octopi_command("segment", model, "runs=[TS_02]") == 0
    assert octopi_command("localize", "runs=[TS_02]") == 0


def test_no_picks_found_is_written_as_no_picks(trained, here, octopi_command):
    model = f"checkpoint={trained / 'best_model.pth'}"
    assert octopi_command("segment", model) == 0
    assert octopi_command("localize", "thresholds=0.001") == 0
    assert octopi_command("localize", "thresholds=1.0") == 0
    for run in open_project(here / "project.json").runs:
        assert all(len(run.read_picks(q)) == 0 for q in run.picks() if q.user_id == "octopi")


def test_picks_of_a_person_are_replaced_with_overwrite_edited_only(
    trained, here, octopi_command, capsys
):
    assert octopi_command("segment", f"checkpoint={trained / 'best_model.pth'}") == 0
    overrides = ["thresholds=0.01", "user_id=me"]
    project = open_project(here / "project.json")
    query = PicksQuery("ribosome", "me", "1")
    mine = project.runs[0].read_picks(PicksQuery("ribosome", "curation", "0"))
    project.runs[0].write_picks(query, mine)
    path = next(here.glob(f"overlay/**/{project.runs[0].name}/Picks/me_1_ribosome.json"))
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["octopi"]
    path.write_text(json.dumps(content), encoding="utf-8")
    for overwrite in ("false", "true"):
        assert octopi_command("localize", *overrides, f"overwrite={overwrite}") == 3
        assert "overwrite=edited" in capsys.readouterr().err
    assert len(project.runs[0].read_picks(query)) == len(mine)
    assert octopi_command("localize", *overrides, "overwrite=edited") == 0
    assert project.runs[0].read_picks(query).scores is not None


def test_label_volumes_of_anyone_can_be_localized(here, octopi_command):
    assert octopi_command("create_targets", "targets.radius_scale=0.7") == 0
    overrides = ["source=segmentation", "input=targets:octopi/1", "localizer=components"]
    assert octopi_command("localize", *overrides) == 0
    assert octopi_command("evaluate", "hydra.run.dir=scores") == 0
    assert json.loads((here / "scores" / "scores.json").read_text(encoding="utf-8"))["total"] > 0.9


def test_a_membrane_is_learned_but_not_picked(here, octopi_command):
    overrides = ["targets.segmentations=[membrane:curation/0]"]
    assert octopi_command("create_targets", *overrides) == 0
    assert octopi_command("train", *TINY, *RUNS, "hydra.run.dir=job") == 0
    _, info = checkpoint.load(here / "job" / "best_model.pth")
    assert info.labels == {**OBJECTS, "membrane": 6}
    assert set(info.radii) == set(OBJECTS)
    model = "checkpoint=job/best_model.pth"
    assert octopi_command("segment", model, "runs=[TS_01]", "segmentation=true") == 0
    assert octopi_command("localize", model, "runs=[TS_01]", "thresholds=0.01") == 0
    run = open_project(here / "project.json").select(["TS_01"])[0]
    assert {q.object_name for q in run.picks() if q.user_id == "octopi"} == set(OBJECTS)


def test_a_users_network_needs_trust_and_no_registration(here, octopi_command, capsys):
    (here / "my_own_net.py").write_text(
        "from torch import nn\n"
        "class Tiny(nn.Sequential):\n"
        "    def __init__(self, out_channels, width):\n"
        "        super().__init__(\n"
        "            nn.Conv3d(1, width, 3, padding=1),\n"
        "            nn.ReLU(),\n"
        "            nn.Conv3d(width, out_channels, 1),\n"
        "        )\n",
        encoding="utf-8",
    )
    assert octopi_command("create_targets") == 0
    network = ["model._target_=my_own_net.Tiny", "+model.width=4", "hydra.run.dir=job"]
    overrides = [override for override in TINY if not override.startswith("model.")]
    assert octopi_command("train", *overrides, *RUNS, *network) == 0
    model = ["checkpoint=job/best_model.pth", "runs=[TS_01]"]
    assert octopi_command("segment", *model) == 2
    assert "trust=[my_own_net.Tiny]" in capsys.readouterr().err
    assert octopi_command("segment", *model, "trust=[my_own_net.Tiny]") == 0


def test_fine_tuning_onto_other_objects_keeps_the_body(trained, here, octopi_command):
    overrides = ["targets.objects=[ribosome]", "targets.session_id=2"]
    assert octopi_command("create_targets", *overrides) == 0
    start = [f"init_from={trained / 'best_model.pth'}", "target=targets:octopi/2"]
    tuned = ["optim.optimizer.lr=1e-9", "hydra.run.dir=tuned", "best_metric=fBeta4_ribosome"]
    assert octopi_command("train", *TINY, *RUNS, *start, *tuned) == 0
    before, _ = checkpoint.read(trained / "best_model.pth")
    after, info = checkpoint.read(here / "tuned" / "best_model.pth")
    assert info.labels == {"ribosome": 1}
    kept = [name for name in after if after[name].shape == before[name].shape]
    assert len(kept) >= len(after) - 4
    assert all(torch.allclose(after[name], before[name], atol=1e-4) for name in kept)
    log = (here / "tuned" / "train.log").read_text(encoding="utf-8")
    assert "in the last layers ribosome are kept, none are new" in log
    assert "all other weights are loaded" in log


def test_a_training_needs_neither_logger_callbacks_nor_augmentation(here, octopi_command):
    assert octopi_command("create_targets") == 0
    overrides = ["logger=null", "callbacks=null", "augment=null", "pruner=null", "experiment=null"]
    runs = ["data.train_runs=[TS_01,TS_02]", "data.validation_runs=TS_03"]
    assert octopi_command("train", *TINY, *overrides, *runs, "hydra.run.dir=job") == 0
    _, info = checkpoint.load(here / "job" / "best_model.pth")
    assert info.provenance["split"]["validation"] == ["TS_03"]


def test_without_validation_runs_thresholds_come_from_the_training_runs(here, octopi_command):
    assert octopi_command("create_targets") == 0
    overrides = ["data.ratios=[1,0,0]", "hydra.run.dir=job"]
    assert octopi_command("train", *TINY, *overrides) == 0
    _, info = checkpoint.load(here / "job" / "best_model.pth")
    assert info.provenance["split"]["validation"] == []
    assert set(info.thresholds["4"]) == set(OBJECTS)


@pytest.mark.parametrize(
    ("verb", "overrides", "code", "message"),
    [
        ("train", ["target=nothing:octopi/1"], 3, "octopi create_targets"),
        ("train", ["best_metric=fbeta"], 2, "Known: avg_f1"),
        ("train", ["data.crop_size=[15,32,32]"], 2, "multiples of 2"),
        ("train", ["model.strides=[0]"], 2, "model.strides must be"),
        ("train", ["model.strides=[2,2]"], 2, "Give 1 of them, or 3 channels"),
        ("train", ["model.channels=[4,8,8]"], 2, "Give 2 of them, or 2 channels"),
        ("plan", ["model.strides=[2,2,1,1]"], 2, "Give 3 of them, or 5 channels"),
        ("train", ["data.crop_size=16"], 2, "data.crop_size must be a list of int"),
        ("train", ["localizer=checkpoint"], 2, "Choose localizer=components, peaks or watershed"),
        ("train", ["predictor=checkpoint"], 2, "Choose predictor=default"),
        ("plan", ["predictor=checkpoint"], 2, "Choose predictor=default"),
        ("train", ["model=null"], 2, "model must be set. Choose model="),
        ("export", ["format=null"], 2, "format must be set. Choose format=csv"),
        ("evaluate", ["scorer=null"], 2, "scorer must be set. Choose scorer="),
        ("train", ["seed=-1"], 2, "seed must be int of 0 … 4294967295"),
        ("train", ["trainer.max_time=banana"], 2, "DD:HH:MM:SS"),
        ("train", ["optim.optimizer.lr=-1"], 2, "optim.optimizer.lr must be"),
        ("train", ["model.dropout=1.5"], 2, "dropout"),
        ("train", ["runs=[TS_99]"], 3, "TS_01, TS_02, TS_03"),
        ("train", ["tomo_types=[denoisd]"], 3, "Did you mean denoised"),
        ("train", ["model=unett"], 2, "Did you mean unet"),
        ("train", ["trainer.max_epoch=1"], 2, "max_epochs"),
        ("train", ["resume=nowhere"], 2, "nothing to resume"),
        ("train", ["init_from=nowhere.pth"], 2, "no checkpoint"),
        ("segment", ["checkpoint=nowhere.pth"], 2, "no checkpoint"),
        ("segment", [], 2, "checkpoint"),
        ("localize", [], 3, "no score map"),
        ("localize", ["user_id=my_user"], 2, "my-user"),
        ("evaluate", [], 3, "localize"),
        ("create_targets", ["targets.objects=[ribosom]", "targets.session_id=9"], 3, "ribosome"),
        ("create_targets", ["targets.radius_scale=0.3"], 2, "overwrite=true"),
        ("create_targets", ["targets.name=my_targets"], 2, "my-targets"),
    ],
)
def test_bad_input_is_refused_before_work_starts(
    here, octopi_command, capsys, verb, overrides, code, message
):
    assert octopi_command("create_targets") == 0
    capsys.readouterr()
    keys = {override.split("=")[0] for override in overrides}
    tiny = [override for override in TINY if override.split("=")[0] not in keys]
    assert octopi_command(verb, *(tiny if verb == "train" else []), *overrides) == code
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 24
