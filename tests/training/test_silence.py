"""The log of a training holds no hints on how to use Lightning."""

from tiny import TINY


def test_a_training_where_srun_is_on_the_path_is_green(here, octopi_command, capfd, monkeypatch):
    srun = here / "programs" / "srun"
    srun.parent.mkdir()
    srun.write_text("#!/bin/sh\n")
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", str(srun.parent), prepend=":")
    assert octopi_command("create_targets", "tomo_types=[denoised]") == 0
    assert octopi_command("train", *TINY, "fold=0", "num_folds=3", "hydra.run.dir=job") == 0
    log = (here / "job" / "train.log").read_text()
    assert "The `srun` command" not in "".join(capfd.readouterr()) + log
