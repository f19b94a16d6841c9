"""What `check` says before is what the work says after, of projects spoiled in many ways."""

import dataclasses
import functools
import json
import logging
import re
import shutil

import pytest
from checkpoints import NET, make_info, save_checkpoint
from spoiled import MASKS, OBJECTS, PICKS, PROJECTS, SETS, TARGETS, TOMOGRAMS
from tiny import PHANTOM, TINY, enter_copy

from octopi.check import check
from octopi.cli.error_report import MAX_MESSAGE_LENGTH
from octopi.cli.python_api import compose
from octopi.create_targets import create_targets
from octopi.errors import ExitCode, OctopiError
from octopi.evaluate import evaluate
from octopi.localize import localize
from octopi.phantom import make_phantom
from octopi.plan import plan
from octopi.segment import segment
from octopi.system.job_folder import Job
from octopi.train import train
from octopi.training.run import build_training

TYPES = "tomo_types=[denoised]"
MASK = ("create_targets", TYPES, "targets.segmentations=[sheet:someone/0]")
LABELS = (
    "localize", "source=segmentation", "input=sheet:someone/0", "localizer=components",
    "session_id=9",
)  # fmt: skip
WORK = {
    "plan": plan,
    "check": check,
    "create_targets": create_targets,
    "evaluate": evaluate,
    "localize": localize,
    "segment": segment,
    "train": train,
}


@functools.cache
def settings_of(verb, *overrides):
    return compose(verb, overrides)[0]


def enter(folder, patch):
    """Work in the copy of a project."""
    path = folder / "project.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    roots = {key: f"local://{folder}/{key.removesuffix('_root')}"
             for key in ("static_root", "overlay_root")}  # fmt: skip
    path.write_text(json.dumps(config | roots), encoding="utf-8")
    patch.chdir(folder)


@pytest.fixture(scope="module")
def projects(tmp_path_factory):
    """A project with picks of octopi's and a checkpoint, and the same with targets."""
    with pytest.MonkeyPatch.context() as patch:
        painted, config = tmp_path_factory.mktemp("painted"), tmp_path_factory.mktemp("phantom")
        enter_copy(make_phantom(config / "project", **PHANTOM), painted, patch)
        objects = json.loads((painted / "project.json").read_text(encoding="utf-8"))
        names = [o["name"] for o in objects["pickable_objects"] if o["is_particle"]]
        info = make_info(
            net=NET | {"out_channels": len(names) + 1},
            labels={name: label for label, name in enumerate(names, start=1)},
            radii=dict.fromkeys(names, 100.0), weights=dict.fromkeys(names, 1.0),
            thresholds={"4": dict.fromkeys(names, 0.5)}, voxel_spacing=20.0,
        )  # fmt: skip
        save_checkpoint(painted / "small.pth", info)
        for path in painted.glob("static/**/Picks/*.json"):
            shutil.copy(path, path.with_name(path.name.replace("curation_0", "octopi_1")))
        plain = tmp_path_factory.mktemp("plain")
        shutil.copytree(painted, plain, dirs_exist_ok=True)
        enter(painted, patch)
        assert outcome(painted, "create_targets", TYPES) == (0, "")
        yield {"plain": plain, "painted": painted}


@pytest.fixture
def spoiled(projects, tmp_path, monkeypatch):
    """Makes a project in the working folder and spoils it."""

    def make(which, spoil):
        shutil.copytree(projects[which], tmp_path, dirs_exist_ok=True)
        enter(tmp_path, monkeypatch)
        spoil(tmp_path)
        return tmp_path

    return make


def outcome(here, verb, *overrides, work=None):
    """Run a command as on a command line; return its exit code and its error."""
    settings = settings_of(verb, *overrides)
    settings = dataclasses.replace(
        settings, project=settings.project | {"config": str(here / "project.json")}
    )
    if verb == "train":
        settings.data["cache_dir"] = str(here / "cache")
    (here / "job").mkdir(exist_ok=True)
    try:
        (work or WORK[verb])(settings, Job(here / "job", []))
    except OctopiError as error:
        assert error.exit_code in (ExitCode.SETTING, ExitCode.DATA, ExitCode.RESOURCE)
        assert len(str(error)) <= MAX_MESSAGE_LENGTH or verb == "check"
        return error.exit_code, str(error)
    return 0, ""


def prepare(settings, job):
    """Do of a training what comes before its first step."""
    build_training(settings, job.folder).data.setup()


def words(message):
    """Return a message without the run and without a count, which a check says elsewhere."""
    text = re.sub(r" \d+ of \d+ runs failed\..*", "", " ".join(message.split()))
    if text.startswith("Run "):
        text = text.split(" ", 2)[2]
    return text


def assert_said(message, said):
    assert words(message) in " ".join(said.split()), f"{message!r} not in {said!r}"


def compare(here, caplog, works):
    """Demand of each of the works what check says, and that it knew what they refuse."""
    with caplog.at_level(logging.INFO):
        verdict, message = outcome(here, "check", TYPES)
    said = f"{caplog.text} {message}"
    refusals = []
    for verb, *overrides in works:
        code, error = outcome(here, verb, *overrides)
        if code and (verdict == 0 or verb != "segment"):  # which asks for a checkpoint's tomograms
            assert_said(error, said)
        if code:
            refusals.append((verb, code))
    if verdict == 0:  # a question of settings is asked, and answered, before
        assert [r for r in refusals if r[0] in ("create_targets", "train")] in ([], [("train", 2)])
    elif not any(verb in ("create_targets", "train") for verb, _ in refusals):
        code, error = outcome(here, "train", *TINY, work=prepare)
        assert code
        assert_said(error, said)


CREATE = ("create_targets", TYPES)
TRAIN = ("train", *TINY, "dry_run=true")
EVALUATE = ("evaluate",)
SEGMENT = (
    "segment", "checkpoint=[small.pth]", "predictor=default", "predictor.window_size=null",
    "predictor.num_sides=1", "accelerator=cpu",
)  # fmt: skip


@pytest.mark.parametrize("name", TOMOGRAMS)
def test_tomograms_to_paint_on_and_to_segment(spoiled, caplog, name):
    compare(spoiled("plain", TOMOGRAMS[name]), caplog, [CREATE, SEGMENT])


@pytest.mark.parametrize("name", TOMOGRAMS)
def test_tomograms_to_train_on(spoiled, caplog, name):
    compare(spoiled("painted", TOMOGRAMS[name]), caplog, [TRAIN])


@pytest.mark.parametrize("name", PICKS)
def test_picks(spoiled, caplog, name):
    compare(spoiled("plain", PICKS[name]), caplog, [CREATE, EVALUATE])


@pytest.mark.filterwarnings("ignore:Input 'ribo_some'")  # of copick
@pytest.mark.parametrize("name", OBJECTS)
def test_objects_to_paint_and_to_score(spoiled, caplog, name):
    compare(spoiled("plain", OBJECTS[name]), caplog, [CREATE, EVALUATE])


@pytest.mark.filterwarnings("ignore:Input 'ribo_some'")  # of copick
@pytest.mark.parametrize("name", OBJECTS)
def test_objects_to_learn(spoiled, caplog, name):
    compare(spoiled("painted", OBJECTS[name]), caplog, [TRAIN])


@pytest.mark.parametrize("name", PROJECTS)
def test_projects(spoiled, caplog, name):
    compare(spoiled("plain", PROJECTS[name]), caplog, [CREATE, EVALUATE, SEGMENT])


@pytest.mark.parametrize("name", TARGETS)
def test_targets(spoiled, caplog, name):
    compare(spoiled("painted", TARGETS[name]), caplog, [TRAIN])


@pytest.mark.parametrize("name", SETS)
def test_several_sets_and_rejected_places(spoiled, caplog, name):
    spoil, picks, rejected = SETS[name]
    here = spoiled("plain", spoil)
    with caplog.at_level(logging.INFO):
        said = outcome(here, "check", TYPES, f"picks={picks}", f"rejected={rejected}")
    sets = (f"targets.picks={picks}", f"targets.rejected={rejected}")
    for work in (CREATE, (*CREATE, "dry_run=true"), ("plan", TYPES, "rules.crop_radii=1")):
        done = outcome(here, *work, *sets)
        if work[0] == "create_targets":
            assert done[0] == said[0] or (done[0], said[0]) == (2, 3)
        if done[0]:
            assert_said(done[1], f"{caplog.text} {said[1]}")
    if said[0]:
        assert not list(here.glob("overlay/ExperimentRuns/**/*targets*"))


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("work", [MASK, LABELS], ids=["mask", "labels"])
def test_a_dry_run_says_what_painting_or_picking_a_label_volume_says(spoiled, name, work):
    here = spoiled("plain", MASKS[name])
    before = outcome(here, *work, "dry_run=true")
    assert outcome(here, *work) == before
    written = [*here.glob("overlay/ExperimentRuns/**/*targets*"), *here.glob("overlay/**/*.json")]
    assert bool(written) == (before[0] == 0)  # all or nothing
