"""A study in a real PostgreSQL server, shared by several processes."""

import os
import pwd
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from processes import FORK_SERVER, Command
from tiny import TINY

from octopi.tracking.mlflow import list_artifacts

psycopg = pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")

WORKERS, TRIALS = 4, 12
PROGRAMS = sorted(
    Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3])
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROGRAMS, reason="Debian's package postgresql is not installed"),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Start a server on loopback for the tests; yield its URL, with user and password."""
    programs, password = PROGRAMS[-1].parent, secrets.token_hex(16)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Not in pytest's own folder, which only its owner may enter; PostgreSQL will not be root.
    with (
        tempfile.TemporaryDirectory(prefix="octopi-postgres-") as folder,
        unprivileged_user(folder) as user,
    ):
        data, secret = Path(folder) / "data", Path(folder) / "password"
        secret.write_text(password, encoding="utf-8")
        secret.chmod(0o644)  # the folder is 0700
        options = ["--username=octopi", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync"]
        initdb = [str(programs / "initdb"), f"--pgdata={data}", *options]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **user)
        server_options = ["-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", "", "-F"]
        with (
            (Path(folder) / "log").open("wb") as log,
            subprocess.Popen(
                [str(programs / "postgres"), *server_options],
                cwd=folder,
                stderr=log,
                stdout=log,
                **user,
            ) as server,
        ):
            address = f"postgresql://octopi:{password}@127.0.0.1:{port}/postgres"
            try:
                wait_for(address, server, Path(folder) / "log")
                yield address
            finally:
                server.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown


@contextmanager
def unprivileged_user(folder: str) -> Iterator[dict[str, Any]]:
    """Yield Popen's arguments for the user of the server: another one where this one is root."""
    if os.geteuid() != 0:
        yield {}
        return
    names = {entry.pw_name for entry in pwd.getpwall()}
    account = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    os.chown(folder, account.pw_uid, account.pw_gid)
    yield {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    """Wait for a minute at most until the server accepts connections."""
    for _ in range(300):
        assert server.poll() is None, log.read_text(encoding="utf-8")
        try:
            psycopg.connect(address).close()
        except psycopg.OperationalError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(log.read_text(encoding="utf-8"))


def test_the_server_requires_a_password(url):
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url.split(":")[0] + "://octopi:wrong@" + url.split("@")[1])


def test_processes_share_a_study_and_lose_nothing(url):
    with stored(url) as storage:
        optuna.create_study(study_name="shared", storage=storage, direction="maximize")
    barrier = FORK_SERVER.Barrier(WORKERS)
    workers = [
        FORK_SERVER.Process(target=ask_and_tell, args=(url, seed, barrier))
        for seed in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * WORKERS
    with stored(url) as storage:
        trials = optuna.load_study(study_name="shared", storage=storage).get_trials()
    assert [trial.number for trial in trials] == list(range(WORKERS * TRIALS))
    for trial in trials:
        assert trial.state.name == "COMPLETE"
        assert trial.value == trial.params["x"]
        assert trial.intermediate_values == {0: trial.params["x"], 1: trial.params["x"] + 1}
    counts = [sum(t.user_attrs["worker"] == seed for t in trials) for seed in range(WORKERS)]
    assert counts == [TRIALS] * WORKERS


@contextmanager
def stored(url: str) -> Iterator[optuna.storages.RDBStorage]:
    """Yield Optuna's storage, and close its connections afterwards."""
    storage = optuna.storages.RDBStorage(url)
    yield storage
    storage.remove_session()
    storage.engine.dispose()


def ask_and_tell(url: str, seed: int, barrier: Any) -> None:
    """Run trials in one of the processes."""
    sampler = optuna.samplers.RandomSampler(seed=seed)
    study = optuna.load_study(study_name="shared", storage=url, sampler=sampler)
    barrier.wait()
    for _ in range(TRIALS):
        trial = study.ask()
        x = trial.suggest_float("x", 0, 1)
        trial.set_user_attr("worker", seed)
        trial.report(x, 0)
        trial.report(x + 1, 1)
        study.tell(trial, x)


def test_a_search_writes_the_password_into_study_yaml_only(here, octopi_command, url):
    assert octopi_command("create_targets") == 0
    arguments = [
        *TINY,
        "data.train_runs=[TS_01,TS_02]",
        "data.validation_runs=[TS_03]",
        "+hydra.sweeper.params={optim.optimizer.lr:'tag(log,interval(1e-4,1e-2))'}",
        "logger=mlflow",
        f"hydra.sweep.dir={here / 'sweep'}",
        f"hydra.sweeper.storage='{url}'",
        "hydra.sweeper.n_trials=2",
    ]
    sweep = Command("train", "-m", *arguments, log=here / "log")
    assert sweep.wait() == 0, sweep.output()
    with stored(url) as storage:
        trials = optuna.load_study(study_name="octopi", storage=storage).get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 2
    assert not (here / "sweep" / "journal.log").exists()

    password = url.split(":")[2].split("@")[0]
    private = here / "sweep" / "study.yaml"  # needs it, to be run again
    assert private.stat().st_mode & 0o077 == 0
    others = [path for path in here.rglob("*") if path.is_file() and path != private]
    assert not [path for path in others if password.encode() in path.read_bytes()]
    assert {p.name for p in list_artifacts(here / "sweep" / "trial_0")} >= {"best_model.pth"}
    assert password not in sweep.output()
