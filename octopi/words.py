"""Words of the command line that stand for more: resume, experiment=PATH, dry_run, -m."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import yaml

from octopi.errors import SettingError, did_you_mean

RESULTS = "optimization_results.yaml"
# Words that change how a sweep is run, not what it is.
LOOSE = (
    "-m",
    "--multirun",
    "hydra.sweeper.n_trials=",
    "hydra.sweeper.n_jobs=",
    "hydra/launcher=",
    "hydra.launcher.",
    "logger=",
    "logger.",
    "trainer.enable_progress_bar=",
    "dry_run=",
)
SEARCHPATH = "hydra.searchpath="


def expanded(arguments: list[str], *, verb: str) -> list[str]:
    """The command line in full."""
    words = found(repeated(resumed(arguments)))
    return rehearsed(with_sweep_folder(words, verb=verb), verb=verb)


def resumed(arguments: list[str]) -> list[str]:
    """`resume=FOLDER` stands for the words that job began with, in its folder; later words win."""
    given = _value(arguments, "resume")
    if given is None:
        return arguments
    folder = Path(given).absolute()
    words = words_of(folder)
    typed = [a for a in arguments if not a.startswith("resume=")]
    kept = _without(words, [*typed, "resume="])
    return [*kept, *typed, f"resume='{folder}'", f"hydra.run.dir='{folder}'"]


def repeated(arguments: list[str]) -> list[str]:
    """`experiment=FOLDER` stands for the words of the training in a folder; later words win.

    `experiment=SWEEP/best` is the best training of a search.
    """
    given = _value(arguments, "experiment")
    if given is None or "/" not in given or given.endswith(".yaml"):
        return arguments
    folder = Path(given).absolute()
    if folder.name == "best" and not folder.exists():
        folder = best_of(folder.parent)
    typed = [a for a in arguments if not a.startswith("experiment=")]
    own = ["resume=", "trial=", "dry_run=", "trainer.enable_progress_bar="]
    return [*_without(words_of(folder), [*typed, *own]), *typed]


def found(arguments: list[str]) -> list[str]:
    """`experiment=FOLDER/experiment/NAME.yaml` is the experiment NAME, looked for in FOLDER too."""
    given = _value(arguments, "experiment")
    if given is None or not given.endswith(".yaml"):
        return arguments
    path = Path(given).absolute()
    if not path.is_file():
        there = [str(p) for p in path.parent.glob("*.yaml")]
        raise SettingError(f"There is no experiment {given}.{did_you_mean(str(path), there)}")
    if path.parent.name != "experiment":
        raise SettingError(
            f"{given} must lie in a folder called experiment, as the files of a config group do. "
            f"Move it to {path.parent / 'experiment' / path.name}."
        )
    if any(a.startswith(SEARCHPATH) for a in arguments):
        raise SettingError(
            f"experiment={given} and {SEARCHPATH}… exclude each other: add "
            f"file://{path.parents[1]} to the search path and say experiment={path.stem}."
        )
    kept = [a for a in arguments if not a.startswith("experiment=")]
    return [*kept, f"experiment='{path.stem}'", f"{SEARCHPATH}['file://{path.parents[1]}']"]


def is_dry(arguments: Iterable[str]) -> bool:
    """Whether the command line asks only what would be done."""
    return (_value(arguments, "dry_run") or "").lower() == "true"


def rehearsed(arguments: list[str], *, verb: str) -> list[str]:
    """With `dry_run=true` Hydra makes no folder and no log file.

    The folder the job would have had takes the place of the sweep's, which a job without -m does
    not use; `octopi.job.hydra_job` finds it there.
    """
    if not is_dry(arguments):
        return arguments
    quiet = ["hydra.output_subdir=null", "hydra/job_logging=stdout"]
    if {"-m", "--multirun"} & set(arguments):
        if verb != "train":
            raise SettingError("dry_run=true tells of one job at a time: leave out -m.")
        return [*arguments, *quiet]
    folder = _value(arguments, "hydra.run.dir")
    kept = [a for a in arguments if not a.startswith(("hydra.run.dir=", "hydra.sweep.dir="))]
    return [*kept, *([f"hydra.sweep.dir='{folder}'"] if folder else []), "hydra.run.dir=.", *quiet]


def best_of(sweep: Path) -> Path:
    """The folder of a search's best training."""
    path = sweep / RESULTS
    if not path.is_file():
        raise SettingError(f"{sweep} is not the folder of a search: it has no {RESULTS}.")
    best = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("best")
    if not best:
        raise SettingError(f"The search in {sweep} has no best trial yet: none is complete.")
    return sweep / best["folder"]


def words_of(folder: Path) -> list[str]:
    """The words a job began with."""
    path = folder / ".hydra" / "overrides.yaml"
    if not path.is_file():
        raise SettingError(
            f"There is nothing to resume or repeat in {folder}: it is not the folder of a training."
        )
    return [
        *(yaml.safe_load(path.read_text(encoding="utf-8")) or []),
        *_searchpath(path.with_name("hydra.yaml")),
    ]


def with_sweep_folder(arguments: list[str], *, verb: str) -> list[str]:
    """A sweep has the same folder each time it is started, unless another is named."""
    if not {"-m", "--multirun"} & set(arguments) or _value(arguments, "hydra.sweep.dir"):
        return arguments
    words = sorted(a for a in arguments if not a.startswith(LOOSE))
    name = _value(arguments, "search") or "sweep"
    mark = hashlib.sha256("\n".join(words).encode()).hexdigest()[:6]
    return [*arguments, f"hydra.sweep.dir='outputs/{verb}/{name}-{mark}'"]


def _searchpath(path: Path) -> list[str]:
    """Where a job looked for configs, other than in octopi's own."""
    if not path.is_file():
        return []
    held = yaml.safe_load(path.read_text(encoding="utf-8"))["hydra"]["overrides"]["hydra"]
    return [word for word in held if word.startswith(SEARCHPATH)]


def _value(arguments: Iterable[str], key: str) -> str | None:
    given = [a.split("=", 1)[1] for a in arguments if a.startswith(f"{key}=")]
    return given[-1].strip("'\"") if given and given[-1] not in ("null", "") else None


def _without(words: Iterable[str], typed: Iterable[str]) -> list[str]:
    """The words but those whose setting is typed anew."""
    replaced = {word.lstrip("+~").split("=")[0] for word in typed}
    return [word for word in words if word.lstrip("+~").split("=")[0] not in replaced]
