"""Damaged files of users and other programs are read right or refused with the cause, soon.

The examples are the same in each run, a minute of them in all.
"""

import contextlib
import itertools
import json
import logging
import resource
import zipfile
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
import yaml
from checkpoints import make_info, save_checkpoint
from damage import damaged_bytes, damaged_values, deep
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_project import make_project, write_target

from octopi.cli.compose import composed_job
from octopi.cli.error_report import describe
from octopi.cli.overrides import expand_overrides
from octopi.cli.typed_text import quote_texts
from octopi.config.check import check_settings
from octopi.config.settings import SETTINGS_CLASSES
from octopi.errors import exit_code_of
from octopi.formats import mrc
from octopi.models import checkpoint
from octopi.picking import Chance
from octopi.project import open_project
from octopi.project.objects import object_labels
from octopi.project.volume_check import check_segmentation, check_tomogram

GIGABYTES = 2  # that a file may make octopi take, whatever it says
SECONDS = 30  # that an example may take
few = settings(max_examples=40, deadline=1000 * SECONDS, suppress_health_check=list(HealthCheck))
many = settings(few, max_examples=120)
IDENTITY = np.eye(4).tolist()
POINT = {"location": {"x": 1.0, "y": 2.0, "z": 3.0}, "transformation_": IDENTITY, "score": 0.5}
PICKS = {
    "pickable_object_name": "apo",
    "user_id": "curation",
    "session_id": "0",
    "unit": "angstrom",
    "trust_orientation": True,
    "points": [POINT],
    "octopi": {"checkpoints": {"a": "b"}, "train_runs": ["a"], "source": "x"},
}
HEAD = "# @package _global_\n"
EXPERIMENT = {
    "defaults": ["czii", "_self_", {"override /model": "unet"}],
    "tomo_types": ["wbp"],
    "runs": ["a"],
    "seed": 3,
    "data": {"crop_size": [16, 32, 32], "ratios": [0.8, 0.2, 0.0], "working_spacing": None},
    "targets": {"radius_scale": 0.8, "radius_scales": {"apo": 0.5}},
    "model": {"channels": [4, 8], "strides": [2]},
    "optim": {"optimizer": {"lr": 1e-3}},
    "trainer": {"max_epochs": 1},
    "predictor": {"window_size": [16, 32, 32]},
}


@contextlib.contextmanager
def read_or_refused():
    """Fail for an error that is no answer to a user, and for memory beyond the limit."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + GIGABYTES * 10**9
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    except Exception as error:
        if isinstance(error, MemoryError) or exit_code_of(error) not in (2, 3, 4):
            raise
        assert describe(error)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A sound project of one run, with picks, a target and a score map."""
    folder = tmp_path_factory.mktemp("fuzz")
    (run,) = make_project(folder, run_names=["a"], tomo_types=("wbp",)).runs
    write_target(run)
    (query,) = run.tomograms()
    grid = run.tomogram_grid(query)
    scores = np.zeros((2, *grid.shape), np.uint8)
    run.write_score_map(query, "s", scores, grid=grid, attributes={"objects": ["a", "b"]})
    logging.disable(logging.WARNING)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("octopi.system.resources.memory", lambda: 10**9)
        yield folder
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def project(folder):
    """The project, opened while it was sound."""
    return open_project(folder / "config.json")


def read_project(folder):
    """Open a project and read all that it holds."""
    project = open_project(folder / "config.json")
    object_labels(project.objects)
    read_runs(project)


def read_runs(project):
    """Read each volume and set of picks of a project by itself."""
    for run in project.runs:
        for picks in run.picks():
            with read_or_refused():
                run.read_oriented(picks)
                run.picks_provenance(picks)
        for tomogram in run.tomograms():
            with read_or_refused():
                run.fingerprint(tomogram)
                check_tomogram(run, tomogram, voxels=True, positions={}, radii={})
                run.read_tomogram(tomogram)
            with read_or_refused():
                run.score_maps()
                run.read_score_map(tomogram, "s")
        for segmentation in run.segmentations():
            with read_or_refused():
                check_segmentation(run, segmentation, voxels=True)
                run.read_segmentation(segmentation)
                run.read_mask(segmentation)


def check_file(path, content, read, *arguments):
    """Read something while one of its files holds something else."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        with read_or_refused():
            read(*arguments)
    finally:
        path.write_bytes(before)


@pytest.mark.slow
@many
@given(st.data())
def test_picks(folder, project, data):
    content = data.draw(
        damaged_values(PICKS).map(lambda value: json.dumps(value).encode())
        | damaged_bytes(json.dumps(PICKS).encode())
    )
    path = next((folder / "overlay").rglob("curation_0_apo.json"))
    check_file(path, content, read_runs, project)


@many
@given(st.data())
def test_project_configs(folder, data):
    path = folder / "config.json"
    sound = path.read_bytes()
    content = data.draw(
        damaged_values(json.loads(sound)).map(lambda value: json.dumps(value).encode())
        | damaged_bytes(sound)
    )
    check_file(path, content, read_project, folder)


@pytest.mark.slow
@settings(many, max_examples=200)
@given(st.data())
def test_volumes(folder, project, data):
    files = sorted(p for p in (folder / "overlay").rglob("*") if ".zarr" in str(p) and p.is_file())
    path = data.draw(st.sampled_from(files))
    sound = path.read_bytes()
    content = damaged_bytes(sound)
    if path.name.startswith(".z"):
        values = damaged_values(json.loads(sound)).map(lambda value: json.dumps(value).encode())
        content = values | values | content
    check_file(path, data.draw(content), read_runs, project)


@settings(few, max_examples=200)
@given(st.data())
def test_mrc_headers(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzz.mrc"
    if not path.exists():
        with mrcfile.new(path) as file:
            file.set_data(np.arange(8 * 8 * 8, dtype="f4").reshape(8, 8, 8))
            file.voxel_size = 10.0
        path.with_suffix(".sound").write_bytes(path.read_bytes())
    content = bytearray(path.with_suffix(".sound").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = 4 * data.draw(st.integers(0, 255))
        number = data.draw(
            st.sampled_from([0, 1, 2, 12, 101, 401, 1 << 20, -1]) | st.integers(-(2**31), 2**31 - 1)
        )
        content[place : place + 4] = number.to_bytes(4, "little", signed=True)
    if data.draw(st.integers(0, 3)) == 0:
        content = data.draw(damaged_bytes(bytes(content)))
    path.write_bytes(content)
    with read_or_refused():
        header = mrc.read_header(path)
        header.spacing(None, ignore_header=False)
        mrc.check_voxels(header)
        mrc.read_voxels(header)


@pytest.fixture(scope="module")
def stored_checkpoint(tmp_path_factory):
    """The path of a sound checkpoint."""
    path = tmp_path_factory.mktemp("fuzz") / "model.pth"
    info = make_info(chances={"virus": Chance(1.0)}, annotated_share={"virus": [0.5, 0.4, 0.6]})
    save_checkpoint(path, info)
    return path


@few
@given(st.data())
def test_what_checkpoints_say(stored_checkpoint, data):
    content = torch.load(stored_checkpoint, weights_only=True)
    said = {key: value for key, value in content.items() if key != "weights"}
    damaged = data.draw(damaged_values(said))
    path = stored_checkpoint.with_name("damaged.pth")
    torch.save({**content, **damaged} if isinstance(damaged, dict) else damaged, path)
    with read_or_refused():
        checkpoint.load(path)


@few
@given(st.data())
def test_bytes_of_checkpoints(stored_checkpoint, data):
    path = stored_checkpoint.with_name("damaged.pth")
    with zipfile.ZipFile(stored_checkpoint) as sound, zipfile.ZipFile(path, "w") as damaged:
        names = st.sampled_from([name for name in sound.namelist() if "/data/" not in name])
        spoiled = data.draw(names)
        for name in sound.namelist():
            content = sound.read(name)
            if name == spoiled:
                content = data.draw(damaged_bytes(content))
            damaged.writestr(name, content)
    with read_or_refused():
        checkpoint.load(path)


def read_experiment(path, verb):
    """Compose and check the settings of a command with an experiment, as the command does."""
    with read_or_refused():
        overrides = expand_overrides([f"experiment={path}"], verb=verb)
        with composed_job(verb, quote_texts(overrides, verb, multirun=False)) as (job, cfg):
            check_settings(cfg, SETTINGS_CLASSES[verb], overrides=job.overrides)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """The path of a sound experiment, which has been read once: that imports what it names."""
    path = tmp_path_factory.mktemp("fuzz") / "experiment" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(f"{HEAD}{yaml.safe_dump(EXPERIMENT)}", encoding="utf-8")
    read_experiment(path, "train")
    return path


@few
@given(st.data())
def test_experiments(experiment, data):
    content = data.draw(
        damaged_values(EXPERIMENT).map(lambda value: (HEAD + yaml.safe_dump(value)).encode())
        | damaged_bytes((HEAD + yaml.safe_dump(EXPERIMENT)).encode())
    )
    experiment.write_bytes(content)
    read_experiment(experiment, data.draw(st.sampled_from(["train", "create_targets"])))


ALIASES = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{{', '.join(f'k{i}: *{old}' for i in range(9))}}}\n"
    for old, new in itertools.pairwise("abcdefghi")
)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00a: 1", b"a: [" * 5000, b"a: &a [*a]", b"a: &a {b: *a}", b"", b"12", b"- 1",
        b"a" * 10**6, b"? [1]\n: 2\n", b"1: 2\nx.y: 3", b"data: {1: 2}", b"<<: 3", b"a: 1\na: 2",
        b"seed: !!python/name:os.x", b"seed: 0o7", ALIASES.encode(), b"\x00", b"a: 2020-13-45",
        yaml.safe_dump({"data": deep(200)}).encode(), b"seed: ${oc.env:HOME}", b"seed: ${seed}",
        b"seed: ${", b"defaults: true", b"defaults: [true]", b"defaults: [{a: 1, b: 2}]",
        b"defaults: [../../x]", b"hydra: {run: {dir: 1}}", b"hydra: 3", b"callbacks: [1]",
    ],
    ids=lambda content: repr(content[:20]),
)  # fmt: skip
def test_odd_texts_as_experiments(experiment, content):
    for head in (b"", HEAD.encode()):
        experiment.write_bytes(head + content)
        read_experiment(experiment, "create_targets")
