"""A search goes on after failed trainings and killed workers, and when it is started again."""

import json
import re
import subprocess
import sys

import pytest
import yaml
from saboteur import DeathAtFile
from sweeping import hash_files, read_states, run_sweep, start_sweep, write_overlay
from tiny import RUNS, TINY
from waiting import wait_until

from octopi.sweeps.study import open_study
from octopi.system.locks import is_locked

pytestmark = pytest.mark.slow
FAULTS = "none,raise,memory,diverge,SIGKILL"


@pytest.fixture
def targets(here, octopi_command):
    assert octopi_command("create_targets") == 0
    return here


def read_results(folder):
    return yaml.safe_load((folder / "optimization_results.yaml").read_text(encoding="utf-8"))


def test_each_way_of_failing_has_its_reason_and_the_search_goes_on(targets):
    arguments = [
        f"+hydra.sweeper.params={{+callbacks.saboteur.deed: 'choice({FAULTS})'}}",
        "+callbacks.saboteur._target_=saboteur.Saboteur",
        "hydra/sweeper/sampler=grid",
        "hydra.sweeper.n_trials=5",
        "hydra.sweep.dir=sweep",
    ]
    run_sweep(*arguments)
    trials = open_study(targets / "sweep").get_trials()
    ends = {t.params["+callbacks.saboteur.deed"]: t for t in trials}
    assert {deed: t.state.name for deed, t in ends.items()} == {
        "none": "COMPLETE",
        "raise": "FAIL",
        "memory": "FAIL",
        "diverge": "FAIL",
        "SIGKILL": "FAIL",
    }
    reasons = {deed: t.user_attrs.get("reason", "") for deed, t in ends.items()}
    assert "the training was sabotaged" in reasons["raise"]
    assert reasons["memory"].startswith("out of resources")
    assert reasons["diverge"].startswith("diverged")
    assert reasons["SIGKILL"] == "killed by SIGKILL"
    causes = {
        cause["cause"]: cause["count"] for cause in read_results(targets / "sweep")["failures"]
    }
    assert causes == dict.fromkeys(set(reasons.values()) - {""}, 1)


def test_a_search_in_which_nothing_succeeds_ends_with_6_and_the_causes(targets):
    arguments = [
        "+hydra.sweeper.params={optim.optimizer.lr: 'interval(1e-3,1e-2)'}",
        "+callbacks.saboteur={_target_: saboteur.Saboteur, deed: raise}",
        "hydra.sweeper.n_trials=1",
        "hydra.sweep.dir=sweep",
    ]
    assert "the training was sabotaged" in run_sweep(*arguments, exit_code=6).split("octopi: ")[-1]


def test_a_search_killed_three_times_trains_what_is_missing_and_only_with_the_same_settings(
    targets,
):
    log, sweep = targets / "log", targets / "sweep"
    arguments = [
        *write_overlay(targets),
        "+callbacks.saboteur={_target_: saboteur.Saboteur}",
        "hydra.sweeper.n_trials=3",
        "hydra.sweeper.n_jobs=1",
        "hydra.sweep.dir=sweep",
    ]
    trials = [sweep / f"trial_{number}" for number in range(3)]
    (targets / "sabotage").write_text("1 kill_parent", encoding="utf-8")  # in a training
    assert start_sweep(*arguments, log=log).wait() == -9
    wait_until(lambda: not is_locked(trials[0] / ".lock"))
    assert not (trials[0] / "outcome.json").exists()

    between_trials = DeathAtFile("os.mkdir", trials[1])
    assert start_sweep(*arguments, log=log, death=between_trials).wait() == -9
    assert [trial.exists() for trial in trials] == [True, False, False]
    before = {"trial_0": hash_files(trials[0])}

    journal = sweep / "journal.log"
    in_a_write = DeathAtFile("open", journal, mode="a", after=trials[1] / "outcome.json")
    assert start_sweep(*arguments, log=log, death=in_a_write).wait() == -9
    assert read_states(sweep) == ["COMPLETE", "RUNNING"]
    before["trial_1"] = hash_files(trials[1])
    with journal.open("ab") as file:
        file.write(b'{"op_code":6,"worker_id":"x","trial_id":0,"sta')

    run_sweep(*arguments, log=log)
    assert read_states(sweep) == ["COMPLETE"] * 3
    assert sorted(sweep.glob("trial_*")) == trials
    assert before == {name: hash_files(sweep / name) for name in before}
    assert len(list(sweep.glob("journal.log.backup-*"))) == 1
    assert read_results(sweep)["best"]["folder"] in {trial.name for trial in trials}

    finished = journal.read_bytes()
    changed = [*arguments, "seed=7", "optim.optimizer.lr=1e-3"]
    assert "space.always.params.optim.optimizer.lr, " in run_sweep(*changed, log=log, exit_code=2)
    run_sweep(*arguments, log=log)
    assert journal.read_bytes() == finished, "a finished search is left as it is"


def test_two_workers_share_one_study_and_no_trial(targets):
    sweep = targets / "sweep"
    arguments = [
        *write_overlay(targets),
        "hydra.sweeper.n_trials=4",
        "hydra.sweeper.n_jobs=1",
        "hydra.sweep.dir=sweep",
    ]
    workers = [start_sweep(*arguments, log=targets / f"log{i}") for i in range(2)]
    codes = [worker.wait() for worker in workers]
    assert codes == [0, 0], workers[0].output() + workers[1].output()
    assert read_states(sweep) == ["COMPLETE"] * 4
    owners = [(sweep / f"trial_{n}" / ".lock").read_text(encoding="utf-8") for n in range(4)]
    assert len(set(owners)) == 4


def test_an_unpromising_trial_is_pruned_and_the_best_can_be_trained_again(targets, octopi_command):
    sweep = targets / "sweep"
    arguments = [
        "+hydra.sweeper.params={+pruner.lower: 'choice(-1,2)', optim.optimizer.lr: 'choice(1e-3)'}",
        "hydra/sweeper/sampler=grid",
        "hydra.sweeper.n_jobs=1",
        "hydra.sweeper.n_trials=2",
        "hydra.sweep.dir=sweep",
        "trainer.max_epochs=3",
        "best_metric=fBeta2",
        "+pruner._target_=optuna.pruners.ThresholdPruner",  # no value is below -1, all are below 2
        "+pruner.upper=9",
    ]
    run_sweep(*arguments)
    trials = open_study(sweep).get_trials()
    assert sorted(trial.state.name for trial in trials) == ["COMPLETE", "PRUNED"]
    pruned = next(trial for trial in trials if trial.state.name == "PRUNED")
    assert len(pruned.intermediate_values) < 3

    best = read_results(sweep)["best"]
    arguments = [f"experiment={sweep}/best", "trainer.max_epochs=1", "hydra.run.dir=again"]
    assert octopi_command("train", *arguments) == 0
    again = yaml.safe_load((targets / "again" / "config.yaml").read_text(encoding="utf-8"))
    assert again["optim"]["optimizer"]["lr"] == best["params"]["optim.optimizer.lr"]
    assert "pruning" not in again["callbacks"]
    assert again["trainer"]["max_epochs"] == 1


def test_score_and_cost_together_have_a_front(targets):
    sweep = targets / "sweep"
    arguments = [
        "+hydra.sweeper.params={model.num_res_units: 'choice(0,2)'}",
        "hydra/sweeper/sampler=grid",
        "hydra.sweeper.n_trials=2",
        "hydra.sweep.dir=sweep",
        "objectives=[object_fbeta,inference_gflop]",
    ]
    run_sweep(*arguments)
    results = read_results(sweep)
    assert [o["direction"] for o in results["objectives"]] == ["maximize", "minimize"]
    costs = [t.values[1] for t in open_study(sweep).get_trials()]
    assert max(costs) > min(costs)
    cheapest = min(costs)
    assert any(s["values"]["inference_gflop"] == cheapest for s in results["solutions"])
    assert (sweep / "pareto.png").exists()


def test_a_wrong_setting_is_refused_before_the_first_trial(targets, octopi_command, capsys):
    arguments = write_overlay(targets)
    others = ["hydra.sweep.dir=sweep", "tomo_types=[denoised]"]
    assert octopi_command("train", "-m", *arguments, "best_metric=f2", *others) == 2
    assert "no metric f2" in capsys.readouterr().err
    assert octopi_command("train", "-m", *arguments, "target=nowhere:octopi/1", *others) == 3
    assert octopi_command("train", "-m", *arguments, "fold=0,1", *others) == 2
    assert "coordinate" in capsys.readouterr().err
    assert not (targets / "sweep").exists()


EDITOR = """
import json
import pathlib
import pytorch_lightning as pl

class Editor(pl.Callback):
    def on_fit_end(self, trainer, module):
        file, before, after = json.loads(pathlib.Path("edit.json").read_text())
        pathlib.Path(file).write_text(pathlib.Path(file).read_text().replace(before, after))
"""
EXPERIMENT = "# @package _global_\noptim:\n  optimizer:\n    lr: 0.001\n"


@pytest.mark.parametrize(
    ("file", "edit", "differs"),
    [
        ("project.json", '"radius": 60', r"data\.radii\.apo-ferritin"),
        ("experiment/mine.yaml", "lr: 0.001", r"settings\.optim\.optimizer\.lr"),
    ],
)
def test_a_file_edited_while_a_sweep_runs_stops_it_before_the_next_training(
    targets, file, edit, differs
):
    (targets / "editor.py").write_text(EDITOR, encoding="utf-8")
    experiment = targets / "experiment" / "mine.yaml"
    experiment.parent.mkdir()
    experiment.write_text(EXPERIMENT, encoding="utf-8")
    unedited = (targets / file).read_text(encoding="utf-8")
    assert edit in unedited
    change = json.dumps([str(targets / file), edit, edit.replace("0", "2", 1)])
    (targets / "edit.json").write_text(change, encoding="utf-8")
    arguments = [
        "seed=1,2",
        f"experiment={experiment}",
        "+callbacks.editor={_target_: editor.Editor}",
        "hydra.sweeper.n_jobs=1",
        "hydra.sweep.dir=sweep",
    ]
    said = run_sweep(*arguments, exit_code=2).split("octopi: ")[-1]
    assert re.search(rf"what differs: {differs}\. Undo that", said)
    outcomes = [targets / "sweep" / f"seed_{number}" / "outcome.json" for number in (1, 2)]
    assert [path.exists() for path in outcomes] == [True, False]
    (targets / file).write_text(unedited, encoding="utf-8")
    run_sweep(*arguments)
    assert all(path.exists() for path in outcomes)


def test_a_launcher_of_hydra_runs_the_trials(targets):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    sweep = targets / "sweep"
    arguments = [
        *write_overlay(targets),
        "hydra/launcher=joblib",
        "hydra.sweeper.n_trials=2",
        "hydra.sweeper.n_jobs=2",
        "hydra.sweep.dir=sweep",
    ]
    command = [sys.executable, "-m", "octopi.train", "-m", *TINY, *RUNS, *arguments]
    subprocess.run(command, check=True)
    assert read_states(sweep) == ["COMPLETE", "COMPLETE"]
    assert (sweep / "trial_1" / "best_model.pth").exists()
