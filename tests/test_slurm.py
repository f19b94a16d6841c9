"""Job scripts, as users write them, in a real SLURM of one node on this machine."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster, wait_for
from tiny import TINY

pytestmark = pytest.mark.slow

SPLIT = ["data.train_runs=[TS_01,TS_02]", "data.validation_runs=[TS_03]"]
OCTOPI = [sys.executable, "-c", "from octopi.console.main import main; main()"]


def octopi(*words: str) -> str:
    """Return a line of a job script that runs a command of octopi."""
    return shlex.join([*OCTOPI, *words])


def train(*words: str) -> str:
    """Return a line of a job script that trains."""
    return octopi("train", *TINY, *SPLIT, *words)


@pytest.fixture
def targets(here: Path, octopi_command) -> None:
    """Targets in the project of the test."""
    assert octopi_command("create_targets") == 0


def epochs(folder: str) -> list[int]:
    """List the epochs in a training's history."""
    history = json.loads(Path(folder, "results.json").read_text(encoding="utf-8"))["history"]
    return history["train_loss"]["epoch"]


LONG = ["trainer.max_epochs=120", "trainer.check_val_every_n_epoch=120"]


@pytest.mark.parametrize("by", ["warning", "requeue"])
def test_a_job_that_slurm_starts_again_goes_on(slurm: SlurmCluster, targets, by: str):
    script = f"srun {train(*LONG, 'resume=auto', 'hydra.run.dir=job')}"
    job = slurm.submit(script, "--requeue", "--open-mode=append", "--output=job.out")
    wait_for(lambda: Path("job/results.json").exists() and len(epochs("job")) > 2, seconds=120)
    if by == "warning":  # what --signal=USR1@SECONDS sends before the time limit
        slurm.run("scancel", "--signal=USR1", job)
    else:
        slurm.run("scontrol", "requeue", job)
    wait_for(lambda: slurm.state(job)["Restarts"] == "1", seconds=120)
    assert slurm.wait_for_end(job) == "0:0", Path("job.out").read_text(encoding="utf-8")
    log = Path("job.out").read_text(encoding="utf-8")
    assert "in epoch" in log
    assert "goes on." in log
    if by == "warning":
        assert f"SLURM starts job {job} again" in log
    assert epochs("job") == list(range(120))


def test_the_tasks_of_srun_are_the_ranks_of_a_training(slurm: SlurmCluster, targets):
    ranks = train("trainer=ddp", "trainer.devices=2", "hydra.run.dir=ranks")
    job = slurm.submit(f"srun --ntasks=2 {ranks}", "--ntasks=2", "--output=job.out")
    code = slurm.wait_for_end(job)
    log = Path("job.out").read_text(encoding="utf-8")
    assert code == "0:0", log
    assert log.count("Best model") == 1
    assert Path("ranks/best_model.pth").is_file()
    assert "HINT" not in log


def test_every_task_of_srun_is_refused_where_another_job_trains(slurm: SlurmCluster, targets):
    Path("used").mkdir()
    Path("used/last.ckpt").touch()
    words = train("trainer.devices=2", "hydra.run.dir=used")
    job = slurm.submit(f"srun {words}", "--ntasks-per-node=2", "--output=job.out")
    assert slurm.wait_for_end(job) == "2:0"
    log = Path("job.out").read_text(encoding="utf-8")
    assert log.count("already holds a training") == 2


def test_tasks_that_are_not_the_devices_are_refused_by_each(slurm: SlurmCluster, here: Path):
    job = slurm.submit(f"srun {train()}", "--ntasks=2", "--output=job.out")
    assert slurm.wait_for_end(job) == "2:0"
    log = Path("job.out").read_text(encoding="utf-8")
    assert log.count("Type trainer.devices=2 trainer.num_nodes=1") == 2


def test_one_task_starts_the_ranks_of_its_devices(slurm: SlurmCluster, targets):
    script = f"srun {train('trainer.devices=2', 'hydra.run.dir=ranks')}"
    job = slurm.submit(script, "--ntasks=1", "--cpus-per-task=2", "--output=job.out")
    wait_for(lambda: "NODE_RANK=0" in environments_of_ranks(), seconds=120)
    assert slurm.wait_for_end(job) == "0:0", Path("job.out").read_text(encoding="utf-8")


def environments_of_ranks() -> str:
    """Return the environments of this machine's processes that are a second rank."""
    texts = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        if "\0LOCAL_RANK=1\0" in text and str(Path.cwd()) in text:
            texts.append(text)
    return "\n".join(texts)
