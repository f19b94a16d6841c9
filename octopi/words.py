"""Words of the command line that stand for more than themselves: resume, experiment=FOLDER, -m."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import yaml

from octopi.errors import SettingError

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
)


def expanded(arguments: list[str], *, verb: str) -> list[str]:
    """The command line in full."""
    return with_sweep_folder(repeated(resumed(arguments)), verb=verb)


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
    if given is None or "/" not in given:
        return arguments
    folder = Path(given).absolute()
    if folder.name == "best" and not folder.exists():
        folder = best_of(folder.parent)
    typed = [a for a in arguments if not a.startswith("experiment=")]
    own = ["resume=", "trial=", "trainer.enable_progress_bar="]
    return [*_without(words_of(folder), [*typed, *own]), *typed]


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
    return yaml.safe_load(path.read_text(encoding="utf-8")) or []


def with_sweep_folder(arguments: list[str], *, verb: str) -> list[str]:
    """A sweep has the same folder each time it is started, unless another is named."""
    if not {"-m", "--multirun"} & set(arguments) or _value(arguments, "hydra.sweep.dir"):
        return arguments
    words = sorted(a for a in arguments if not a.startswith(LOOSE))
    name = _value(arguments, "search") or "sweep"
    mark = hashlib.sha256("\n".join(words).encode()).hexdigest()[:6]
    return [*arguments, f"hydra.sweep.dir='outputs/{verb}/{name}-{mark}'"]


def _value(arguments: Iterable[str], key: str) -> str | None:
    given = [a.split("=", 1)[1] for a in arguments if a.startswith(f"{key}=")]
    return given[-1].strip("'\"") if given and given[-1] not in ("null", "") else None


def _without(words: Iterable[str], typed: Iterable[str]) -> list[str]:
    """The words but those whose setting is typed anew."""
    replaced = {word.lstrip("+~").split("=")[0] for word in typed}
    return [word for word in words if word.lstrip("+~").split("=")[0] not in replaced]
