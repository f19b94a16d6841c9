"""The methods of a comparison: overrides to train with, or folders of finished trainings."""

import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from octopi.cli.compose import config_search_arguments
from octopi.cli.overrides import expand_overrides
from octopi.cli.python_api import compose
from octopi.cli.typed_text import quote_texts
from octopi.config.check import without_null_groups
from octopi.config.overrides import override_key, override_text, replace_overrides
from octopi.config.settings import CompareSettings, TrainSettings
from octopi.errors import SettingError, SweepError, shorten, shorten_list
from octopi.processes.local import LocalRunner
from octopi.processes.tasks import TrainingTask, run_unfinished
from octopi.project import Project
from octopi.ranges import LARGEST
from octopi.system import ranks
from octopi.system.files import differing_values, to_builtin_types
from octopi.system.job_folder import (
    OUTPUT_FILE,
    Job,
    changed_settings,
    read_outcome,
    read_training_config,
)
from octopi.training.dataset_info import DatasetInfo, read_dataset_info
from octopi.training.dry_run import describe_training
from octopi.training.run import build_training

MODULE = "octopi.train"
BASE = "base"
MAX_FOLDER_NAME = 80  # characters
# What the comparison itself decides for every training.
DECIDED = {"seed", "fold", "resume", "dry_run", "max_cpu_seconds", "trainer.max_time"}


@dataclass(frozen=True)
class SeedTraining:
    """A training of a method: a cross-validation with one seed.

    Args:
        folder: of the training.
        seed: of its folds, crops and first weights.
        overrides: of its command line; empty where it must be finished already.
        settings: of the training.
    """

    folder: Path
    seed: int
    overrides: list[str]
    settings: TrainSettings

    @property
    def is_finished(self) -> bool:
        """Whether it has ended."""
        return read_outcome(self.folder) is not None


@dataclass(frozen=True)
class Method:
    """One of the methods that are compared.

    Args:
        name: as it was typed.
        trainings: one for each seed, in the order of the seeds.
    """

    name: str
    trainings: list[SeedTraining]

    @property
    def seeds(self) -> list[int]:
        """The seeds of the trainings, sorted."""
        return [training.seed for training in self.trainings]


def read_methods(
    settings: CompareSettings, project_overrides: Sequence[str], folder: Path
) -> list[Method]:
    """Read the base and the methods, in this order; check the settings of each training.

    Args:
        settings: of the comparison.
        project_overrides: that name the project, for every training.
        folder: of the comparison, in which new trainings have theirs.

    Raises:
        SettingError: a method is neither overrides nor folders of finished trainings, or cannot be
            compared with the base.
    """
    texts = [BASE, *settings.methods]
    roles = [BASE, *["methods"] * len(settings.methods)]
    base, *others = map(_split, [settings.base or "", *settings.methods], roles)
    is_new = _is_overrides(base)
    if any(parts and _is_overrides(parts) is not is_new for parts in others):
        raise SettingError(
            "base and methods are either all overrides, as in base=experiment=czii "
            "methods=[loss=dice], or all folders of finished trainings."
        )
    names = list(map(_folder_name, texts))
    if is_new and len(set(names)) < len(names):
        raise SettingError(f"Two methods would share a folder: {shorten_list(names)}.")
    base_overrides = [*project_overrides, *_expand(base)] if is_new else []
    methods: list[Method] = []
    for text, name, parts in zip(texts, names, [base, *others], strict=True):
        if is_new:
            overrides = replace_overrides(base_overrides, *_expand(parts))
            trainings = [
                _new_training(folder / name / f"seed_{seed}", overrides, seed, settings)
                for seed in settings.seeds
            ]
        else:
            trainings = [
                _finished_training(Path(part), project_overrides, settings) for part in parts
            ]
        methods.append(Method(text, sorted(trainings, key=lambda training: training.seed)))
        _check_pairing(methods[-1], methods[0])
    return methods


def _split(text: str, role: str) -> list[str]:
    """Split a method into its overrides or folders, as a shell does."""
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise SettingError(f"{role}: {shorten(text)} cannot be read: {error}.") from error
    if flags := [part for part in parts if part.startswith("-")]:
        raise SettingError(f"{role}: {flags[0]} is no setting; settings have no dashes.")
    for key in map(override_key, parts):
        if key in DECIDED or key.split(".")[0] in ("project", "hydra"):
            raise SettingError(
                f"{role}: {key} is the same for all methods. Set it beside them, as project=…, "
                "seeds=[1,2], cpu_seconds=… or hydra.run.dir=…"
            )
    if parts and 0 < sum(_is_override(part) for part in parts) < len(parts):
        raise SettingError(
            f"{role}: {shorten(text)} names settings and a folder. A method is either overrides, "
            "with a blank between two of them, or folders of finished trainings."
        )
    return parts


def _is_override(part: str) -> bool:
    return part.startswith("~") or ("=" in part and not Path(part).exists())


def _is_overrides(parts: Sequence[str]) -> bool:
    """Return whether a method is to be trained; an empty one is the default training."""
    return all(map(_is_override, parts))


def _expand(overrides: Sequence[str]) -> list[str]:
    """Expand the short forms of overrides, as `octopi train` does."""
    return expand_overrides(without_null_groups(overrides, "train"), verb="train")


def _folder_name(text: str) -> str:
    """Return a folder's name like the text: `loss-dice`."""
    name = re.sub(r"[^A-Za-z0-9_.,+-]+", "-", text).strip("-.")
    if 0 < len(name) <= MAX_FOLDER_NAME:
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]
    return f"{name[: MAX_FOLDER_NAME - 7]}-{digest}"


def _new_training(
    folder: Path, overrides: Sequence[str], seed: int, settings: CompareSettings
) -> SeedTraining:
    """Return a training of this comparison, finished or not, with checked settings."""
    decided = [override_text("seed", seed)]
    if settings.cpu_seconds is not None:  # which alone are the budget
        decided.append(override_text("max_cpu_seconds", settings.cpu_seconds))
        decided.append(override_text("trainer.max_epochs", LARGEST))
    if settings.num_folds is not None and "num_folds" not in map(override_key, overrides):
        decided.append(override_text("num_folds", settings.num_folds))
    command_line = quote_texts(replace_overrides(overrides, *decided), "train", multirun=False)
    training = SeedTraining(folder, seed, command_line, compose("train", command_line)[0])
    if training.is_finished:
        _check_same_settings(training)
    return training


def _check_same_settings(training: SeedTraining) -> None:
    """Raise SettingError where a finished training was another one."""
    before = read_training_config(training.folder)
    now = to_builtin_types(vars(training.settings))
    if changed := changed_settings(before, now, may_change={"logger"}):
        raise SettingError(
            f"{training.folder} holds a training with other settings: {shorten_list(changed)}. "
            "Compare in another folder with hydra.run.dir=…"
        )


def _finished_training(
    folder: Path, project_overrides: Sequence[str], settings: CompareSettings
) -> SeedTraining:
    """Return a training that somebody finished, with its settings."""
    if read_outcome(folder) is None:
        what = "not the folder of a finished training" if folder.is_dir() else "no folder"
        raise SettingError(
            f"{folder} is {what}, and no override either. Type overrides as SETTING=VALUE, or name "
            "the folder of a cross-validation (num_folds=…) that has ended."
        )
    overrides = [
        override_text("experiment", folder.absolute()),
        override_text("trust", settings.trust),
        *project_overrides,
    ]
    stored = compose("train", _expand(overrides))[0]
    return SeedTraining(folder, stored.seed, [], stored)


def _check_pairing(method: Method, base: Method) -> None:
    """Raise SettingError unless a method is scored out of fold, with the seeds of the base."""
    for training in method.trainings:
        if not training.settings.trains_all_folds:
            raise SettingError(
                f"{method.name}: it trains no folds, so no run is scored by a network that has "
                "not seen it. Set num_folds=2 or more."
            )
    if method.seeds != base.seeds:
        raise SettingError(
            f"The seeds of {shorten(method.name)} are {method.seeds}, those of the base "
            f"{base.seeds}. Only trainings with the same seeds are paired."
        )


def read_info(methods: Sequence[Method], project: Project) -> DatasetInfo:
    """Read the base's dataset; check that all methods are scored on its runs and particles.

    Args:
        methods: the base first.
        project: of all trainings.

    Raises:
        SettingError: a method is scored on others than the base, which comes first.
    """
    infos = [read_dataset_info(project, method.trainings[0].settings) for method in methods]
    for method, info in zip(methods, infos, strict=True):
        if differing := differing_values(_scored_content(infos[0]), _scored_content(info)):
            raise SettingError(
                f"{shorten(method.name)} is scored otherwise than the base: "
                f"{shorten_list(differing)} differ. Compare on the same runs and particles."
            )
    return infos[0]


def _scored_content(info: DatasetInfo) -> dict[str, object]:
    """Return what scores depend on beside the candidates."""
    return {
        "runs": sorted(run.name for run in info.runs),
        "radii": info.radii,
        "weights": info.weights,
        "picks": info.content()["picks"],
    }


def check_trainings(methods: Sequence[Method]) -> None:
    """Check what each method trains, as its dry run does; write nothing.

    Raises:
        OctopiError: a method that cannot be trained.
    """
    for method in methods:
        missing = [training for training in method.trainings if not training.is_finished]
        if missing:
            folder, settings = missing[0].folder, missing[0].settings
            ranks.check_one_device(settings.trainer)
            training = build_training(settings, folder)
            describe_training(settings, Job(folder, missing[0].overrides), training)


def run_missing(methods: Sequence[Method], folder: Path) -> None:
    """Run every training that has not ended; a training uses all devices or cores for its folds.

    Args:
        methods: with their trainings.
        folder: of the comparison, for the message of what continues it.

    Raises:
        SweepError: a training failed; the others have been run.
        StoppedBySignal: after SIGTERM or Ctrl-C.
    """
    # seed by seed, so that every seed that is done compares all methods
    by_seed = zip(*(method.trainings for method in methods), strict=True)
    trainings = [training for of_seed in by_seed for training in of_seed]
    tasks = [
        TrainingTask(number, training.folder, training.overrides)
        for number, training in enumerate(trainings)
    ]
    resume_command = f"the same command (hydra.run.dir={folder})"
    runner = LocalRunner([{}], MODULE, config_search_arguments())
    failed = run_unfinished(
        tasks, runner, desc="compare", unit="training", resume_command=resume_command
    )
    if failed:
        number, result = next(iter(failed.items()))
        raise SweepError(
            f"{len(failed)} of {len(trainings)} trainings failed. "
            f"{trainings[number].folder}: {result.reason} (see {OUTPUT_FILE} there).\n"
            f"Run what is missing with {resume_command}, without what cannot be trained."
        )
