"""What tests share: a tiny synthetic project and the commands as a user calls them."""

import logging
import os
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from slurm_cluster import SlurmCluster, missing_programs
from tiny import PHANTOM, enter_copy

import octopi
from octopi.console.main import main
from octopi.phantom import make_phantom
from octopi.system import resources

Command = Callable[..., int]

# The same examples in each run, few enough for every run; a slow machine is no fault.
settings.register_profile("octopi", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("octopi")

# Variables that programs read for a user or a cluster; a test says itself what it needs of them.
FOREIGN_VARIABLES = (
    "OCTOPI_", "COPICK_", "HYDRA_", "OPTUNA_", "MLFLOW_", "AWS_", "PG",
    "SLURM", "SRUN_", "SBATCH_", "SALLOC_", "SUBMITIT_", "OMPI_", "PMI_", "PL_", "TORCHELASTIC_",
    "MASTER_", "NODE_RANK", "LOCAL_RANK", "RANK", "WORLD_SIZE", "OMP_", "GOMP_",
)  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """The tests, and the processes they start, see nothing of the user's or the cluster's settings.

    Servers of the tests are on this machine: no proxy stands before them. A suite that a shell
    started in the background ignores Ctrl-C, and so would every process that it starts.
    Those write UTF-8, whatever the locale; the one of this process is left as it is. They compute
    on one thread: another would not survive a fork, which torch does not notice.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(FOREIGN_VARIABLES):
                patch.delenv(name)
        for name in ("NO_PROXY", "no_proxy"):
            patch.setenv(name, "127.0.0.1,localhost")
        patch.setenv("PYTHONUTF8", "1")
        patch.setenv("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)
        yield


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """What a test, or Lightning in it, sets in the environment is undone after it."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def tiny_phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config of a synthetic project of three runs; nobody writes into it."""
    return make_phantom(tmp_path_factory.mktemp("phantom") / "project", **PHANTOM)


@pytest.fixture
def here(tmp_path: Path, tiny_phantom: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a tiny project of its own, to which OCTOPI_PROJECT points."""
    enter_copy(tiny_phantom, tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture(scope="session")
def octopi_command() -> Command:
    """Runs a command in this process as its console script does; returns its exit code."""
    root = logging.getLogger()

    def run(verb: str, *words: str) -> int:
        before = root.handlers[:]
        with (
            pytest.MonkeyPatch.context() as patch,
            warnings.catch_warnings(),
            pytest.raises(SystemExit) as left,
        ):
            patch.setattr(sys, "argv", ["octopi", verb, *words])
            patch.setattr(sys.modules["__main__"], "__spec__", None)  # as of any script
            main()
        for handler in (h for h in root.handlers if h not in before):
            handler.close()
        root.handlers[:] = before
        return int(left.value.code or 0)

    return run


@pytest.fixture(scope="session")
def slurm_servers() -> Iterator[SlurmCluster]:
    """A SLURM of two nodes, on this machine."""
    if missing := missing_programs():
        pytest.skip(f"Debian's slurmctld, slurmd, slurm-client, munge: no {', '.join(missing)}")
    with tempfile.TemporaryDirectory(prefix="octopi-slurm-") as folder:
        cluster = SlurmCluster(Path(folder))
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture
def slurm(
    slurm_servers: SlurmCluster, here: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SlurmCluster]:
    """A SLURM whose jobs find octopi and the project of the test; they end with it."""
    for name, value in slurm_servers.environment.items():
        monkeypatch.setenv(name, value)
    paths = (Path(octopi.__file__).parents[1], Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, paths)))
    yield slurm_servers
    slurm_servers.cancel_all()


@pytest.fixture
def control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes the files of control groups, and makes them those of this process."""

    def write(files: dict[str, str], line: str = "0::/job") -> None:
        for name, text in files.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        (tmp_path / "groups_of_process").write_text(line + "\n", encoding="utf-8")
        monkeypatch.setattr(resources, "CGROUPS", tmp_path / "groups")
        monkeypatch.setattr(resources, "CGROUPS_OF_PROCESS", tmp_path / "groups_of_process")

    return write


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium without a window."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver_path = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver_path is None:
        pytest.skip("there is no chromium with chromedriver (apt-get install chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "window-size=1280,900",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[[Path], Any]]:
    """Open a page; a message in the browser's log is an error."""
    from selenium.webdriver.support.ui import WebDriverWait

    def go(page: Path) -> Any:
        browser.get(page.as_uri())
        ready = "return document.documentElement.dataset.ready"
        WebDriverWait(browser, 60).until(lambda b: b.execute_script(ready) == "yes")
        return browser

    browser.get_log("browser")
    yield go
    assert browser.get_log("browser") == []
