"""`dry_run=true`: what would be done is said, what would fail fails, and nothing is written."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
from tiny import RUNS, TINY

from octopi.system.locks import lock_folder

DRY = "dry_run=true"


def tree(folder: Path) -> dict[str, str]:
    """Every file and folder below, with what is in it."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        )
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def run_dry(here, octopi_command, capfd):
    """Runs a command dry; returns its exit code and output. Nothing has changed."""

    def run(verb, *words):
        capfd.readouterr()
        before = tree(here)
        code = octopi_command(verb, *words, DRY)
        assert tree(here) == before
        return code, "".join(capfd.readouterr())

    return run


@pytest.fixture
def targets(here, octopi_command):
    assert octopi_command("create_targets", "tomo_types=[denoised]") == 0
    shutil.rmtree(here / "outputs")


def test_targets_are_told_with_their_classes_and_not_painted(run_dry, here):
    code, output = run_dry("create_targets", "tomo_types=[denoised]", "hydra.run.dir=job")
    assert code == 0
    assert "3 targets: TS_01, TS_02, TS_03" in output
    assert "6 picks of curation/0 in 3 runs" in output
    assert str(here / "overlay") in output


def test_a_target_that_is_there_is_said_to_stay_and_another_to_be_refused(run_dry, targets):
    code, output = run_dry("create_targets", "tomo_types=[denoised]")
    assert code == 0
    assert "unchanged    3 targets" in output
    words = ["tomo_types=[denoised]", "targets.radius_scale=0.8"]
    code, output = run_dry("create_targets", *words)
    assert code == 2
    assert "overwrite=true" in output
    code, output = run_dry("create_targets", *words, "overwrite=true")
    assert code == 0
    assert "replaced     3 targets" in output


def test_a_training_tells_its_split_particles_cache_and_folder(run_dry, targets, here):
    words = [*TINY, "data.train_runs=[TS_01,TS_03]", "data.validation_runs=[TS_02]"]
    code, output = run_dry("train", *words, "hydra.run.dir=outputs/first")
    assert code == 0
    assert "2 train (TS_01, TS_03); 1 validation (TS_02); 0 test (none)" in output
    assert "ribosome 4" in output  # two in each training run
    assert "6 of 6 volumes to be made" in output
    assert str(here / "outputs/first") in output


def test_every_fold_is_told(run_dry, targets):
    code, output = run_dry("train", *TINY, "num_folds=3")
    assert code == 0
    assert all(f"fold {fold}" in output for fold in range(3))
    assert output.count("2 train") == output.count("1 validation") == 3


def test_a_training_that_cannot_be_is_refused_as_the_real_one(run_dry, targets, octopi_command):
    for words, code in (
        (["data.crop_size=[15,32,32]"], 2),
        (["data.validation_runs=[TS_9]"], 3),
        (["trainer.accelerator=gpu"], None),
        (["target=other:octopi/1"], 3),
        (["model=unett"], 2),
    ):
        dry_code, _ = run_dry("train", *TINY[1:], "data.crop_size=[16,32,32]", *words)
        real = octopi_command("train", *TINY[1:], "data.crop_size=[16,32,32]", *words)
        assert dry_code == real
        assert code in (dry_code, None)


def test_a_folder_with_a_training_or_with_somebody_in_it_is_refused(run_dry, targets, here):
    folder = here / "job"
    folder.mkdir()
    with lock_folder(folder):
        code, output = run_dry("train", *TINY, "hydra.run.dir=job")
    assert code == 7
    assert "in use by process" in output
    (folder / "last.ckpt").touch()
    assert run_dry("train", *TINY, "hydra.run.dir=job")[0] == 2


def test_a_sweep_tells_what_would_run_and_what_is_done(run_dry, targets, here):
    done = here / "cv" / "fold_1"
    done.mkdir(parents=True)
    outcome = {"state": "complete", "seconds": 1.0, "values": {}}
    (done / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")
    words = [*TINY, "-m", "fold=0,1,2", "num_folds=3", "hydra.sweep.dir=cv"]
    code, output = run_dry("train", *words)
    assert code == 0
    assert "would run  2: fold_0, fold_2" in output
    assert "skipped    1 that are done: fold_1" in output


@pytest.mark.parametrize(("num_trials", "number"), [(7, 5), (1, 0)])
def test_a_search_tells_how_many_trials_would_run(run_dry, targets, here, num_trials, number):
    for trial in ("trial_0", "trial_1"):
        (here / "sweep" / trial).mkdir(parents=True)
        (here / "sweep" / trial / "outcome.json").touch()
    words = ["tomo_types=[denoised]", "-m", "search=unet", "hydra.sweep.dir=sweep"]
    code, output = run_dry("train", *words, f"hydra.sweeper.n_trials={num_trials}")
    assert code == 0
    assert f"would run  {number} trials" in output
    assert "skipped    2 that are done: trial_0, trial_1" in output


def test_commands_that_only_look_take_the_word_too(run_dry, targets):
    code, output = run_dry("check", "tomo_types=[denoised]")
    assert code == 0
    assert "TS_03" in output
    assert run_dry("doctor")[0] in (0, 4)


def test_a_report_tells_its_runs_and_file(run_dry, trained, octopi_command, here):
    assert octopi_command("segment", trained) == 0
    code, output = run_dry("report", "folder=job")
    assert code == 0
    assert "TS_03: candidates of" in output
    assert f"{here / 'job' / 'report.html'}, which is new" in output


@pytest.fixture
def trained(here, targets, octopi_command):
    assert octopi_command("train", *TINY, *RUNS, "hydra.run.dir=job") == 0
    return "checkpoint=job/best_model.pth"


def test_segment_localize_and_evaluate_tell_and_skip(run_dry, trained, octopi_command):
    code, output = run_dry("segment", trained)
    assert code == 0
    assert "would run  3 tomograms on cpu" in output
    assert octopi_command("segment", trained, "runs=[TS_01]") == 0
    code, output = run_dry("segment", trained)
    assert "skipped    1 that are done: TS_01" in output
    code, output = run_dry("segment", "checkpoint=none.pth")
    assert code == 2

    code, output = run_dry("localize")
    assert code == 0
    assert "would run  1 runs: TS_01" in output
    assert "skipped    2 runs" in output
    assert run_dry("localize", "beta=3")[0] == 2
    assert run_dry("evaluate")[0] == 3
    assert octopi_command("localize") == 0
    code, output = run_dry("localize")
    assert "5 files are replaced" in output

    code, output = run_dry("evaluate", "hydra.run.dir=scores")
    assert code == 0
    assert "2 in truth" in output
    assert "scores: scores.json" in output


def test_a_training_that_is_gone_on_with_is_told_as_such(run_dry, trained):
    code, output = run_dry("train", "resume=job", "trainer.max_epochs=2")
    assert code == 0
    assert "job (goes on)" in output


@pytest.mark.parametrize("name", ["last.ckpt", "data.json"])
def test_a_damaged_file_is_refused_as_by_the_training_that_goes_on(
    run_dry, trained, here, octopi_command, name
):
    (here / "job" / name).write_text("hello", encoding="utf-8")
    words = ["resume=job", "trainer.max_epochs=2"]
    code, output = run_dry("train", *words)
    assert code == 2
    assert f"{name} is damaged" in output
    assert octopi_command("train", *words) == 2


def test_a_training_that_begins_with_resume_auto_is_not_said_to_go_on(run_dry, targets):
    code, output = run_dry("train", *TINY, "resume=auto", "hydra.run.dir=job")
    assert code == 0
    assert "goes on" not in output


def test_the_demo_project_is_not_made(run_dry, here):
    code, output = run_dry("create_targets", "project=demo")
    assert code == 0
    assert "outputs/demo/project would be made" in output


def test_an_overlay_below_a_file_is_refused_without_being_touched(run_dry, here):
    config = json.loads((here / "project.json").read_text(encoding="utf-8"))
    (here / "file").touch()
    config["overlay_root"] = f"local://{here}/file/overlay"
    (here / "project.json").write_text(json.dumps(config), encoding="utf-8")
    code, output = run_dry("create_targets", "tomo_types=[denoised]")
    assert code == 4
    assert "overlay_root" in output


def test_a_dry_run_may_be_asked_for_in_a_file(here, octopi_command):
    experiment = here / "experiment" / "mine.yaml"
    experiment.parent.mkdir()
    experiment.write_text("# @package _global_\ndry_run: true\n", encoding="utf-8")
    before = tree(here)
    assert octopi_command("create_targets", "--config-dir", ".", "experiment=mine") == 0
    assert tree(here) == before


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["loss._target_=torch.nn.MSELoss"], ["loss", "MSELoss", "(2, 1, z, y"]),
        (["loss=dice_ce", "+loss.weight=[0.1,1,3]"], ["loss", "weight"]),
        (["loss=dice", "+loss.reduction=none"], ["loss", "numbers, not one"]),
        (
            ["callbacks.early_stopping.monitor=val_loss"],
            ["EarlyStopping", "val_loss", "train/loss"],
        ),
        (["callbacks.early_stopping.monitor=val/x"], ["EarlyStopping", "val/x", "object_fbeta"]),
        (["+trainer.limit_val_batches=0"], ["limit_val_batches", "not 0"]),
        (["+trainer.limit_train_batches=0.0"], ["limit_train_batches"]),
    ],
)
def test_what_the_training_would_stumble_over_is_refused(run_dry, targets, overrides, names):
    code, output = run_dry("train", *TINY, "tomo_types=[denoised]", *overrides)
    message = output.split("octopi: ")[-1]
    assert code == 2
    assert all(name in message for name in names), message
    assert len(message) < 600


TRIAL = [*TINY, *RUNS, "dry_run=true"]
SCORER = [
    "scorer.tolerance_scale=0.5",
    "scorer.beta=1",
    "scorer.num_resamples=0",
    "scorer.seed=0",
]
OWN = '''"""A user's parts that fail at work, not before."""

from torch import nn

from octopi.evaluation.scores import Matched
from octopi.localization.localizer import Localizer


class FailsInTraining(nn.Module):
    """A network that takes only images of a few values while it trains."""

    def __init__(self, out_channels):
        super().__init__()
        self.layer = nn.Conv3d(1, out_channels, 1)

    def forward(self, image):
        if self.training and not image.is_meta and image.std() > 0:
            raise ArithmeticError("noise")
        return self.layer(image)


class NoNumbers(FailsInTraining):
    """A network whose gradients are no numbers."""

    def forward(self, image):
        return (self.layer(image) - self.layer(image)).sqrt()


class ReturnsLists(Localizer):
    """A localizer that returns no points."""

    def _find(self, channel):
        return [[0.0, 0.0, 0.0]]


class FailsWithPicks(Matched):
    """A scorer that divides by nothing."""

    def __call__(self, picks, truth, *, radii, weights):
        return 1 / 0
'''


@pytest.fixture
def own_parts(here, octopi_command, monkeypatch):
    assert octopi_command("create_targets") == 0
    (here / "my_parts.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(here)
    monkeypatch.delitem(sys.modules, "my_parts", raising=False)
    return here


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model._target_=my_parts.FailsInTraining"], "my_parts.py, line 18"),
        (["model._target_=my_parts.NoNumbers"], "not finite"),
        (["localizer._target_=my_parts.ReturnsLists"], "my_parts.ReturnsLists must return Points"),
        (["scorer._target_=my_parts.FailsWithPicks", *SCORER], "my_parts.py, line 40"),
    ],
)
def test_parts_that_fail_at_work_fail_in_the_dry_run(
    own_parts, octopi_command, capfd, overrides, words
):
    small = [word for word in TRIAL if not word.startswith("model.")]
    base = TRIAL if not overrides[0].startswith("model") else small
    assert octopi_command("train", *base, *overrides) == 2
    output = "".join(capfd.readouterr())
    assert words in output
    assert "mistake in octopi" not in output
