"""A machine with Slurm, where the training was not started by it."""

import os

import pytest
from tiny import TINY


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Slurm's `srun` is on the PATH."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    (folder / "srun").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_a_training_runs_without_a_hint_to_use_srun(here, octopi_command, slurm, capsys):
    assert octopi_command("create_targets") == 0
    runs = ["data.train_runs=[TS_01,TS_02]", "data.validation_runs=[TS_03]"]
    assert octopi_command("train", *TINY, *runs, "hydra.run.dir=job") == 0
    assert "srun" not in capsys.readouterr().err
    assert "srun" not in (here / "job" / "train.log").read_text(encoding="utf-8")
