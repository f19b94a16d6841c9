"""Job scripts, as users write them, in a real SLURM on this machine."""

import json
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from checkpoints import make_info, save_checkpoint
from clusters_page import SCRIPTS, SMALL, find_command
from processes import Command
from slurm_cluster import NODE, SECOND_NODE, SlurmCluster
from stopping import ENOUGH, STEPPED
from sweeping import read_states, run_sweep, start_sweep
from tiny import RUNS, TINY
from waiting import wait_until

from octopi.project import open_project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

OCTOPI = [sys.executable, "-c", "from octopi.console.main import main; main()"]


def octopi(*words: str) -> str:
    """Return a line of a job script that runs a command of octopi."""
    return shlex.join([*OCTOPI, *words])


def train(*words: str) -> str:
    """Return a line of a job script that trains."""
    return octopi("train", *TINY, *RUNS, *words)


@pytest.fixture
def targets(here: Path, octopi_command) -> None:
    """Targets in the project of the test."""
    assert octopi_command("create_targets") == 0


def epochs(folder: str) -> list[int]:
    """List the epochs in a training's history; none before it has one."""
    if not Path(folder, "results.json").exists():
        return []
    history = json.loads(Path(folder, "results.json").read_text(encoding="utf-8"))["history"]
    return history["train_loss"]["epoch"] if "train_loss" in history else []


LONG = ["trainer.max_epochs=1000000", "+callbacks.enough._target_=stopping.StopWhenTold"]


@pytest.mark.parametrize("by", ["warning", "requeue", "preemption"])
def test_a_job_that_slurm_starts_again_goes_on(slurm: SlurmCluster, targets, by: str):
    script = f"srun {train(*LONG, 'resume=auto', 'hydra.run.dir=job')}"
    alone = "--exclusive"
    job = slurm.submit(script, "--requeue", "--open-mode=append", "--output=job.out", alone)
    wait_until(lambda: len(epochs("job")) > 2, seconds=300)
    if by == "warning":  # what --signal=USR1@SECONDS sends before the time limit
        slurm.run("scancel", "--signal=USR1", job)
    elif by == "preemption":  # by a job that needs the node, in a partition of higher priority
        urgent = slurm.submit("true", "--partition=urgent", alone, "--output=urgent.out")
        assert slurm.wait_for_end(urgent) == "0:0"
    else:
        slurm.run("scontrol", "requeue", job)
    wait_until(lambda: slurm.state(job)["Restarts"] == "1", seconds=300, seconds_between=0.2)
    Path(ENOUGH).touch()
    assert slurm.wait_for_end(job) == "0:0", Path("job.out").read_text(encoding="utf-8")
    log = Path("job.out").read_text(encoding="utf-8")
    assert "in epoch" in log
    assert "goes on." in log
    if by == "warning":
        assert f"SLURM starts job {job} again" in log
    assert epochs("job") == list(range(len(epochs("job"))))


def test_a_job_that_is_too_short_for_an_epoch_is_started_again_once(slurm: SlurmCluster, targets):
    endless = ["data.steps_per_epoch=1000000", "+callbacks.steps._target_=stopping.TellSteps"]
    script = f"srun {train(*endless, 'resume=auto', 'hydra.run.dir=job')}"
    job = slurm.submit(script, "--requeue", "--open-mode=append", "--output=job.out")
    for restarts in range(2):
        wait_until(Path(f"{STEPPED}{restarts}").exists, seconds=400)
        slurm.run("scancel", "--signal=USR1", job)
    assert slurm.wait_for_end(job) == "138:0"
    log = Path("job.out").read_text(encoding="utf-8")
    assert f"SLURM starts job {job} again" in log
    assert "Give it more time" in log


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


def test_one_task_starts_the_ranks_of_its_devices(slurm: SlurmCluster, targets):
    script = f"srun {train('trainer.devices=2', 'hydra.run.dir=ranks')}"
    job = slurm.submit(script, "--ntasks=1", "--cpus-per-task=2", "--output=job.out")
    wait_until(lambda: "NODE_RANK=0" in environments_of_ranks(), seconds=300)
    assert slurm.wait_for_end(job) == "0:0", Path("job.out").read_text(encoding="utf-8")


def environments_of_ranks() -> str:
    """Return the environments of this machine's processes that are a second rank."""
    texts = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if "\0LOCAL_RANK=1\0" in text and str(Path.cwd()) in text:
            texts.append(text)
    return "\n".join(texts)


LAUNCHER = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=main"]
SEARCH = [
    *("hydra.sweep.dir=sweep", "hydra.sweeper.n_trials=2", "optim.optimizer.lr=1e-3"),
    "+hydra.sweeper.params={loss.alpha:'interval(0.2,0.5)'}",
]


def job_of(folder: str) -> str:
    """Return the id of the job of a training."""
    return Path(folder, "slurm_job").read_text(encoding="utf-8")


def test_a_refused_job_is_no_trial_and_a_cancelled_one_goes_on(slurm: SlurmCluster, targets):
    search = [*LAUNCHER, *SEARCH, *LONG]
    nowhere = "hydra.launcher.partition=nowhere"
    refused = run_sweep(*search, nowhere, log=Path("refused.log"), exit_code=2)
    assert "invalid partition specified: nowhere. Change hydra.launcher.partition=…" in refused
    assert read_states(Path("sweep")) == ["RUNNING"] * 2  # drawn, and taken up by the next start

    command = start_sweep(*search, log=Path("cancelled.log"))
    wait_until(lambda: len(epochs("sweep/trial_1")) > 2, seconds=300)
    array = job_of("sweep/trial_0").removesuffix("_0")
    assert job_of("sweep/trial_1") == f"{array}_1"
    slurm.run("scancel", f"{array}_1")
    slurm.wait_for_end(f"{array}_1")
    Path(ENOUGH).touch()
    assert command.wait() == 6, command.output()
    assert "1 trials were interrupted: SLURM's job " in command.output()
    assert sorted(read_states(Path("sweep"))) == ["COMPLETE", "RUNNING"]
    run_sweep(*search)
    assert read_states(Path("sweep")) == ["COMPLETE"] * 2
    assert epochs("sweep/trial_1") == list(range(len(epochs("sweep/trial_1"))))


def start_search(*words: str) -> Command:
    """Start a search whose trainings end when told to; return when both have trained epochs."""
    command = start_sweep(*LAUNCHER, *SEARCH, *LONG, *words, log=Path("search.log"))
    trials = ("sweep/trial_0", "sweep/trial_1")
    wait_until(
        lambda: not command.process.is_alive() or all(len(epochs(trial)) > 2 for trial in trials),
        seconds=300,
    )
    assert command.process.is_alive(), command.output()
    return command


def check_each_epoch_is_trained_once() -> None:
    """Demand two finished trials whose histories lack no epoch and repeat none."""
    assert read_states(Path("sweep")) == ["COMPLETE"] * 2
    for trial in ("sweep/trial_0", "sweep/trial_1"):
        assert epochs(trial) == list(range(len(epochs(trial))))


def test_a_trial_whose_job_is_requeued_goes_on_in_the_same_sweep(slurm: SlurmCluster, targets):
    command = start_search()
    job = job_of("sweep/trial_1")
    slurm.run("scontrol", "requeue", job)
    wait_until(lambda: slurm.state(job).get("Restarts") == "1", seconds=60)
    done = len(epochs("sweep/trial_1"))
    wait_until(lambda: len(epochs("sweep/trial_1")) > done + 2, seconds=400)
    Path(ENOUGH).touch()
    assert command.wait() == 0, command.output()
    assert "goes on." in Path("sweep/trial_1/output.txt").read_text(encoding="utf-8")
    check_each_epoch_is_trained_once()


def test_trials_whose_node_is_lost_are_taken_up_by_the_next_start(slurm: SlurmCluster, targets):
    no_requeue = "+hydra.launcher.additional_parameters={no-requeue: true}"
    command = start_search(no_requeue)
    node = ("scontrol", "update", f"NodeName={NODE}")
    slurm.run(*node, "State=DOWN", "Reason=lost")
    try:
        assert command.wait() == 6, command.output()
        assert "2 trials were interrupted: SLURM's job " in command.output()
        assert "ended as NODE_FAIL" in command.output()
        assert read_states(Path("sweep")) == ["RUNNING"] * 2
    finally:
        slurm.run(*node, "State=RESUME")
    Path(ENOUGH).touch()
    run_sweep(*LAUNCHER, *SEARCH, *LONG, no_requeue)
    check_each_epoch_is_trained_once()


def command_of_page(*words: str) -> list[str]:
    """Return a command of the page that submits jobs: on no GPU, of two workers."""
    nowhere = {"hydra.launcher.partition=gpu", "hydra.launcher.gpus_per_node=1"}
    kept = [word for word in find_command(*words) if word not in nowhere]
    return [word.replace("workers=8", "workers=2") for word in kept]


def test_the_folds_of_the_page_are_a_job_array_also_from_within_a_job(slurm: SlurmCluster, targets):
    words = [*TINY, "hydra.sweep.dir=sweep", "hydra.launcher.mem_gb=1"]
    script = octopi(*command_of_page("fold=0,1,2", LAUNCHER[0]), *words)
    job = slurm.submit(script, "--mem-per-cpu=200", "--output=job.out")
    code = slurm.wait_for_end(job)
    assert code == "0:0", Path("job.out").read_text(encoding="utf-8")
    assert Path("sweep/model_config.yaml").is_file()
    assert len({job_of(f"sweep/fold_{fold}").partition("_")[0] for fold in range(3)}) == 1


def test_a_job_that_fails_is_told_with_its_cause_and_its_log(slurm: SlurmCluster, targets):
    folds = ["fold=0,1", "num_folds=3", "hydra.sweep.dir=sweep", "hydra.launcher.setup=['exit 3']"]
    log = Path("log")
    command = Command("train", "-m", *TINY, *LAUNCHER, *folds, log=log)
    assert command.wait() == 6
    assert "ended as FAILED" in command.output()
    assert "_log.err" in command.output()


def test_an_array_on_two_nodes_does_each_run_once(slurm: SlurmCluster, here: Path):
    save_checkpoint(Path("model.pth"), make_info(voxel_spacing=20.0))
    task = "$SLURM_ARRAY_TASK_ID"
    words = ["checkpoint=model.pth", "predictor=default", "accelerator=cpu", "overwrite=true"]
    together = f"touch ready_{task}; until [ -e ready_1 -a -e ready_2 ]; do sleep 1; done"
    script = f"{together}\nsrun {octopi('segment', *words, 'hydra.run.dir=job_')}{task}"
    nodes = ["--partition=both", "--exclusive", "--array=1-2"]
    job = slurm.submit(script, *nodes, "--output=job_%a.out")
    assert slurm.wait_for_end(job) == "0:0", logs_of_jobs()
    assert {task["NodeList"] for task in slurm.tasks(job)} == {NODE, SECOND_NODE}
    elsewhere = re.findall(r"(\d) of 3 runs were done by other processes", logs_of_jobs())
    assert sum(map(int, elsewhere)) == 3, logs_of_jobs()  # of two times three runs


def logs_of_jobs() -> str:
    """Return what the jobs of a test have printed."""
    return "\n".join(path.read_text(encoding="utf-8") for path in Path().glob("job_*.out"))


def workers_of(verb: str, *words: str) -> Command:
    """Start a command as several jobs, in the folder VERB."""
    folder = f"hydra.sweep.dir={verb}"
    return Command(verb, "-m", *LAUNCHER, *words, folder, log=Path(f"{verb}.log"))


def test_workers_of_a_command_share_its_runs(slurm: SlurmCluster, here: Path, octopi_command):
    targets = workers_of("create_targets", "workers=3")
    assert targets.wait() == 0, targets.output()
    assert "3 jobs submitted to SLURM" in targets.output()
    logs = [path.read_text(encoding="utf-8") for path in here.glob("create_targets/*/output.txt")]
    counts = re.findall(r"Targets targets:octopi/1 of (\d) runs", "\n".join(logs))
    assert len(counts) == 3
    assert sum(map(int, counts)) == 3
    assert octopi_command("train", *TINY, *RUNS, "hydra.run.dir=job") == 0
    model = "checkpoint=job/best_model.pth"
    assert octopi_command("segment", model, "accelerator=cpu") == 0
    command = workers_of("localize", model, "workers=2")
    assert command.wait() == 0, command.output()
    assert "Every run is done" in command.output()
    runs = open_project(here / "project.json").runs
    assert all(any(picks.user_id == "octopi" for picks in run.picks()) for run in runs)


def test_a_command_without_workers_is_one_job(slurm: SlurmCluster, here: Path):
    one = workers_of("create_targets")
    assert one.wait() == 0, one.output()
    assert (here / "create_targets/0/create_targets.log").exists()
    wrong = workers_of("create_targets", "runs=[TS_99]", "overwrite=true")
    assert wrong.wait() == 3, wrong.output()
    assert "TS_99" in wrong.output()


def test_a_worker_that_is_cancelled_is_replaced_by_the_others(slurm: SlurmCluster, here: Path):
    alone = "hydra.launcher.cpus_per_task=4"  # so that the second waits for the first
    command = workers_of("create_targets", "workers=2", alone)
    wait_until(lambda: Path("create_targets/worker_1/slurm_job").exists(), seconds=60)
    slurm.run("scancel", job_of("create_targets/worker_1"))
    assert command.wait() == 0, command.output()
    assert "The other workers have done its runs" in command.output()


def test_workers_that_all_fail_are_told_with_their_cause(slurm: SlurmCluster, here: Path):
    command = workers_of("segment", "checkpoint=none.pth", "workers=2")
    assert command.wait() == 2, command.output()
    assert "No worker has ended well. worker_" in command.output()
    assert "none.pth" in command.output()
    assert "/output.txt" in command.output()


@pytest.fixture
def program(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program `octopi` of the scripts, whose trainings are tiny."""
    path = Path("bin/octopi").absolute()
    path.parent.mkdir()
    small = f'[ "$1" = train ] && set -- "$@" {shlex.join(TINY)}'
    path.write_text(f'#!/bin/bash\n{small}\nexec {octopi()} "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent), prepend=":")


def run_script(slurm: SlurmCluster, script: str, *, tasks: int) -> None:
    """Run a job script of the page on a node without a GPU; demand that all its tasks succeed."""
    script = re.sub(r" --gpus(-per-node)?=1", "", script).replace("array=1-8", f"array=1-{tasks}")
    job = slurm.submit(script, "--output=job_%a.out")
    assert slurm.wait_for_end(job, seconds=600) == "0:0", logs_of_jobs()
    states = [task["JobState"] for task in slurm.tasks(job)]
    assert states == ["COMPLETED"] * tasks, logs_of_jobs()


def test_the_script_of_the_page_for_a_training_runs(slurm: SlurmCluster, targets, program):
    (script,) = (script for script in SCRIPTS if "--array" not in script)
    run_script(slurm, f"{script.rstrip()} {shlex.join(RUNS)}", tasks=1)
    assert Path("outputs/job/best_model.pth").is_file()


def test_the_script_of_the_page_for_folds_runs(slurm: SlurmCluster, targets, program):
    (script,) = (script for script in SCRIPTS if "fold=0,1,2" in script)
    run_script(slurm, script, tasks=3)
    assert Path("outputs/folds/model_config.yaml").is_file()


def run_command(*words: str, more: Sequence[str] = ()) -> str:
    """Run a command of the page that submits jobs, two workers or trials; return its output."""
    command = Command(*command_of_page(*words), *more, log=Path("command.log"))
    assert command.wait() == 0, command.output()
    return command.output()


def test_the_search_of_the_page_runs(slurm: SlurmCluster, targets):
    search = [*SMALL, "hydra.sweeper.n_trials=2", "hydra.sweep.dir=search"]
    assert "2 jobs submitted" in run_command("search=unet", LAUNCHER[0], more=search)
    assert read_states(Path("search")) == ["COMPLETE"] * 2


def test_both_ways_of_the_page_to_segment_many_tomograms_run(
    slurm: SlurmCluster, targets, program, octopi_command
):
    assert octopi_command("train", *TINY, *RUNS, "hydra.run.dir=outputs/job") == 0
    (script,) = (script for script in SCRIPTS if "octopi segment" in script)
    run_script(slurm, script, tasks=2)
    runs = open_project("project.json").runs
    assert all("score map predict-octopi-1 of denoised@20.0" in run.item_names() for run in runs)
    assert "2 jobs submitted" in run_command("segment", "workers=8", more=["overwrite=true"])
