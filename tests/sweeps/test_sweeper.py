"""A search goes on after failed trainings and killed workers, and when it is started again."""

import signal

import pytest
import yaml
from sweeping import (
    hash_files,
    read_states,
    run_sweep,
    start_sweep,
    wait_until,
    write_overlay,
)

from octopi.sweeps.study import open_study

pytestmark = pytest.mark.slow
FAULTS = "none,raise,memory,diverge,SIGKILL"


@pytest.fixture
def targets(here, octopi_command):
    assert octopi_command("create_targets") == 0
    return here


def read_results(folder):
    return yaml.safe_load((folder / "optimization_results.yaml").read_text(encoding="utf-8"))


def test_each_way_of_failing_has_its_reason_and_the_search_goes_on(targets):
    log = targets / "log"
    arguments = [
        f"+hydra.sweeper.params={{+callbacks.saboteur.deed: 'choice({FAULTS})'}}",
        "+callbacks.saboteur._target_=saboteur.Saboteur",
        "hydra/sweeper/sampler=grid",
        "hydra.sweeper.n_trials=5",
        "hydra.sweep.dir=sweep",
    ]
    assert run_sweep(*arguments, log=log) == 0, log.read_text(encoding="utf-8")
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


def test_a_search_in_which_nothing_succeeds_ends_with_6_and_the_causes(targets, capfd):
    arguments = [
        "+hydra.sweeper.params={optim.optimizer.lr: 'interval(1e-3,1e-2)'}",
        "+callbacks.saboteur={_target_: saboteur.Saboteur, deed: raise}",
        "hydra.sweeper.n_trials=1",
        "hydra.sweep.dir=sweep",
    ]
    log = targets / "log"
    assert run_sweep(*arguments, log=log) == 6
    assert "the training was sabotaged" in log.read_text(encoding="utf-8").split("octopi: ")[-1]


@pytest.mark.timeout(900)
def test_a_search_killed_three_times_trains_what_is_missing_and_only_with_the_same_settings(
    targets,
):
    log, sweep = targets / "log", targets / "sweep"
    arguments = [
        *write_overlay(targets),
        "hydra.sweeper.n_trials=3",
        "hydra.sweeper.n_jobs=1",
        "hydra.sweep.dir=sweep",
    ]
    trials = [sweep / f"trial_{number}" for number in range(3)]
    in_a_training = (trials[0] / "last.ckpt").exists
    between_trials = trials[1].exists
    in_a_write = (trials[1] / "outcome.json").exists
    before = {}
    for moment in (in_a_training, between_trials, in_a_write):
        process = start_sweep(*arguments, log=log)
        wait_until(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if moment is in_a_training:
            continue
        for trial in trials:
            if (trial / "outcome.json").exists():
                assert before.setdefault(trial.name, hash_files(trial)) == hash_files(trial)
    with (sweep / "journal.log").open("ab") as file:
        file.write(b'{"op_code":6,"worker_id":"x","trial_id":0,"sta')

    assert run_sweep(*arguments, log=log) == 0, log.read_text(encoding="utf-8")
    assert read_states(sweep) == ["COMPLETE"] * 3
    assert sorted(sweep.glob("trial_*")) == trials
    assert before == {name: hash_files(sweep / name) for name in before}
    assert before
    assert len(list(sweep.glob("journal.log.backup-*"))) == 1
    assert read_results(sweep)["best"]["folder"] in {trial.name for trial in trials}

    journal = (sweep / "journal.log").read_bytes()
    changed = [*arguments, "seed=7", "optim.optimizer.lr=1e-3"]
    assert run_sweep(*changed, log=log) == 2
    assert "space.params.optim.optimizer.lr, " in log.read_text(encoding="utf-8")
    assert run_sweep(*arguments, log=log) == 0
    assert (sweep / "journal.log").read_bytes() == journal, "a finished search is left as it is"


def test_two_workers_share_one_study_and_no_trial(targets):
    sweep = targets / "sweep"
    arguments = [
        *write_overlay(targets),
        "hydra.sweeper.n_trials=4",
        "hydra.sweeper.n_jobs=1",
        "hydra.sweep.dir=sweep",
    ]
    workers = [start_sweep(*arguments, log=targets / f"log{i}") for i in range(2)]
    codes = [worker.wait(240) for worker in workers]
    assert codes == [0, 0], (targets / "log0").read_text(encoding="utf-8") + (
        targets / "log1"
    ).read_text(encoding="utf-8")
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
    process = start_sweep(*arguments, log=targets / "log")
    assert process.wait(120) == 0, (targets / "log").read_text(encoding="utf-8")
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
    assert run_sweep(*arguments, log=targets / "log") == 0, (targets / "log").read_text(
        encoding="utf-8"
    )
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
    assert run_sweep(*arguments, log=targets / "log") == 0, (targets / "log").read_text(
        encoding="utf-8"
    )
    assert read_states(sweep) == ["COMPLETE", "COMPLETE"]
    assert (sweep / "trial_1" / "best_model.pth").exists()
