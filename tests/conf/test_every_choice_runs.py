"""Every choice that a command's `--help` offers is run for one step by that command.

The first run of a command takes the first choice of each of its groups, the second the second, and
so on; the shorter groups begin again. So as many runs as the longest group is long do them all.
"""

import itertools
import json
import shutil
from pathlib import Path

import mrcfile
import numpy as np
import optuna
import pytest
import torch
from hydra import compose, initialize_config_dir
from processes import run_command
from tiny import PHANTOM, RUNS, TINY

from octopi.config.files import COMMANDS, CONF_DIR, choices, groups_of
from octopi.phantom import make_phantom
from octopi.sweeps.space import read_space, suggest_overrides
from octopi.sweeps.study import open_study

TRAINING = [
    *(
        override
        for override in TINY
        if not override.startswith(("model.", "data.crop", "data.steps"))
    ),
    "data.crop_size=[16,32,32]",
    "data.crops_per_step=1",
    "data.steps_per_epoch=1",
    "data.ratios=null",
    "data.test_runs=null",
    *RUNS,
    "num_folds=null",
]
QUICK_PLAN = [
    "rules.crop_radii=1",
    "rules.max_crops_per_step=1",
]  # the crop that is measured is small
OVERRIDES = {
    "create_targets": ["overwrite=true"],
    "train": TRAINING,
    "segment": ["checkpoint=model/best_model.pth", "runs=[TS_03]", "overwrite=true"],
    "localize": ["runs=[TS_03]", "thresholds=0.5"],
    "evaluate": ["runs=[TS_03]"],
    "compare": [  # its trainings are run in tests/test_compare.py
        f"base={' '.join([*TRAINING[:-3], 'data.validation_runs=null data.train_runs=null'])}",
        "methods=[loss=dice]",
        "num_folds=2",
        "dry_run=true",
    ],
    "check": ["runs=[TS_03]"],
    "doctor": [],
    "status": [],
    "plan": ["runs=[TS_03]", "folder=plan", "name=mine", "overwrite=true", *QUICK_PLAN],
    "report": ["runs=[TS_03]", "output=report.html"],
    "merge_picks": [
        "runs=[TS_03]",
        "picks=[octopi/1,curation/0]",
        "user_id=merged",
        "dry_run=true",
    ],
    "review": ["runs=[TS_03]", "num=4", "output=review.html"],
    "extract": ["runs=[TS_03]", "membrane=membrane:curation/0"],
    "export": ["runs=[TS_03]", "overwrite=true"],
    "import_tomograms": ["folder=mrc", "tomo_type=imported", "overwrite=true"],
}
# What proves that the work was done: a file of the run's folder, or of the working folder.
WRITTEN = {
    "train": "job/best_model.pth",
    "evaluate": "job/scores.json",
    "plan": "plan/experiment/mine.yaml",
    "report": "report.html",
    "review": "review.html",
    "export": "job/*",
}
OVERLAYS = ("experiment", "search")  # choose among the other groups: they have runs of their own
DEMO = [f"project.config.{key}={json.dumps(value)}" for key, value in PHANTOM.items()]
# Networks as deep as they are, and narrow: their steps take a tenth of a second.
NARROW = {
    "attention_unet": ["model.channels=[4,8,8,8]"],
    "attention_unet_sized": ["model.base_channels=4"],
    "dynunet": ["model.filters=[4,8,8,8]"],
    "dynunet_sized": ["model.base_channels=4"],
    "mednext": ["model.init_filters=4"],
    "segresnet": ["model.init_filters=8"],
    "swin_unetr": ["model.feature_size=12", "model.depths=[1,1,1,1]"],
    "unet": ["model.channels=[4,8,8,8]"],
    "unet_deep": ["model.channels=[4,8,8,8]"],
    "unet_demo": ["model.channels=[4,8,8,8]"],
    "unet_plus_plus": ["model.features=[4,4,8,8,8,4]"],
    "unet_sized": ["model.base_channels=4"],
}


def narrow(overrides: list[str]) -> list[str]:
    """Settings that make a step of the chosen network short."""
    models = [
        override.removeprefix("model=") for override in overrides if override.startswith("model=")
    ]
    return NARROW[models[-1]] if models else []


def needed(overrides: list[str]) -> list[str]:
    """Return the crop of a network that halves five times, and what else a choice asks for."""
    crop = ["data.crop_size=[32,64,64]"] if "model=swin_unetr" in overrides else []
    spacing = ["data.working_spacing=20.0"] if "augment=fourier" in overrides else []
    two = ["data.crops_per_step=2"] if {"mix=mixup", "mix=cutmix"} & set(overrides) else []
    return [*crop, *spacing, *two]


def choices_of(verb: str, group: str) -> list[str]:
    """List the choices that a command takes: `checkpoint` only where it is the default."""
    has_checkpoint = groups_of(verb)[group] == "checkpoint"
    return [choice for choice in choices(group) if has_checkpoint or choice != "checkpoint"]


def rounds(verb: str) -> list[list[str]]:
    """Words that together take every choice of every group, a run each."""
    groups = {name: choices_of(verb, name) for name in groups_of(verb) if name not in OVERLAYS}
    groups |= {"mix": groups["mix"][::-1]} if "mix" in groups else {}  # so cutmix meets spheres
    number = max(map(len, groups.values()))
    columns = [itertools.islice(itertools.cycle(taken), number) for taken in groups.values()]
    rows = [
        [f"{group}={choice}" for group, choice in zip(groups, row, strict=True)]
        for row in zip(*columns, strict=True)
    ]
    experiments = choices("experiment") if "experiment" in groups_of(verb) else []
    must = ["format=csv"] if verb == "export" else []
    return rows + [[f"experiment={choice}", *must] for choice in experiments]


@pytest.mark.parametrize("verb", [verb for verb in COMMANDS if groups_of(verb)])
def test_the_rounds_hold_every_choice(verb):
    taken = {override for row in rounds(verb) for override in row}
    offered = {
        f"{group}={choice}"
        for group in groups_of(verb)
        if group != "search"
        for choice in choices_of(verb, group)
    }
    assert taken == offered


@pytest.fixture(scope="module")
def project(tmp_path_factory, octopi_command):
    """Make a working folder with targets, a model, score maps and picks, for all of these tests."""
    folder = tmp_path_factory.mktemp("choices")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        config = make_phantom(folder / "outputs" / "demo" / "project", **PHANTOM)
        patch.setenv("OCTOPI_PROJECT", str(config))
        Path("mrc").mkdir()
        volume = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
        mrcfile.write("mrc/TS_03.mrc", volume, voxel_size=20.0)
        assert octopi_command("create_targets") == 0
        train = [*TRAINING, "model.channels=[4,8]", "model.strides=[2]", "hydra.run.dir=model"]
        assert octopi_command("train", *train) == 0
        assert octopi_command("segment", *OVERRIDES["segment"]) == 0
        assert octopi_command("localize", *OVERRIDES["localize"]) == 0
        yield folder


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # MLflow's own
@pytest.mark.parametrize(
    ("verb", "chosen"),
    [
        pytest.param(verb, row, id=f"{verb} {' '.join(row)}")
        for verb in COMMANDS
        if groups_of(verb)
        for row in rounds(verb)
    ],
)
def test_every_choice_runs(project, octopi_command, verb, chosen):
    overrides = [*OVERRIDES[verb], *chosen]
    overrides += DEMO if "project=demo" in chosen else []
    overrides += [*narrow(chosen), *(needed(chosen) if verb == "train" else [])]
    if "trainer=gpu" in chosen and not torch.cuda.is_available():
        overrides.append("trainer.accelerator=cpu")
    has_folder = verb not in ("plan", "report", "review", "doctor", "status")
    overrides += ["hydra.run.dir=job"] if has_folder else []
    for path in (Path("job"), Path("plan")):
        shutil.rmtree(path, ignore_errors=True)
    for path in (Path("report.html"), Path("review.html")):
        path.unlink(missing_ok=True)
    fine = (0, 4) if verb == "doctor" else (0,)  # 4: this machine lacks something
    assert octopi_command(verb, *overrides) in fine
    assert list(Path().glob(WRITTEN.get(verb, "*")))


@pytest.mark.parametrize("search", choices("search"))
def test_what_a_search_suggests_is_trained(project, octopi_command, search):
    with initialize_config_dir(str(CONF_DIR)):
        sweeper = compose("train", [f"search={search}"], return_hydra_config=True).hydra.sweeper
    space = read_space(sweeper.params, sweeper.when, [f"search={search}"])
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=2)).ask()
    shutil.rmtree("job", ignore_errors=True)
    overrides = suggest_overrides(space, trial)
    small = [*TRAINING, *narrow(overrides), *needed(overrides), "hydra.run.dir=job"]
    assert octopi_command("train", *overrides, *small) == 0
    assert Path("job/best_model.pth").is_file()


@pytest.mark.slow
def test_a_search_runs_with_the_pruner_that_no_search_has_by_itself(project):
    sweep = ["hydra.sweeper.n_trials=1", "hydra.sweeper.n_jobs=1", "hydra.sweep.dir=sweep"]
    overrides = [*TRAINING, "search=unet", "pruner=hyperband", *sweep]
    assert run_command("train", "-m", *overrides) == 0
    assert [trial.state.name for trial in open_study(Path("sweep")).get_trials()] == ["COMPLETE"]
