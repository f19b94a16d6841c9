"""A command called from Python: arguments become the words of a command line, and it works here.

The published functions (`workflows`, `entry_points`, `pytorch`) translate with what is in this
file and do nothing else: what they do, the same words do in a shell.
"""

import contextlib
import dataclasses
import functools
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from octopi.config import build, settle
from octopi.errors import ResourceError, SettingError, did_you_mean
from octopi.help import choices
from octopi.job import (
    Job,
    Stopped,
    exit_code_of,
    with_hint,
    write_overrides,
)
from octopi.settings import ROOTS
from octopi.words import compose_config, override_text, to_builtin_types

if TYPE_CHECKING:
    from octopi.facts import Facts

logger = logging.getLogger(__name__)

Config = str | Path | Mapping[str, str | Path] | Sequence[str | Path]
Names = str | Sequence[str] | None
Triple = Sequence[Any]


def project_word(config: Config) -> str:
    """The setting that names the copick configs."""
    return override_text("project.config", config_paths(config))


def config_paths(config: Config) -> list[Path]:
    """The copick configs given: one path, a list of them, or {name: path}."""
    given = to_builtin_types(config.values() if isinstance(config, Mapping) else config)
    paths = given if isinstance(given, list) else [given]
    if not paths or not all(isinstance(path, str) for path in paths):
        raise SettingError(
            "config is the path of a copick config, or {name: path} for several, "
            f"not {config!r:.100}."
        )
    return [Path(path).expanduser().absolute() for path in paths]


def address(triple: Triple, argument: str) -> str:
    """`name:user/session`, as settings write what the published functions take as a triple."""
    parts = to_builtin_types(triple)
    fits = isinstance(parts, list) and all(isinstance(part, str | int) for part in parts)
    if not fits or len(parts) != 3:
        raise SettingError(
            f"{argument} is (name, user_id, session_id), as in ('ribosome', 'data-portal', '1'), "
            f"not {triple!r}."
        )
    name, user_id, session_id = parts
    return f"{name}:{user_id}/{session_id}"


def names(given: Names) -> list[str] | None:
    """The names as a list; None stays None: all there are."""
    return [given] if isinstance(given, str) else to_builtin_types(given)


def choice(group: str, name: str, argument: str) -> str:
    """The file of a config group that a name stands for: `UNet` and `swin-unetr` are as good."""
    known = {_bare(held): held for held in choices(group)}
    if not isinstance(name, str) or _bare(name) not in known:
        hint = did_you_mean(str(name).lower(), known.values())
        raise SettingError(
            f"There is no {argument} {name!r}.{hint} Choices: {', '.join(known.values())}."
        )
    return known[_bare(name)]


def _bare(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def compose(verb: str, words: Sequence[str]) -> tuple[Any, Path]:
    """Compose the settings of a command; return them and its folder unless told otherwise."""
    from hydra.errors import HydraException  # noqa: PLC0415  slow to import
    from omegaconf import open_dict  # noqa: PLC0415

    try:
        cfg = compose_config(verb, words)
    except HydraException as error:
        raise SettingError(with_hint(f"{error}\n{error.__cause__ or ''}")) from error
    folder = Path(cfg.hydra.run.dir)
    with open_dict(cfg):
        del cfg["hydra"]
    return settle(cfg, ROOTS[verb], overrides=words), folder


def work(verb: str, do: Callable[..., Any], settings: Any, job: Job, **given: Any) -> Any:
    """Run a command in a folder: keep its overrides and its log there, return its result.

    Args:
        verb: the command's name.
        do: the command.
        settings: of the command.
        job: where it works; a training opens the folder itself, the others find it open.
        given: more for the command.
    """
    with contextlib.ExitStack() as stack, warnings.catch_warnings():
        job = dataclasses.replace(
            job, open_folder=functools.partial(_open_folder, stack, job, f"{verb}.log")
        )
        if verb != "train":
            job.open_folder()
        try:
            return do(settings, job, **given)
        except Stopped as stopped:
            raise KeyboardInterrupt(str(stopped)) from stopped
        except (OSError, MemoryError, RuntimeError) as error:
            if exit_code_of(error) != ResourceError.exit_code or isinstance(error, ResourceError):
                raise
            raise ResourceError(f"{job.folder}: {error}") from error


def _open_folder(stack: contextlib.ExitStack, job: Job, log: str) -> None:
    """Make the folder of a job, keep its overrides there, and log into it from now on."""
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
        write_overrides(job.folder / ".hydra", job.words)
        stack.enter_context(_logged(job.folder / log))
    except OSError as error:
        raise ResourceError(f"{job.folder} cannot be written: {error.strerror}.") from error


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Log to the file, and to the screen unless the program configured logging itself."""
    ours, before = logging.getLogger("octopi"), logging.getLogger("octopi").level
    handlers: list[logging.Handler] = [logging.FileHandler(path, encoding="utf-8")]
    if not ours.hasHandlers():
        handlers.append(logging.StreamHandler())
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        ours.addHandler(handler)
    ours.setLevel(min(ours.getEffectiveLevel(), logging.INFO))
    try:
        yield
    finally:
        ours.setLevel(before)
        for handler in handlers:
            ours.removeHandler(handler)
            handler.close()


def call(verb: str, do: Callable[..., Any], words: list[str], folder: str | Path | None) -> Any:
    """What the command returns, and the folder it worked in: its own unless one is given."""
    settings, own = compose(verb, words)
    job = Job(Path(folder or own).absolute(), words)
    return work(verb, do, settings, job), job.folder


def training_words(
    config: Config, target: Triple, *, tomo_algorithm: Names, voxel_size: Any, best_metric: str
) -> list[str]:
    """What a training and a search are told of their data."""
    return [
        project_word(config),
        override_text("target", address(target, "target_info")),
        override_text("tomo_types", names(tomo_algorithm)),
        override_text("voxel_spacing", voxel_size),
        override_text("best_metric", best_metric),
    ]


def runs_words(train: Names, validation: Names, *, facts: "Facts") -> list[str]:
    """Which runs train and validate: of those not named all serve what nobody is named for."""
    train, validation = names(train), names(validation)
    if train is not None and validation is None:
        validation = [run.name for run in facts.runs if run.name not in train]
    given = {"data.train_runs": train, "data.validation_runs": validation}
    return [override_text(key, value) for key, value in given.items() if value is not None]


def facts_of(settings: Any, num_classes: int | None) -> "Facts":
    """What the project says of the target; a number of classes that is not its own is told."""
    from octopi.facts import gather_facts  # noqa: PLC0415  copick is slow to import

    facts = gather_facts(build(settings.project, "project"), settings)
    held = len(facts.labels) + 1
    if num_classes not in (None, held):
        logger.warning(
            "%s classes were asked for, but the target %s has %d with the background: the network "
            "has %d (%s).",
            num_classes,
            settings.target,
            held,
            held,
            ", ".join(facts.labels),
        )
    return facts
