"""What a tracker is told of a training, and that it is the truth."""

import pytest
from mlflow import MlflowClient
from tiny import TINY

WORDS = [
    *TINY,
    "data.train_runs=[TS_01,TS_02]",
    "data.validation_runs=[TS_03]",
    "+callbacks.saboteur={_target_: saboteur.Saboteur}",
    "logger=mlflow",
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own, about its database
def test_a_run_is_finished_failed_or_killed_as_it_was(here, octopi_command):
    assert octopi_command("create_targets") == 0
    for name, deed, code in (("good", None, 0), ("bad", "1 nan", 5), ("ended", "1 SIGTERM", 143)):
        if deed:
            (here / "sabotage").write_text(deed)
        assert (
            octopi_command("train", *WORDS, f"logger.run_name={name}", f"hydra.run.dir={name}")
            == code
        )
    client = MlflowClient(f"sqlite:///{here / 'outputs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("octopi")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {name: run.info.status for name, run in runs.items()} == {
        "good": "FINISHED",
        "bad": "FAILED",
        "ended": "KILLED",
    }
    good = runs["good"]
    assert good.data.params["model/channels"] == "[4, 8]"
    assert good.data.params["seed"] == "42"
    assert "val/object_fbeta" in good.data.metrics
    artifacts = {item.path for item in client.list_artifacts(good.info.run_id)}
    assert artifacts >= {"best_model.pth", "results.json", "curves.png", "data.json", "config.yaml"}


def test_csv_is_a_tracker_too(here, octopi_command):
    assert octopi_command("create_targets") == 0
    words = [w for w in WORDS if w != "logger=mlflow"]
    assert octopi_command("train", *words, "logger=csv", "hydra.run.dir=job") == 0
    assert "train/loss" in (here / "job" / "csv" / "metrics.csv").read_text()
