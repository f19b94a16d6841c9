"""A search survives its trainings, its workers, and being run again."""

import signal

import pytest
import yaml
from sweeping import digest, start, states, wait_until, write_overlay

from octopi.exploration.study import open_study

pytestmark = pytest.mark.slow
FAULTS = "none,raise,memory,diverge,SIGKILL"


@pytest.fixture
def targets(here, octopi_command):
    assert octopi_command("create_targets") == 0
    return here


def _results(folder):
    return yaml.safe_load((folder / "optimization_results.yaml").read_text())


def test_each_way_of_failing_has_its_reason_and_the_search_goes_on(targets):
    log = targets / "log"
    words = [
        f"+hydra.sweeper.params={{+callbacks.saboteur.deed: 'choice({FAULTS})'}}",
        "+callbacks.saboteur._target_=saboteur.Saboteur",
        "hydra/sweeper/sampler=grid",
        "hydra.sweeper.n_trials=5",
        "hydra.sweep.dir=sweep",
    ]
    assert start(*words, log=log).wait(240) == 0, log.read_text()
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
    causes = {cause["cause"]: cause["count"] for cause in _results(targets / "sweep")["failures"]}
    assert causes == dict.fromkeys(set(reasons.values()) - {""}, 1)


def test_a_search_in_which_nothing_succeeds_ends_with_6_and_the_causes(targets, capfd):
    words = [
        "+hydra.sweeper.params={optim.optimizer.lr: 'choice(1e-3,1e-2)'}",
        "+callbacks.saboteur={_target_: saboteur.Saboteur, deed: raise}",
        "hydra.sweeper.n_trials=2",
        "hydra.sweep.dir=sweep",
    ]
    log = targets / "log"
    assert start(*words, log=log).wait(120) == 6
    assert "the training was sabotaged" in log.read_text().split("octopi: ")[-1]


@pytest.mark.parametrize("moment", ["in a training", "between trials", "in a write"])
def test_a_search_killed_and_started_again_finishes_what_is_missing(targets, moment):
    log, sweep = targets / "log", targets / "sweep"
    words = [
        *write_overlay(targets),
        "hydra.sweeper.n_trials=2",
        "hydra.sweeper.n_jobs=1",
        "hydra.sweep.dir=sweep",
    ]
    process = start(*words, log=log)
    first, second = sweep / "trial_0", sweep / "trial_1"
    if moment == "in a training":
        wait_until((first / "last.ckpt").exists)
    elif moment == "between trials":
        wait_until(second.exists)
    else:
        wait_until((first / "outcome.json").exists)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if moment == "in a write":
        with (sweep / "journal.log").open("ab") as file:
            file.write(b'{"op_code":6,"worker_id":"x","trial_id":0,"sta')
    finished = (first / "outcome.json").exists()
    before = digest(first) if finished else {}

    assert start(*words, log=log).wait(120) == 0, log.read_text()
    assert states(sweep) == ["COMPLETE", "COMPLETE"]
    assert sorted(path.name for path in sweep.glob("trial_*")) == ["trial_0", "trial_1"]
    if finished:
        assert digest(first) == before
    assert bool(list(sweep.glob("journal.log.backup-*"))) == (moment == "in a write")
    assert _results(sweep)["best"]["folder"] in ("trial_0", "trial_1")

    journal = (sweep / "journal.log").read_bytes()
    assert start(*words, log=log).wait(60) == 0
    assert (sweep / "journal.log").read_bytes() == journal, "a finished search is left as it is"


def test_two_workers_share_one_study_and_no_trial(targets):
    sweep = targets / "sweep"
    words = [
        *write_overlay(targets),
        "hydra.sweeper.n_trials=4",
        "hydra.sweeper.n_jobs=1",
        "hydra.sweep.dir=sweep",
    ]
    workers = [start(*words, log=targets / f"log{i}") for i in range(2)]
    codes = [worker.wait(240) for worker in workers]
    assert codes == [0, 0], (targets / "log0").read_text() + (targets / "log1").read_text()
    assert states(sweep) == ["COMPLETE"] * 4
    owners = [(sweep / f"trial_{n}" / ".lock").read_text() for n in range(4)]
    assert len(set(owners)) == 4


def test_a_hopeless_trial_is_pruned_and_the_best_can_be_trained_again(targets, octopi_command):
    sweep = targets / "sweep"
    words = [
        "+hydra.sweeper.params={optim.optimizer.lr: 'choice(1e-3,1e-9)'}",
        "hydra/sweeper/sampler=grid",
        "hydra.sweeper.n_jobs=1",
        "hydra.sweeper.n_trials=2",
        "hydra.sweep.dir=sweep",
        "trainer.max_epochs=3",
        "best_metric=fBeta2",
        "pruner._target_=optuna.pruners.PercentilePruner",
        "+pruner.percentile=0.0",  # whoever is not best is hopeless
        "+pruner.n_startup_trials=1",
    ]
    process = start(*words, log=targets / "log")
    assert process.wait(120) == 0, (targets / "log").read_text()
    trials = open_study(sweep).get_trials()
    assert sorted(trial.state.name for trial in trials) == ["COMPLETE", "PRUNED"]
    pruned = next(trial for trial in trials if trial.state.name == "PRUNED")
    assert len(pruned.intermediate_values) < 3

    best = _results(sweep)["best"]
    words = [f"experiment={sweep}/best", "trainer.max_epochs=1", "hydra.run.dir=again"]
    assert octopi_command("train", *words) == 0
    again = yaml.safe_load((targets / "again" / "config.yaml").read_text())
    assert again["optim"]["optimizer"]["lr"] == best["params"]["optim.optimizer.lr"]
    assert again["trial"] is None
    assert again["trainer"]["max_epochs"] == 1


def test_score_and_cost_together_have_a_front(targets):
    sweep = targets / "sweep"
    words = [
        "+hydra.sweeper.params={model.channels: 'choice([4,8],[8,16])'}",
        "hydra/sweeper/sampler=grid",
        "hydra.sweeper.n_trials=2",
        "hydra.sweep.dir=sweep",
        "objectives=[object_fbeta,inference_gflop]",
    ]
    assert start(*words, log=targets / "log").wait(120) == 0, (targets / "log").read_text()
    results = _results(sweep)
    assert [o["direction"] for o in results["objectives"]] == ["maximize", "minimize"]
    costs = [t.values[1] for t in open_study(sweep).get_trials()]
    assert max(costs) > 2 * min(costs)
    cheapest = min(costs)
    assert any(s["values"]["inference_gflop"] == cheapest for s in results["solutions"])
    assert (sweep / "pareto.png").exists()


def test_what_is_wrong_is_said_before_the_first_trial(targets, octopi_command, capsys):
    words = write_overlay(targets)
    assert octopi_command("train", "-m", *words, "best_metric=f2", "hydra.sweep.dir=sweep") == 2
    assert "no metric f2" in capsys.readouterr().err
    assert octopi_command("train", "-m", *words, "target=nowhere", "hydra.sweep.dir=sweep") == 3
    assert octopi_command("train", "-m", *words, "fold=0,1", "hydra.sweep.dir=sweep") == 2
    assert "coordinate" in capsys.readouterr().err
    assert not (targets / "sweep").exists()


def test_a_search_goes_on_only_as_it_began(targets, octopi_command, capsys):
    words = [*write_overlay(targets), "hydra.sweep.dir=sweep", "hydra.sweeper.n_trials=1"]
    assert start(*words, log=targets / "log").wait(120) == 0
    process = start(*words, "seed=7", "optim.optimizer.lr=1e-3", log=targets / "log2")
    assert process.wait(60) == 2
    said = (targets / "log2").read_text()
    assert "space.params.optim.optimizer.lr" in said
    assert "settings.seed" in said


def test_a_launcher_of_hydras_runs_the_trials(targets):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    sweep = targets / "sweep"
    words = [
        *write_overlay(targets),
        "hydra/launcher=joblib",
        "hydra.sweeper.n_trials=2",
        "hydra.sweeper.n_jobs=2",
        "hydra.sweep.dir=sweep",
    ]
    assert start(*words, log=targets / "log").wait(120) == 0, (targets / "log").read_text()
    assert states(sweep) == ["COMPLETE", "COMPLETE"]
    assert (sweep / "trial_1" / "best_model.pth").exists()
