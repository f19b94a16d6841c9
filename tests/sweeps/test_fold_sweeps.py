"""Folds named on the command line become one ensemble, also after one has failed."""

import json

import pytest
from sweeping import hash_files, run_sweep

from octopi.models import checkpoint

pytestmark = pytest.mark.slow


def test_after_a_failed_fold_only_that_one_is_trained_again(here, octopi_command, capfd):
    assert octopi_command("create_targets") == 0
    sweep = here / "cv"
    arguments = [
        "fold=0,1,2",
        "num_folds=3",
        "data.train_runs=null",
        "data.validation_runs=null",
        "+callbacks.saboteur={_target_: saboteur.Saboteur}",
        "hydra.sweeper.n_jobs=1",
        "hydra.sweep.dir=cv",
    ]
    (here / "sabotage").write_text("0 raise", encoding="utf-8")  # in the first fold to start
    assert "1 of 3 trainings failed" in run_sweep(*arguments, exit_code=6)
    folds = [sweep / f"fold_{n}" for n in range(3)]
    done = [fold for fold in folds if (fold / "outcome.json").exists()]
    assert len(done) == 2
    assert not (sweep / "best_model.pth").exists()

    before = {fold.name: hash_files(fold) for fold in done}
    run_sweep(*arguments)
    assert before == {fold.name: hash_files(fold) for fold in done}
    results = json.loads((sweep / "results.json").read_text(encoding="utf-8"))
    assert set(results["scores"]["pooled"]) == {"fold_0", "fold_1", "fold_2", "pooled"}
    assert len(checkpoint.ensemble_members(checkpoint.read(sweep / "best_model.pth")[1].net)) == 3

    assert octopi_command("segment", "checkpoint=cv/best_model.pth", "runs=[TS_01]") == 0
    assert octopi_command("localize", "runs=[TS_01]") == 0
    capfd.readouterr()
    assert octopi_command("summarize", "folder=cv") == 0
    assert "fold_2" in capfd.readouterr().err
