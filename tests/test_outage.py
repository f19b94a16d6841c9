"""A server that fails in the midst of a command: soon a clear end, and the rest when it answers."""

import json

import fsspec
import pytest
from faulty_s3 import FaultyS3
from tiny import RUNS, TINY

from octopi.project import storage

pytestmark = pytest.mark.slow
READS, WRITES = ("GET", "HEAD"), ("PUT", "POST", "DELETE")
SEGMENT = ["checkpoint=model/best_model.pth", "accelerator=cpu", "overwrite=true"]
COMMANDS = {
    "check": [],
    "create_targets": ["targets.session_id=2", "targets.picks=curation/0"],
    "train": [*TINY, *RUNS, "hydra.run.dir=job"],
    "plan": ["folder=planned", "overwrite=true"],
    "segment": SEGMENT,
    "localize": ["thresholds=0.2", "num_workers=1", "overwrite=true"],
    "evaluate": ["truth=curation/0"],
    "report": ["folder=model", "output=report.html"],
    "review": ["output=page.html"],
    "merge_picks": ["picks=[octopi/1,curation/0]", "user_id=merged"],
    "extract": ["membrane=membrane:curation/0"],
    "export": ["format=csv", "out=exported"],
}
WRITING = {  # what writes into the project, and with what there is something new to write
    "create_targets": ["targets.session_id=3"],
    "segment": [],
    "localize": [],
    "merge_picks": ["session_id=2"],
    "extract": [],
}


@pytest.fixture(scope="module")
def server(tiny_phantom, tmp_path_factory, octopi_command):
    """An S3 server with a project that has all that the commands need; its folder is here."""
    server, folder = FaultyS3(), tmp_path_factory.mktemp("s3")
    fs = fsspec.filesystem("s3", **server.access)
    fs.mkdir("outages")
    fs.put(str(tiny_phantom.parent / "static"), "outages/static", recursive=True)
    config = json.loads(tiny_phantom.read_text(encoding="utf-8"))
    for part in ("static", "overlay"):
        config |= {f"{part}_root": f"s3://outages/{part}", f"{part}_fs_args": server.access}
    (folder / "project.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("OCTOPI_PROJECT", str(folder / "project.json"))
        assert octopi_command("create_targets") == 0
        assert octopi_command("train", *TINY, *RUNS, "hydra.run.dir=model") == 0
        assert octopi_command("segment", *SEGMENT) == 0
        assert octopi_command("localize", "thresholds=0.3") == 0
        patch.setattr(storage, "RETRY_DELAYS", (0.01,))
        yield server
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    server.stop()


@pytest.mark.parametrize(
    ("verb", "methods", "part"),
    [
        *((verb, READS, "") for verb in COMMANDS),
        ("segment", WRITES, ""),  # of the folder that says who is at work
        *((verb, WRITES, "ExperimentRuns") for verb in WRITING),
    ],
)
def test_a_command_ends_with_4_and_says_what_is_kept_and_the_same_does_the_rest(
    server, octopi_command, capfd, verb, methods, part
):
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # a new process knows no listing
    server.methods, server.code = methods, ("SlowDown", "InternalError")[len(verb) % 2]
    server.part, server.number_left = part, 12 if methods == READS else 1
    words = [*COMMANDS[verb], *(WRITING[verb] if methods == WRITES else [])]
    try:
        code = octopi_command(verb, *words)
    finally:
        server.number_left = None
    error = capfd.readouterr().err.rpartition("octopi: ")[2]
    assert code == 4, error
    assert "What was finished is kept" in error
    assert len(error) <= 600
    assert octopi_command(verb, *words) == 0
