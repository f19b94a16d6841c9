"""A training neither needs its tracker nor forgets what to tell it."""

import http.server
import json
import operator
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from stopping import ENOUGH
from sweeping import start_sweep
from tiny import RUNS, TINY
from waiting import wait_until

from octopi.tracking.buffered_logger import make_tracker

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, about its database


@pytest.mark.slow
def test_a_training_needs_no_tracking_server(here, octopi_command):
    assert octopi_command("create_targets") == 0
    with hanging_up() as (uri, calls):
        steps = ["data.steps_per_epoch=40", f"logger.tracking_uri={uri}", "hydra.run.dir=alone"]
        assert octopi_command("train", *TINY, *RUNS, "logger=mlflow", *steps) == 0
        assert 0 < len(calls) < 12, "asked now and then, not at each step, nor eight times at once"
    assert (here / "alone" / "best_model.pth").is_file()
    said = (here / "alone" / "train.log").read_text(encoding="utf-8")
    assert said.count("cannot be reached") == 1
    assert said.count("were not sent to the tracker") == 1


@contextmanager
def hanging_up() -> Iterator[tuple[str, list[Any]]]:
    """A server that ends every connection at once: its address, and who has called so far."""
    calls = []

    class HangUp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            calls.append(self.client_address)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), HangUp) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", calls
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [401, 403])
def test_a_user_whom_the_server_refuses_is_told_once_without_the_password(
    node, tmp_path, caplog, status
):
    with refusing(status) as address:
        node |= {"tracking_uri": f"http://me:hunter2@{address}", "artifact_location": None}
        tracker = make_tracker(node, tmp_path)
        assert tracker is not None
        for step in range(3):
            tracker.log_metrics({"loss": 1.0}, step)
        tracker.end("FINISHED", {}, [])
    refusal, unsent = (record.message for record in caplog.records)
    assert "refuses this user" in refusal
    assert "MLFLOW_TRACKING_PASSWORD" in refusal
    assert "hunter2" not in refusal
    assert "5 records were not sent" in unsent  # that the run began, three metrics, its end


@contextmanager
def refusing(status: int) -> Iterator[str]:
    """A server that accepts nobody's password: its address."""

    class Refuse(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        def log_message(self, *_args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_csv_is_a_tracker_too(here, octopi_command):
    assert octopi_command("create_targets") == 0
    assert octopi_command("train", *TINY, *RUNS, "logger=csv", "hydra.run.dir=job") == 0
    assert "train/loss" in (here / "job" / "csv" / "metrics.csv").read_text(encoding="utf-8")


@pytest.mark.slow
def test_what_a_server_missed_is_told_when_it_is_back(node, tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    with serving(tmp_path) as (server, uri):
        node |= {"tracking_uri": uri, "artifact_location": None}
        tracker = make_tracker(node, tmp_path)
        assert tracker is not None
        tracker.log_metrics({"loss": 1.0}, 0)
        os.killpg(server.pid, signal.SIGSTOP)  # it accepts connections and says nothing
        tried = []
        deliver = tracker.tracker.log_metrics
        with monkeypatch.context() as counting:
            counting.setattr(
                tracker.tracker, "log_metrics", lambda *told: (tried.append(told), deliver(*told))
            )
            for step in range(1, 20):
                tracker.log_metrics({"loss": 1.0 - step / 20}, step)
        assert 0 < len(tried) < 4, "after a failure the server is left alone for a while"
        assert sum("cannot be reached" in r.message for r in caplog.records) == 1
        os.killpg(server.pid, signal.SIGCONT)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
        (tmp_path / "results.json").write_text("{}", encoding="utf-8")
        tracker.end("FINISHED", {"state": "complete"}, [tmp_path / "results.json"])
        client = MlflowClient(uri)
        (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
        history = client.get_metric_history(run.info.run_id, "loss")
        assert {m.step for m in history} == set(range(20))  # at least once
        assert run.info.status == "FINISHED"
        assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["results.json"]


@pytest.mark.slow
@pytest.mark.parametrize("comes_back", [True, False])
def test_two_trainings_outlive_a_server_that_is_killed(here, octopi_command, comes_back):
    assert octopi_command("create_targets") == 0
    with serving(here) as (server, uri):
        sweep = start_sweep(
            *("seed=1,2", "hydra.sweeper.n_jobs=2", "hydra.sweep.dir=sweep"),
            *("logger=mlflow", f"logger.tracking_uri={uri}", "trainer.max_epochs=1000000"),
            "+callbacks.enough._target_=stopping.StopWhenTold",
            log=here / "sweep.log",
        )
        folders = [here / "sweep" / f"seed_{seed}" for seed in (1, 2)]
        wait_until(lambda: all(num_epochs(folder) > 1 for folder in folders), seconds=300)
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    killed_at = [num_epochs(folder) for folder in folders]
    went_on = [number + 2 for number in killed_at]
    wait_until(lambda: all(map(operator.ge, map(num_epochs, folders), went_on)), seconds=300)
    with serving(here, uri) if comes_back else nullcontext():
        Path(ENOUGH).touch()
        assert sweep.wait() == 0, sweep.output()
        logs = [(folder / "train.log").read_text(encoding="utf-8") for folder in folders]
        assert [log.count("cannot be reached") for log in logs] == [1, 1]
        assert "mistake" not in "".join([sweep.output(), *logs])
        if not comes_back:
            assert [log.count("were not sent to the tracker") for log in logs] == [1, 1]
            return
        assert [log.count("all buffered records were sent") for log in logs] == [1, 1]
        client = MlflowClient(uri)
        runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
        assert {run.info.run_name: run.info.status for run in runs} == dict.fromkeys(
            ("sweep", "seed_1", "seed_2"), "FINISHED"
        )
        for folder in folders:
            (run,) = (run for run in runs if run.info.run_name == folder.name)
            told = client.get_metric_history(run.info.run_id, "val/object_fbeta")
            assert len({metric.step for metric in told}) == num_epochs(folder)


def num_epochs(folder: Path) -> int:
    """Count the epochs in a training's history; 0 before it has one."""
    if not (folder / "results.json").exists():
        return 0
    history = json.loads((folder / "results.json").read_text(encoding="utf-8"))["history"]
    return len(history.get("train_loss", {"epoch": []})["epoch"])


@contextmanager
def serving(folder: Path, address: str | None = None) -> Iterator[tuple[subprocess.Popen, str]]:
    """An MLflow server that answers, and its address: a free one, or that of one before."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = address.rpartition(":")[2] if address else free.getsockname()[1]
    words = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    store = ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
    artifacts = ["--artifacts-destination", str(folder / "served")]
    with subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *words, *store, *artifacts],
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},  # whose start takes long
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            wait_for(f"http://127.0.0.1:{port}/health", server)
            yield server, f"http://127.0.0.1:{port}"
        finally:
            with suppress(ProcessLookupError):  # a test has killed it
                os.killpg(server.pid, signal.SIGKILL)


def wait_for(address: str, server: subprocess.Popen) -> None:
    """The server answers; it has two minutes to begin."""
    for _ in range(600):
        assert server.poll() is None
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the MLflow server did not answer in two minutes")
