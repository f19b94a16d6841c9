"""A tiny project, and settings that make a training on it take a second."""

import shutil
from pathlib import Path

import pytest

PHANTOM = {
    "num_runs": 3,
    "shape": (24, 48, 48),
    "voxel_spacing": 20.0,
    "num_particles": 2,
    "snr": 0.5,
    "seed": 3,
}

TINY = [
    "data.crop_size=[16,32,32]",
    "data.crops_per_step=2",
    "data.steps_per_epoch=2",
    "data.num_workers=0",
    "model.channels=[4,8]",
    "model.strides=[2]",
    "trainer.max_epochs=1",
    "trainer.check_val_every_n_epoch=1",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "predictor.window_size=null",
    "predictor.num_sides=1",
    "tomo_types=[denoised]",
]
RUNS = ["data.train_runs=[TS_01,TS_02]", "data.validation_runs=[TS_03]"]


def enter_copy(config: Path, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Copy a project into a folder and work there, on that project."""
    shutil.copytree(config.parent, folder, dirs_exist_ok=True)
    text = config.read_text(encoding="utf-8").replace(str(config.parent), str(folder))
    (folder / "project.json").write_text(text, encoding="utf-8")
    patch.chdir(folder)
    patch.setenv("OCTOPI_PROJECT", str(folder / "project.json"))
