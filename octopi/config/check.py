"""Where the YAML lives, who owns each key, and how a composed config becomes objects.

`settle` is the one check: every top-level key is a field of the command's dataclass, every key
beside a `_target_` is a parameter of what it names, and what it names is of the kind its section
asks for. It runs in the first seconds of a job, before a voxel is read.
"""

import dataclasses
import importlib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from octopi.arguments import TARGET, check_arguments, check_finite, fit, missing_arguments
from octopi.config.files import CONF_DIR, choices, groups_of
from octopi.config.overrides import override_key
from octopi.config.settings import (
    LOOSE,
    OPTIONAL,
    SETTINGS_CLASSES,
    ConfigNode,
    Count,
    Duration,
    NotNegative,
    Positive,
)
from octopi.errors import SettingError, did_you_mean
from octopi.stored import dotted_name


@dataclass(frozen=True)
class Section:
    """What a section of the config may build.

    Args:
        allowed_base: dotted name of the class that a target must derive from or, for functions, the
            target itself.
        passed_at_build: the arguments that the command passes at build, so that YAML need not.
        limits: argument -> an annotation narrower than that of the class.
        several: whether it holds named targets, of which null leaves one out.
    """

    allowed_base: str
    passed_at_build: tuple[str, ...] = ()
    limits: Mapping[str, Any] = field(default_factory=dict)
    several: bool = False


# Lightning accepts more than makes sense, and refuses the rest in the middle of the work.
class _TrainerLimits:
    max_epochs: Count
    max_time: Duration | None
    devices: Count | list[int] | typing.Literal["auto", -1]
    check_val_every_n_epoch: Count
    log_every_n_steps: Count
    accumulate_grad_batches: Count
    gradient_clip_val: NotNegative | None
    accelerator: str


SECTIONS = {
    "project": Section("octopi.project.open_project|octopi.phantom.make_phantom"),
    "data": Section(
        "octopi.data.datamodule.TomogramDataModule",
        ("runs", "target", "tomograms", "labels", "augment", "truth"),
        {"working_spacing": Positive | None},
    ),
    "augment": Section("octopi.data.augment", several=True),
    "model": Section("torch.nn.Module", ("out_channels",)),
    "loss": Section("torch.nn.Module"),
    "optim.optimizer": Section("torch.optim.Optimizer", ("params",)),
    "optim.lr_scheduler": Section(
        "octopi.training.schedule.Schedule|torch.optim.lr_scheduler.LRScheduler", ("optimizer",)
    ),
    "trainer": Section(
        "pytorch_lightning.Trainer",
        ("callbacks", "logger", "default_root_dir", "precision"),
        typing.get_type_hints(_TrainerLimits, include_extras=True),
    ),
    # A pruner is an argument of the callback that a sweep adds to its trials.
    "callbacks": Section("pytorch_lightning.Callback|optuna.pruners.BasePruner", several=True),
    "logger": Section("pytorch_lightning.loggers.Logger"),
    "pruner": Section("optuna.pruners.BasePruner"),
    "predictor": Section("octopi.inference.predictor.Predictor"),
    "localizer": Section("octopi.localization.localizer.Localizer"),
    "scorer": Section("octopi.evaluation.scores.Scorer"),
    "format": Section("octopi.formats.base.Format"),
}

SHARED_KEYS = ("experiment", "search")
Settings = TypeVar("Settings")


def check_settings(
    cfg: DictConfig,
    root: type[Settings],
    *,
    overrides: Sequence[str] = (),
) -> Settings:
    """The settings of a command: resolved, every key owned, every target of the right kind.

    Sections that belong to other commands are left out: one `experiment` serves all five.

    Args:
        cfg: what Hydra composed.
        root: the command's dataclass.
        overrides: the command line's own words, so that a key of another command typed there
            is refused and a new `_target_` drops the arguments of the old one.
    """
    names = {f.name for f in dataclasses.fields(root)}  # type: ignore[arg-type]
    for key in (override_key(override).split("@")[0] for override in overrides):
        top = key.replace("/", ".").split(".")[0]
        if top not in names and top not in SHARED_KEYS and top != "hydra":
            raise SettingError(f"There is no setting {key}.{did_you_mean(top, names)}")
    known = {f.name for other in SETTINGS_CLASSES.values() for f in dataclasses.fields(other)}
    try:
        plain = typing.cast(dict, OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
    except OmegaConfBaseException as error:
        raise SettingError(f"{error.full_key or 'config'}: {str(error).splitlines()[0]}") from error
    if unknown := [str(key) for key in plain if key not in known]:
        raise SettingError(f"No setting is called {unknown[0]}.{did_you_mean(unknown[0], names)}")
    values = {key: value for key, value in plain.items() if key in names}
    for name in sorted(names - values.keys()):  # as after ~logger or logger=[]
        values[name] = None
    _drop_arguments_of_old_targets(values, overrides)
    _drop_parts_left_out(values)
    settings = _to_dataclass(root, values)
    for path, section in SECTIONS.items():
        if path.partition(".")[0] in names:
            _settle_section(_node_at(values, path), section, path, settings)
    return settings


def _settle_section(node: Any, section: Section, path: str, settings: Any) -> None:
    """Check a section, in place; a class must be named unless a file may name it."""
    hints = typing.get_type_hints(type(settings), include_extras=True)
    hint = hints[path.partition(".")[0]]
    if not node and OPTIONAL in typing.get_args(hint):
        return
    if not isinstance(node, dict):
        raise SettingError(f"{path} must be set.{_choices_of(path)}")
    parts = {f"{path}.{name}": part for name, part in node.items()} if path == "callbacks" else {}
    for where, part in (parts or {path: node}).items():
        if isinstance(part, dict) and TARGET in part:
            check_node(part, section, where)
        elif LOOSE not in typing.get_args(hint):
            raise SettingError(f"{where} must name what to build.{_choices_of(path)}")
    for key in section.limits.keys() & node.keys():
        node[key] = fit(node[key], section.limits[key], f"{path}.{key}")


def _choices_of(path: str) -> str:
    """A sentence that names the files of a config group, where the path is one."""
    names = [name for name in choices(path.replace(".", "/")) if name != "checkpoint"]
    if not names:
        return ""
    *first, last = names
    return f" Choose {path}={', '.join(first)}{' or ' if first else ''}{last}."


def without_null_groups(arguments: Sequence[str], verb: str) -> list[str]:
    """Return a command line without `GROUP=null`, which Hydra does not take.

    An overlay is left out; a group that has a file `none` takes that: `logger=null`.

    Raises:
        SettingError: if the group must be chosen.
    """
    groups, out = groups_of(verb), []
    for word in arguments:
        group, _, value = word.partition("=")
        if value.lower() != "null" or not (CONF_DIR / group).is_dir():
            out.append(word)
        elif group not in groups:
            raise SettingError(f"octopi {verb} has no group {group}.{did_you_mean(group, groups)}")
        elif group in SHARED_KEYS:
            out.append(f"{group}=[]")
        elif "none" in choices(group):
            out.append(f"{group}=none")
        else:
            raise SettingError(f"{group} must be set.{_choices_of(group)}")
    return out


def _drop_arguments_of_old_targets(values: dict, overrides: Sequence[str]) -> None:
    """`model._target_=my.Net` brings its own arguments: only those typed with it are kept."""
    typed = {override.lstrip("+").split("=")[0] for override in overrides}
    for path in SECTIONS:
        node = _node_at(values, path)
        if f"{path}._target_" in typed and isinstance(node, dict):
            for key in list(node):
                if f"{path}.{key}" not in typed:
                    del node[key]


def _drop_parts_left_out(values: dict) -> None:
    """`callbacks.early_stopping=null` leaves that callback out."""
    for path, section in SECTIONS.items():
        node = _node_at(values, path)
        if section.several and isinstance(node, dict):
            for name in [name for name, part in node.items() if part is None]:
                del node[name]


def _node_at(values: Mapping[str, Any], path: str) -> Any:
    node: Any = values
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def _to_dataclass(root: type[Settings], values: Mapping[str, Any], path: str = "") -> Settings:
    """Return the dataclass of a section, each value as its annotation wants it."""
    hints = typing.get_type_hints(root, include_extras=True)
    if unknown := [key for key in values if key not in hints]:
        key = unknown[0]
        raise SettingError(f"There is no setting {path}{key}.{did_you_mean(key, hints)}")
    out = {}
    for name, hint in hints.items():
        value, where = values.get(name), f"{path}{name}"
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, Mapping):
                raise SettingError(f"{where} must be set.{_choices_of(where)}")
            out[name] = _to_dataclass(typing.cast(type, hint), value, f"{where}.")
        elif value is None and _is_node(hint):
            if OPTIONAL not in typing.get_args(hint):
                raise SettingError(f"{where} must be set.{_choices_of(where)}")
            out[name] = {}
        else:
            out[name] = fit(value, hint, where)
    return root(**out)


def _is_node(hint: Any) -> bool:
    return ConfigNode in (hint, *typing.get_args(hint))


def check_node(node: Any, section: Section, path: str) -> list[str]:
    """Check a node of a section, its arguments in place; return the names of what it may build.

    A section may be one target, or (callbacks, augment) named targets.

    Raises:
        SettingError: if a `_target_` is not of the section's kind or its arguments do not fit.
    """
    if isinstance(node, list | tuple):
        return [
            name
            for index, item in enumerate(node)
            for name in check_node(item, section, f"{path}[{index}]")
        ]
    if not isinstance(node, Mapping):
        check_finite(node, path)
        return []
    names = []
    if TARGET in node:
        target = import_target(str(node[TARGET]), f"{path}.{TARGET}")
        _check_kind(target, section, node[TARGET], path)
        limits = section.limits if path in SECTIONS else {}
        fitted = check_arguments(target, node, path, limits=limits)
        if missing := missing_arguments(target, node, section.passed_at_build):
            raise SettingError(
                f"{node[TARGET]} needs the parameter {missing[0]}. Add '+{path}.{missing[0]}=…'."
            )
        typing.cast(dict, node).update(fitted)
        names = [str(node[TARGET]), dotted_name(target)]
    for key, value in node.items():
        names += check_node(value, section, f"{path}.{key}")
    return names


def import_target(target: str, path: str) -> Any:
    """The class or function a dotted name stands for."""
    module_name, _, name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), name)
    except ModuleNotFoundError as error:
        absent = str(error.name).partition(".")[0]
        asked_for = target.startswith(f"{absent}.")
        cure = "" if asked_for else f" Install it: pip install {absent}"
        raise SettingError(f"{path}={target} cannot be imported: {error}.{cure}") from error
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise SettingError(f"{path}={target} cannot be imported: {error}.") from error


def _check_kind(target: Any, section: Section, name: str, path: str) -> None:
    kinds = section.allowed_base.split("|")
    if name in kinds or any(_defined_in(target, kind) for kind in kinds):
        return
    for kind in kinds:
        module_name, _, class_name = kind.rpartition(".")
        base = getattr(importlib.import_module(module_name), class_name, None)
        if isinstance(base, type) and isinstance(target, type) and issubclass(target, base):
            return
    raise SettingError(
        f"{path}._target_={name} is refused: {path} builds {section.allowed_base} only."
    )


def _defined_in(target: Any, package: str) -> bool:
    module = getattr(target, "__module__", "")
    inside = module == package or module.startswith(package + ".")
    return isinstance(target, type) and inside
