"""Trainings and sweeps are runs of MLflow, which end as they did."""

import contextlib
import logging
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.db import utils
from mlflow.store.db.base_sql_model import Base
from processes import FORK_SERVER
from schemas import write_schema
from sqlalchemy import create_engine, text
from tiny import RUNS, TINY

from octopi.errors import ExitCode, SettingError
from octopi.tracking import mlflow
from octopi.tracking.buffered_logger import make_tracker

WORDS = [
    *TINY,
    *RUNS,
    "+callbacks.saboteur={_target_: saboteur.Saboteur}",
    "logger=mlflow",
]
WRITERS, STEPS = 4, 20
MLFLOW = "pytorch_lightning.loggers.MLFlowLogger"
pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, about its database


def runs_of(node: dict) -> dict[str, Run]:
    client = MlflowClient(node["tracking_uri"])
    experiment = client.get_experiment_by_name("octopi")
    assert experiment is not None
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


@pytest.mark.parametrize(
    ("content", "address", "cure"),
    [
        (b"no database", "sqlite:///{path}", "Move it away"),
        (bytes(9999), "sqlite:///{path}", "Move it away"),
        (None, "{path}", "sqlite:///FOLDER/mlflow.db.* http://"),
        (b"", "sqlite:///{path}", None),
        (None, "sqlite:///{path}", None),
        (None, "http://127.0.0.1:9", None),
        (None, "redis://{path}", "Type sqlite:///FILE.* http://"),
        (None, "mysql+pymysql://{path}", "pip install pymysql"),
    ],
)
def test_a_store_that_mlflow_cannot_use_is_refused_before_a_training(
    tmp_path, content, address, cure
):
    path = tmp_path / "store"
    if content is not None:
        path.write_bytes(content)
    node = {"_target_": MLFLOW, "tracking_uri": address.format(path=path)}
    refused = pytest.raises(SettingError, match=cure) if cure else contextlib.nullcontext()
    before = sorted(tmp_path.iterdir())
    with refused as error:
        mlflow.check_store(node)
    assert not cure or str(path) in str(error.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("revision", "cure"),
    [("older", "mlflow db upgrade sqlite:///.*mlflow.db"), ("0123abcd", "Install the MLflow that")],
)
def test_a_store_of_another_schema_is_refused_as_mlflow_would(tmp_path, revision, cure):
    path = tmp_path / "mlflow.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        for table in Base.metadata.tables:
            connection.execute(text(f"CREATE TABLE {table} (a)"))
    head = utils._get_latest_schema_revision()
    write_schema(path, head)
    node = {"_target_": MLFLOW, "tracking_uri": f"sqlite:///{path}"}
    mlflow.check_store(node)
    utils._verify_schema(engine)
    write_schema(path, "f5a4f2784254" if revision == "older" else revision)
    before = path.read_bytes()
    with pytest.raises(SettingError, match=cure):
        mlflow.check_store(node)
    with pytest.raises(MlflowException, match="out-of-date"):
        utils._verify_schema(engine)
    if revision == "older":  # MLflow migrates one that lacks tables
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE budget_policies"))
        mlflow.check_store(node)
    else:
        assert path.read_bytes() == before
    engine.dispose()


def test_a_damaged_database_that_only_mlflow_notices_is_not_taken_for_that_of_a_study(tmp_path):
    path = tmp_path / "mlflow.db"
    path.write_text("no database", encoding="utf-8")
    node = {"_target_": MLFLOW, "experiment_name": "a", "tracking_uri": f"sqlite:///{path}"}
    with pytest.raises(SettingError, match=r"MLflow cannot use its store .*mlflow.db"):
        make_tracker(node, tmp_path)


def test_a_database_that_is_locked_or_away_is_not_to_be_moved():
    node = {"_target_": MLFLOW, "tracking_uri": "postgresql://lab:secret@db.example/octopi"}
    error = mlflow.unusable_store(node, sqlite3.OperationalError("database is locked"))
    assert error.exit_code == ExitCode.RESOURCE
    assert "database is locked. See that it answers" in str(error)
    assert "secret" not in str(error)


@pytest.mark.slow
def test_a_run_is_finished_failed_or_killed_as_it_was(here, octopi_command):
    assert octopi_command("create_targets", "targets.annotation=partial") == 0
    ends = (("good", None, 0), ("bad", "1 diverge", 5), ("ended", "1 SIGTERM", 143))
    for name, deed, code in ends:
        if deed:
            (here / "sabotage").write_text(deed, encoding="utf-8")
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
    assert "metrics of this training are against what is" in good.data.tags["metrics_note"]
    artifacts = {item.path for item in client.list_artifacts(good.info.run_id)}
    assert artifacts >= {"best_model.pth", "results.json", "curves.png", "data.json", "config.yaml"}

    ended = runs["ended"].info.run_id
    words = ["trust=[saboteur.Saboteur]", "trainer.max_epochs=2"]
    assert octopi_command("train", f"resume={here / 'ended'}", *words) == 0
    assert client.get_run(ended).info.status == "FINISHED"
    assert len(client.search_runs([experiment.experiment_id])) == 3, "a resumed run goes on"
    assert len(client.get_metric_history(ended, "val/object_fbeta")) == 2


def child_of(node, parent, **of_trial):
    return {**node, **mlflow.child_run_settings(node, parent, **of_trial)}


@pytest.mark.slow
def test_a_sweep_is_the_parent_of_its_trials(node, tmp_path):
    url = "postgresql://lab:secret@db.example/octopi"
    asked = {"sampler": {"seed": 1}, "storage": url}
    parent = mlflow.start_sweep_run(node, "sweep", params=asked, tags={"kind": "search"})
    assert parent is not None
    for number, (status, tags) in enumerate(
        [("FINISHED", {"state": "complete"}), ("FINISHED", {"state": "pruned"}), ("FAILED", {})]
    ):
        tags_of_trial = {"trial": number, "kind": "search"}
        child = child_of(node, parent, name=f"trial_{number}", tags=tags_of_trial)
        folder = tmp_path / f"trial_{number}"
        folder.mkdir()
        tracker = make_tracker(child, folder)
        assert tracker is not None
        tracker.log_hyperparams({"lr": 0.1 * number})
        tracker.log_metrics({"val/object_fbeta": 0.5}, 0)
        (folder / "results.json").write_text("{}", encoding="utf-8")
        tracker.end(status, tags, mlflow.list_artifacts(folder))
    killed = tmp_path / "trial_3"
    killed.mkdir()
    make_tracker(child_of(node, parent, name="trial_3", tags={"trial": 3}), killed)
    mlflow.close_child_run(node, killed, status="KILLED", tags={"reason": "killed by SIGKILL"})
    mlflow.close_child_run(node, tmp_path / "trial_2", status="KILLED", tags={"reason": "late"})
    (tmp_path / "study.yaml").write_text(f"storage: {url}\n", encoding="utf-8")
    (tmp_path / "history.png").write_bytes(b"\x89PNG")
    again = mlflow.start_sweep_run(
        node, "sweep", params=asked | {"n_trials": 8}, tags={}, run_id=parent
    )
    assert again == parent, "a sweep that is run again goes on with its run"
    mlflow.end_sweep_run(
        node,
        parent,
        status="FINISHED",
        metrics={"best": 0.5, "cost": None, "complete": 1},
        artifacts=[tmp_path / "study.yaml", tmp_path / "history.png", tmp_path / "absent.html"],
    )

    runs = runs_of(node)
    assert {name: run.info.status for name, run in runs.items()} == {
        "sweep": "FINISHED",
        "trial_0": "FINISHED",
        "trial_1": "FINISHED",
        "trial_2": "FAILED",
        "trial_3": "KILLED",
    }
    trials = [runs[f"trial_{number}"] for number in range(4)]
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {parent}
    assert [run.data.tags["trial"] for run in trials] == ["0", "1", "2", "3"]
    assert [run.data.tags.get("state") for run in trials] == ["complete", "pruned", None, None]
    assert [run.data.tags.get("reason") for run in trials] == [None] * 3 + ["killed by SIGKILL"]
    assert runs["sweep"].data.metrics == {"best": 0.5, "complete": 1}
    assert runs["sweep"].data.params["n_trials"] == "8"
    assert runs["sweep"].data.params["storage"] == "postgresql://lab:***@db.example/octopi"
    client = MlflowClient(node["tracking_uri"])
    assert {item.path for item in client.list_artifacts(parent)} == {"study.yaml", "history.png"}
    kept = Path(client.download_artifacts(parent, "study.yaml", str(tmp_path / "store")))
    assert kept.read_text(encoding="utf-8") == "storage: postgresql://lab:***@db.example/octopi\n"
    assert mlflow.start_sweep_run({}, "sweep", params={}, tags={}) is None


@pytest.mark.slow
def test_many_processes_on_a_new_store_lose_nothing(node, tmp_path):
    together = FORK_SERVER.Barrier(WRITERS)
    writers = [
        FORK_SERVER.Process(target=write_runs, args=(node, tmp_path, number, together))
        for number in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    runs, client = runs_of(node), MlflowClient(node["tracking_uri"])
    assert len(runs) == 2 * WRITERS
    for number in range(WRITERS):
        child = runs[f"trial_{number}"]
        assert child.data.tags["mlflow.parentRunId"] == runs[f"sweep_{number}"].info.run_id
        assert child.data.params == {"number": str(number), "lr": "0.1"}
        assert child.info.status == "FINISHED"
        for name in ("train/loss", "val/object_fbeta"):
            history = client.get_metric_history(child.info.run_id, name)
            assert [(m.step, m.value) for m in history] == [(s, s / 10) for s in range(STEPS)]


def write_runs(node: dict, folder: Path, number: int, together: Any) -> None:
    """One of the processes: a parent of its own and a child; any warning is a failure."""
    warned = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = warned.append
    logging.getLogger("octopi").addHandler(handler)
    together.wait()
    parent = mlflow.start_sweep_run(node, f"sweep_{number}", params={}, tags={})
    (folder / str(number)).mkdir()
    child = child_of(node, parent, name=f"trial_{number}", tags={})
    tracker = make_tracker(child, folder / str(number))
    tracker.log_hyperparams({"number": number, "lr": 0.1})
    for step in range(STEPS):
        tracker.log_metrics({"train/loss": step / 10, "val/object_fbeta": step / 10}, step)
    tracker.end("FINISHED", {}, [])
    mlflow.end_sweep_run(node, parent, status="FINISHED", metrics={}, artifacts=[])
    sys.exit(len(warned))


def test_a_stored_address_is_used_only_if_it_is_the_users_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    server = {"tracking_uri": "https://me:***@server/mlflow"}
    assert mlflow.own_address(server) is None
    assert mlflow.own_address({}) is None
    default = f"sqlite:///{tmp_path}/outputs/mlflow.db"
    assert mlflow.own_address({"tracking_uri": "sqlite:///outputs/mlflow.db"}) == default
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@server/mlflow")
    assert mlflow.own_address(server) == "https://me:secret@server/mlflow"
    assert mlflow.own_address({"tracking_uri": "https://other/mlflow"}) is None
