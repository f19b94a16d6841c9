"""The cache is filled while the libraries of a training are imported."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import TINY

from octopi import head_start
from octopi.call import compose

RUNS = ["data.train_runs=[TS_01,TS_02]", "data.validation_runs=[TS_03]"]
# What `octopi train` does until all libraries are there, and who worked meanwhile.
PROGRAM = """
import multiprocessing, sys
from hydra import compose, initialize_config_dir
from octopi import head_start
from octopi.config import CONF_DIR, settle
from octopi.settings import TrainSettings
assert "torch" not in sys.modules
with initialize_config_dir(str(CONF_DIR), version_base=None):
    cfg = compose("train", overrides=sys.argv[1:])
settle(cfg, TrainSettings, overrides=sys.argv[1:], meanwhile=head_start.fill_cache)
assert "pytorch_lightning" in sys.modules
for child in multiprocessing.active_children():
    child.join()
"""


@pytest.fixture
def targets(here, octopi_command):
    assert octopi_command("create_targets") == 0
    return here


def _start(*words: str, **environment: str) -> None:
    command = [sys.executable, "-c", PROGRAM, *words]
    subprocess.run(command, env=os.environ | environment, check=True)


def _made(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.npy")}


def test_all_that_the_training_needs_is_cached_before_it_asks(targets, octopi_command):
    _start(*TINY, *RUNS, "data.cache_dir=early")
    early = _made(targets / "early")
    assert octopi_command("train", *TINY, *RUNS, "data.cache_dir=late") == 0
    assert early == _made(targets / "late")
    assert len(early) == 3 * 3  # tomogram, target and where its labels are, of each run


@pytest.mark.parametrize(
    ("words", "environment"),
    [(["dry_run=true"], {}), ([], {"LOCAL_RANK": "1"})],
    ids=["dry run", "another rank"],
)
def test_nothing_is_cached_where_that_is_not_wanted(targets, words, environment):
    _start(*TINY, *RUNS, "data.cache_dir=early", *words, **environment)
    assert not (targets / "early").exists()


def test_no_process_is_forked_once_torch_is_there(targets):
    settings, _ = compose("train", [*TINY, *RUNS])
    head_start.fill_cache(settings)
    assert not multiprocessing.active_children()
    assert not (targets / "outputs" / "cache").exists()


def test_damage_is_told_once_and_by_the_training(targets):
    chunk = next(path for path in targets.rglob("TS_02/**/*.zarr/0/0/0/0") if path.is_file())
    chunk.write_bytes(b"not a chunk")
    command = [sys.executable, "-m", "octopi.train", *TINY, *RUNS]
    done = subprocess.run(command, check=False, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 3
    assert done.stderr.count("octopi: ") == 1
    assert "TS_02" in done.stderr
    assert "Traceback" not in done.stderr
