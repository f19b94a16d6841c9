"""On an object store each command lists a run a few times, whatever it does there."""

import collections
import json
import logging
import re
import uuid
from pathlib import Path

import pytest
from checkpoints import make_info, save_checkpoint
from scored_project import copy_project, read_truth, write_scores
from tiny import TINY

from octopi.project import open_project

MAX_LISTINGS = 5  # of a run in the overlay, for one command


class Requests(logging.Handler):
    """Counts the listings that a server was asked for, by run."""

    def __init__(self):
        super().__init__()
        self.start()

    def start(self):
        self.lists, self.texts = collections.Counter(), []

    def emit(self, record):
        text = record.getMessage()
        if "list-type=2" in text:
            run = re.search(r"ExperimentRuns(?:/|%2F)(TS_\d+)", text)
            self.lists[run[1] if run else "other"] += 1
            self.texts.append(re.search(r"prefix=([^&]*)", text)[1])


@pytest.fixture
def requests():
    """What the S3 server is asked from now on."""
    handler, log = Requests(), logging.getLogger("werkzeug")
    log.addHandler(handler)
    level = log.level
    log.setLevel(logging.INFO)
    yield handler
    log.setLevel(level)
    log.removeHandler(handler)


@pytest.fixture
def on_s3(s3, tiny_phantom, tmp_path, monkeypatch):
    """A project of three runs whose overlay is on S3; the working folder is its own."""
    root, access = s3
    config = copy_project(tiny_phantom, tmp_path)
    content = json.loads(config.read_text(encoding="utf-8"))
    changes = {"overlay_root": f"{root}/{uuid.uuid4().hex}", "overlay_fs_args": access}
    config.write_text(json.dumps(content | changes), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OCTOPI_PROJECT", str(config))
    return config


# In this order: each finds what those before it wrote, which is the most to be listed.
SEGMENT = (
    "segment checkpoint=small.pth accelerator=cpu segmentation=true predictor=default "
    "predictor.window_size=null"
)
COMMANDS = [
    SEGMENT,
    f"{SEGMENT} overwrite=true",
    "create_targets",
    "create_targets",
    "create_targets overwrite=true",
    "localize input=scored:octopi/1",
    "localize input=scored:octopi/1",
    "evaluate",
    "extract membrane=membrane:curation/0",
    "merge_picks picks=[octopi/1,curation/0] user_id=merged",
    "export format=csv out=exported",
    "check",
    "report input=scored:octopi/1 truth=curation/0 output=report.html",
    f"train dry_run=true {' '.join(TINY)}",
]


@pytest.mark.slow
def test_each_command_lists_a_run_a_few_times(on_s3, requests, octopi_command, capfd):
    save_checkpoint(Path("small.pth"), make_info(voxel_spacing=20.0))
    for seed, run in enumerate(open_project(on_s3).runs):
        write_scores(run, sorted(read_truth(run)), seed=seed, name="scored-octopi-1")
    for command in COMMANDS:
        requests.start()
        assert octopi_command(*command.split()) == 0, (command, capfd.readouterr().err)
        most = max(number for run, number in requests.lists.items() if run != "other")
        assert most <= MAX_LISTINGS, (command, requests.texts)
        # the list of runs, and what is at work; not for each run
        assert requests.lists["other"] <= 8, (command, requests.texts)
