"""Commands that are killed, what they work on, and what their results are."""

import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import torch
import yaml
from scored_project import decide
from sweeping import run_sweep
from tiny import RUNS, TINY

from octopi.sweeps.study import open_study

Results = dict[str, str]
MODEL = ["checkpoint=model/best_model.pth", "accelerator=cpu", "overwrite=true"]
SEARCH = [
    "-m", *TINY, *RUNS, "trainer.max_epochs=1", "hydra/sweeper/sampler=grid",
    "hydra.sweeper.n_trials=2",
    "+hydra.sweeper.params={optim.optimizer.lr: 'choice(1e-3,1e-2)'}",
]  # fmt: skip
FOLDS = [*TINY, "num_folds=3", "data.train_runs=null", "data.validation_runs=null"]
DEMO = {"num_runs": 1, "shape": "[24,48,48]", "num_particles": 2, "voxel_spacing": 20}


def make_inputs(folder: Path, octopi_command: Callable[..., int]) -> None:
    """Write into a project what the commands need: targets, a model, its results, a search."""
    assert octopi_command("create_targets") == 0
    assert octopi_command("train", *TINY, *RUNS, "hydra.run.dir=model") == 0
    assert octopi_command("segment", *MODEL) == 0
    assert octopi_command("localize", "thresholds=0.3") == 0
    run_sweep(*SEARCH[1 + len(TINY) + len(RUNS) :], "hydra.sweep.dir=finished", log=folder / "log")
    (folder / "log").unlink()
    assert octopi_command("review", "output=page.html") == 0
    decide(folder / "page.html", {0: "accept", 1: "reject", 2: "accept", 3: "reject"})
    (folder / "mrcs").mkdir()
    for number in (1, 2):
        with mrcfile.new(folder / "mrcs" / f"lam_{number}.mrc") as file:
            file.set_data(np.random.default_rng(number).normal(size=(8, 16, 16)).astype("f4"))
            file.voxel_size = 8.0


def overlay(folder: Path) -> Results:
    """Return digests of what is in the project, a volume as one."""
    return digest_files(folder / "overlay")


def digest_files(folder: Path) -> Results:
    """Return a digest of each file or volume in a folder, without hidden ones."""
    contents: dict[str, list[bytes]] = {}
    for path in visible_files(folder):
        names = path.relative_to(folder).parts
        depth = next((i for i, name in enumerate(names, 1) if name.endswith(".zarr")), len(names))
        content = b"/".join([*map(str.encode, names[depth:]), digest(path.read_bytes()).encode()])
        contents.setdefault("/".join(names[:depth]), []).append(content)
    return {name: digest(b"\n".join(parts)) for name, parts in contents.items()}


def visible_files(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder that readers list, sorted."""
    for path in sorted(folder.rglob("*")):
        hidden = [n for n in path.relative_to(folder).parts if n.startswith((".octopi", ".lock"))]
        if path.is_file() and not hidden:
            yield path


def report_page(folder: Path) -> Results:
    """Return a digest of a report, without the time at which it was written."""
    text = (folder / "page/report.html").read_text(encoding="utf-8")
    return {"report": digest(re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "", text).encode())}


def digest(content: bytes) -> str:
    """Return a digest of some bytes."""
    return hashlib.sha256(content).hexdigest()


def training(name: str) -> Callable[[Path], Results]:
    """Return what reads the weights of a training or of all folds."""

    def read(folder: Path) -> Results:
        best = torch.load(folder / name / "best_model.pth", weights_only=True)["weights"]
        values = {f"best.{key}": value for key, value in best.items()}
        for path in sorted((folder / name).rglob("last.ckpt")):
            state = torch.load(path, weights_only=True)["state_dict"]
            values |= {f"{path}.{key}": value for key, value in state.items()}
        return {key: digest(value.numpy().tobytes()) for key, value in values.items()}

    return read


def search(folder: Path) -> Results:
    """Return the values of a search's trials, by their parameters."""
    trials = open_study(folder / "sweep").get_trials()
    results = yaml.safe_load(
        (folder / "sweep/optimization_results.yaml").read_text(encoding="utf-8")
    )
    done = {str(t.params): str(t.values) for t in trials if t.state.name == "COMPLETE"}
    return {**done, "best": str(results["best"]["values"])}


def files_in(name: str, *, same: bool = True) -> Callable[[Path], Results]:
    """Return what digests the files of a folder, or, where they hold times, lists them."""

    def read(folder: Path) -> Results:
        found = digest_files(folder / name)
        return found if same else dict.fromkeys(found, "whole")

    return read


@dataclass(frozen=True)
class KilledCommand:
    """A command that is killed.

    Args:
        verb: of the command.
        overrides: its command line.
        results: reads what it is for, which must not depend on whether it was killed.
        resume: what its command line is where a killed one has left a checkpoint.
        num_workers: how many do the same at once; the first is killed.
    """

    verb: str
    overrides: list[str]
    results: Callable[[Path], Results] = overlay
    resume: str | None = None
    num_workers: int = 1


COMMANDS = {
    "create_targets": KilledCommand("create_targets", ["targets.session_id=2"]),
    "create_targets, overwriting": KilledCommand(
        "create_targets", ["targets.radius_scale=0.8", "overwrite=true"]
    ),
    "create_targets of project=demo": KilledCommand(
        "create_targets",
        ["project=demo", "project.config.directory=demo"]
        + [f"project.config.{key}={value}" for key, value in DEMO.items()],
        files_in("demo"),
    ),
    "train": KilledCommand(
        "train",
        [*TINY, *RUNS, "trainer.max_epochs=2", "hydra.run.dir=job"],
        training("job"),
        "job",
    ),
    "train, all folds": KilledCommand(
        "train", [*FOLDS, "hydra.run.dir=folds"], training("folds"), "folds"
    ),
    "train, search": KilledCommand("train", [*SEARCH, "hydra.sweep.dir=sweep"], search),
    "train, search with two workers": KilledCommand(
        "train",
        [*SEARCH, "hydra.sweep.dir=sweep", "hydra.sweeper.n_jobs=1"],
        search,
        num_workers=2,
    ),
    "summarize": KilledCommand("summarize", ["folder=finished"], files_in("finished", same=False)),
    "segment, overwriting": KilledCommand("segment", [*MODEL, "segmentation=true"]),
    "segment, two processes": KilledCommand("segment", [*MODEL, "devices=2"]),
    "localize, overwriting": KilledCommand(
        "localize", ["thresholds=0.2", "overwrite=true", "num_workers=1"]
    ),
    "localize, two processes": KilledCommand(
        "localize", ["thresholds=0.2", "session_id=2", "num_workers=2"]
    ),
    "evaluate": KilledCommand(
        "evaluate", ["truth=curation/0", "hydra.run.dir=scores"], files_in("scores", same=False)
    ),
    "merge_picks": KilledCommand(
        "merge_picks", ["picks=[octopi/1,curation/0]", "user_id=merged", "session_id=5"]
    ),
    "extract": KilledCommand("extract", ["membrane=membrane:curation/0", "pairs=[10,400]"]),
    "import_tomograms": KilledCommand("import_tomograms", ["folder=mrcs", "tomo_type=raw"]),
    "export": KilledCommand("export", ["format=relion5", "out=exported"], files_in("exported")),
    "report": KilledCommand("report", ["folder=model", "output=page/report.html"], report_page),
    "review": KilledCommand("review", ["output=looked/page.html"], files_in("looked")),
    "review, applying": KilledCommand("review", ["decisions=decisions.json"]),
    "plan": KilledCommand(
        "plan",
        ["folder=planned", "overwrite=true", "model.channels=[4,8]", "model.strides=[2]"],
        files_in("planned", same=False),
    ),
}


def torn_files(folder: Path) -> list[str]:
    """Return the files in a folder that readers list and that cannot be read."""
    torn = []
    for path in visible_files(folder):
        check = CHECKS.get(path.suffix)
        try:
            if check is not None:
                check(path)
        except Exception as error:  # noqa: BLE001  however a torn file is found
            torn.append(f"{path}: {error!r}")
    return torn


def _check_end(ending: bytes) -> Callable[[Path], None]:
    def check(path: Path) -> None:
        assert path.read_bytes().rstrip().endswith(ending)

    return check


CHECKS: dict[str, Callable[[Path], object]] = {
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".yaml": lambda path: yaml.safe_load(path.read_text(encoding="utf-8")),
    ".pth": lambda path: torch.load(path, weights_only=True),
    ".ckpt": lambda path: torch.load(path, weights_only=True),
    ".npz": lambda path: np.load(path).files,
    ".html": _check_end(b"</html>"),
    ".png": _check_end(zlib.crc32(b"IEND").to_bytes(4, "big")),
}
