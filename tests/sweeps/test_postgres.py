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
from clusters_page import SMALL, find_command
from processes import FORK_SERVER, Command
from tiny import RUNS, TINY
from waiting import wait_until

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


class Server:
    """PostgreSQL on loopback, which can be stopped and started again.

    Args:
        folder: of its data and log.
        password: of its user `octopi`.
        user: arguments of Popen for the user that it runs as.
    """

    def __init__(self, folder: Path, password: str, user: dict[str, Any]) -> None:
        self.folder, self.user = folder, user
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql://octopi:{password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        options = ["-D", str(self.folder / "data"), "-h", "127.0.0.1", "-p", str(self.port)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(PROGRAMS[-1]), *options, "-k", "", "-F"],
                cwd=self.folder,
                stderr=log,
                stdout=log,
                **self.user,
            )
        wait_for(self.url, self.process, self.folder / "log")

    def stop(self) -> None:
        """Stop it at once, with all its connections."""
        self.process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
        self.process.wait()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server for the tests."""
    password = secrets.token_hex(16)
    # Not in pytest's own folder, which only its owner may enter; PostgreSQL will not be root.
    with (
        tempfile.TemporaryDirectory(prefix="octopi-postgres-") as name,
        unprivileged_user(name) as user,
    ):
        folder = Path(name)
        data, secret = folder / "data", folder / "password"
        secret.write_text(password, encoding="utf-8")
        secret.chmod(0o644)  # the folder is 0700
        options = ["--username=octopi", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync"]
        initdb = [str(PROGRAMS[-1].parent / "initdb"), f"--pgdata={data}", *options]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **user)
        postgres = Server(folder, password, user)
        postgres.start()
        try:
            yield postgres
        finally:
            postgres.stop()


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    """Its URL, with user and password."""
    return server.url


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
        *RUNS,
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


def test_the_search_of_the_page_on_clusters_runs(here, octopi_command, url):
    assert octopi_command("create_targets") == 0
    address = "hydra.sweeper.storage=postgresql://USER@HOST/DATABASE"
    words = [
        f"hydra.sweeper.storage='{url}'" if word == address else word
        for word in find_command("hydra.sweeper.study_name=mine", address)
    ]
    search = Command(*words, *SMALL, "hydra.sweeper.n_trials=2", log=here / "log")
    assert search.wait() == 0, search.output()
    with stored(url) as storage:
        trials = optuna.load_study(study_name="mine", storage=storage).get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 2


def test_an_outage_ends_neither_a_search_nor_its_trainings(here, octopi_command, server):
    assert octopi_command("create_targets") == 0
    arguments = [
        *(word for word in TINY if not word.startswith("trainer.max_epochs")),
        "trainer.max_epochs=30",
        *RUNS,
        "+hydra.sweeper.params={optim.optimizer.lr:'tag(log,interval(1e-4,1e-2))'}",
        f"hydra.sweep.dir={here / 'sweep'}",
        f"hydra.sweeper.storage='{server.url}'",
        "hydra.sweeper.study_name=outage",
        "hydra.sweeper.n_trials=3",
        "hydra.sweeper.n_jobs=2",
    ]
    before = num_reported(server.url)
    search = Command("train", "-m", *arguments, log=here / "log")
    wait_until(lambda: num_reported(server.url) > before + 2)
    for seconds in (1, 15):  # the second outlives the first trainings
        server.stop()
        time.sleep(seconds)
        server.start()
    assert search.wait() == 0, search.output()
    with stored(server.url) as storage:
        trials = optuna.load_study(study_name="outage", storage=storage).get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
    for trial in trials:
        assert sorted(trial.intermediate_values) == list(range(30))
    password = server.url.split(":")[2].split("@")[0]
    assert password not in search.output()


def num_reported(url: str) -> int:
    """Count what the trainings of the search have reported so far."""
    with psycopg.connect(url) as connection:
        try:
            (row,) = connection.execute("select count(*) from trial_intermediate_values")
        except psycopg.errors.UndefinedTable:
            return 0
        return row[0]


def test_a_wrong_password_is_one_line_without_it(here, octopi_command, url, capfd):
    assert octopi_command("create_targets") == 0
    wrong = url.replace(url.split(":")[2].split("@")[0], "not-the-password")
    params = "+hydra.sweeper.params={optim.optimizer.lr:'interval(1e-4,1e-2)'}"
    words = [*TINY, params, "hydra.sweep.dir=sweep", f"hydra.sweeper.storage='{wrong}'"]
    capfd.readouterr()
    assert octopi_command("train", "-m", *words) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("octopi: ")]
    assert "password authentication failed" in line
    assert "not-the-password" not in line
