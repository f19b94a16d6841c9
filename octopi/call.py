"""A command called from Python: arguments become the words of a command line, and it works here.

The published functions (`workflows`, `entry_points`, `pytorch`) translate with what is in this
file and do nothing else: what they do, the same words do in a shell.
"""

import contextlib
import enum
import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from octopi.config import build, settle
from octopi.errors import ResourceError, SettingError, did_you_mean
from octopi.help import CONF_DIR, choices
from octopi.job import Job, Stopped, exit_code_of, with_hint
from octopi.settings import ROOTS

if TYPE_CHECKING:
    from octopi.facts import Facts

logger = logging.getLogger(__name__)

Config = str | Path | Mapping[str, str | Path] | Sequence[str | Path]
Names = str | Sequence[str] | None
Triple = Sequence[Any]


def word(key: str, value: Any) -> str:
    """The override that gives a setting this value, whatever signs the value is made of."""
    return f"{key}={literal(value, key)}"


def literal(value: Any, key: str) -> str:
    """The value as Hydra reads it back."""
    from hydra.core.override_parser.types import Quote, QuotedString  # noqa: PLC0415  slow

    value = plain(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        escaped = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)  # text, not an interpolation
        return QuotedString(escaped, Quote.single).with_quotes()
    if isinstance(value, list):
        return f"[{','.join(literal(item, key) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{k}:{literal(v, key)}' for k, v in value.items())}}}"
    raise SettingError(f"{key} cannot be {value!r}: settings are numbers, text, lists of them.")


def plain(value: Any) -> Any:
    """The value as YAML knows it, where it can be said so; otherwise the value itself."""
    if hasattr(value, "tolist"):  # numpy's and torch's
        value = value.tolist()
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    return value


def project_word(config: Config) -> str:
    """The setting that names the copick configs."""
    return word("project.config", config_paths(config))


def config_paths(config: Config) -> list[Path]:
    """The copick configs given: one path, a list of them, or {name: path}."""
    given = plain(config.values() if isinstance(config, Mapping) else config)
    paths = given if isinstance(given, list) else [given]
    if not paths or not all(isinstance(path, str) for path in paths):
        raise SettingError(
            "config is the path of a copick config, or {name: path} for several, "
            f"not {config!r:.100}."
        )
    return [Path(path).expanduser().absolute() for path in paths]


def address(triple: Triple, argument: str) -> str:
    """`name:user/session`, as settings write what the published functions take as a triple."""
    parts = plain(triple)
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
    return [given] if isinstance(given, str) else plain(given)


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
    """The settings of a command, and the folder it works in unless told otherwise."""
    from hydra import compose as hydra_compose  # noqa: PLC0415  slow to import
    from hydra.errors import HydraException  # noqa: PLC0415
    from omegaconf import open_dict  # noqa: PLC0415

    try:
        with _hydra(verb):
            cfg = hydra_compose(verb, overrides=list(words), return_hydra_config=True)
    except HydraException as error:
        raise SettingError(with_hint(f"{error}\n{error.__cause__ or ''}")) from error
    folder = Path(cfg.hydra.run.dir)
    with open_dict(cfg):
        del cfg["hydra"]
    return settle(cfg, ROOTS[verb], overrides=words), folder


@contextlib.contextmanager
def _hydra(verb: str) -> Iterator[None]:
    """Hydra reads our config; what else it is doing in this process goes on afterwards."""
    from hydra import initialize_config_dir  # noqa: PLC0415
    from hydra.core.global_hydra import GlobalHydra  # noqa: PLC0415
    from hydra.core.utils import JobRuntime  # noqa: PLC0415

    held, runtime = GlobalHydra.instance(), JobRuntime.instance()
    busy, job_name = held.hydra, runtime.get("name")
    held.clear()
    try:
        with initialize_config_dir(str(CONF_DIR), job_name=verb):
            yield
    finally:
        held.hydra = busy
        GlobalHydra.set_instance(held)
        runtime.set("name", job_name)


def work(verb: str, do: Callable[..., Any], settings: Any, job: Job, **given: Any) -> Any:
    """What the command returns; its words and its log are in the job's folder, which is made.

    Args:
        verb: the command's name.
        do: the command.
        settings: of the command.
        job: where it works.
        given: more for the command.
    """
    try:
        words = job.folder / ".hydra" / "overrides.yaml"  # where resume=FOLDER looks for them
        words.parent.mkdir(parents=True, exist_ok=True)
        words.write_text(yaml.safe_dump(job.words), encoding="utf-8")
    except OSError as error:
        raise ResourceError(f"{job.folder} cannot be written: {error.strerror}.") from error
    try:
        with _logged(job.folder / f"{verb}.log"), warnings.catch_warnings():
            return do(settings, job, **given)
    except Stopped as stopped:
        raise KeyboardInterrupt(str(stopped)) from stopped
    except (OSError, MemoryError, RuntimeError) as error:
        if exit_code_of(error) != ResourceError.exit_code or isinstance(error, ResourceError):
            raise
        raise ResourceError(f"{job.folder}: {error}") from error


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """What octopi says goes to the file, and to the screen unless the program logs by itself."""
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
        word("target", address(target, "target_info")),
        word("tomo_types", names(tomo_algorithm)),
        word("voxel_spacing", voxel_size),
        word("best_metric", best_metric),
    ]


def runs_words(train: Names, validation: Names, *, facts: "Facts") -> list[str]:
    """Which runs train and validate: of those not named all serve what nobody is named for."""
    train, validation = names(train), names(validation)
    if train is not None and validation is None:
        validation = [run.name for run in facts.runs if run.name not in train]
    given = {"data.train_runs": train, "data.validation_runs": validation}
    return [word(key, value) for key, value in given.items() if value is not None]


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
