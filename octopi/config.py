"""Where the YAML lives, who owns each key, and how a composed config becomes objects.

`settle` is the one check: every top-level key is a field of the command's dataclass, every key
beside a `_target_` is a parameter of what it names, and what it names is of the kind its section
asks for. It runs in the first seconds of a job, before a voxel is read.
"""

import dataclasses
import importlib
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from octopi.errors import OctopiError, SettingError, did_you_mean
from octopi.help import CONF_DIR
from octopi.settings import ROOTS

__all__ = ["CONF_DIR", "build", "settle"]


@dataclass(frozen=True)
class Section:
    """What a section of the config may build.

    Args:
        kind: dotted name of the class that a target must derive from or, for functions, the
            target itself.
        given: the arguments that the command passes at build, so that YAML need not.
    """

    kind: str
    given: tuple[str, ...] = ()


SECTIONS = {
    "project": Section("octopi.project.open_project|octopi.phantom.make_phantom"),
    "data": Section(
        "octopi.data.datamodule.TomogramDataModule",
        ("runs", "target", "tomograms", "labels", "augment", "truth"),
    ),
    "augment": Section("octopi.data.augment"),
    "model": Section("torch.nn.Module", ("out_channels",)),
    "loss": Section("torch.nn.Module"),
    "optim.optimizer": Section("torch.optim.Optimizer", ("params",)),
    "optim.schedule": Section("octopi.training.schedule.Schedule"),
    "trainer": Section(
        "pytorch_lightning.Trainer", ("callbacks", "logger", "default_root_dir", "precision")
    ),
    # A pruner is an argument of the callback that a sweep adds to its trials.
    "callbacks": Section("pytorch_lightning.Callback|optuna.pruners.BasePruner"),
    "logger": Section("pytorch_lightning.loggers.Logger"),
    "pruner": Section("optuna.pruners.BasePruner"),
    "predictor": Section("octopi.inference.predictor.Predictor"),
    "localizer": Section("octopi.localization.channels.Localizer"),
    "scorer": Section("octopi.evaluation.scores.Scorer"),
    "format": Section("octopi.formats.particles.Format"),
}

SHARED_KEYS = ("experiment", "search")
Settings = TypeVar("Settings")


def settle(
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
    for key in (override.lstrip("+~").split("=")[0].split("@")[0] for override in overrides):
        top = key.replace("/", ".").split(".")[0]
        if top not in names and top not in SHARED_KEYS and top != "hydra":
            raise SettingError(f"There is no setting {key}.{did_you_mean(top, names)}")
    known = {f.name for other in ROOTS.values() for f in dataclasses.fields(other)}
    try:
        plain = typing.cast(dict, OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
    except OmegaConfBaseException as error:
        raise SettingError(f"{error.full_key or 'config'}: {str(error).splitlines()[0]}") from error
    if unknown := [str(key) for key in plain if key not in known]:
        raise SettingError(f"No setting is called {unknown[0]}.{did_you_mean(unknown[0], names)}")
    values = {key: value for key, value in plain.items() if key in names}
    if missing := names - values.keys():
        raise SettingError(f"The settings lack {', '.join(sorted(missing))}.")
    _drop_arguments_of_old_targets(values, overrides)
    settings = _typed(root, values)
    for path, section in SECTIONS.items():
        node = _at(values, path)
        if node:
            check_node(node, section, path)
    return settings


def _drop_arguments_of_old_targets(values: dict, overrides: Sequence[str]) -> None:
    """`model._target_=my.Net` brings its own arguments: only those typed with it are kept."""
    typed = {override.lstrip("+").split("=")[0] for override in overrides}
    for path in SECTIONS:
        node = _at(values, path)
        if f"{path}._target_" in typed and isinstance(node, dict):
            for key in list(node):
                if f"{path}.{key}" not in typed:
                    del node[key]


def _at(values: Mapping[str, Any], path: str) -> Any:
    node: Any = values
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def _typed(root: type[Settings], values: Mapping[str, Any]) -> Settings:
    hints = typing.get_type_hints(root)
    out = {}
    for f in dataclasses.fields(root):  # type: ignore[arg-type]
        value = values[f.name]
        if dataclasses.is_dataclass(hints[f.name]):
            value = _section_of(typing.cast(type, hints[f.name]), value or {}, f.name)
        else:
            value = _checked_scalar(value, hints[f.name], f.name)
        out[f.name] = value
    return root(**out)


def _section_of(cls: type, values: Mapping[str, Any], path: str) -> Any:
    names = [f.name for f in dataclasses.fields(cls)]
    for key in values:
        if key not in names:
            raise SettingError(f"There is no setting {path}.{key}.{did_you_mean(key, names)}")
    hints = typing.get_type_hints(cls)
    return cls(**{k: _checked_scalar(v, hints[k], f"{path}.{k}") for k, v in values.items()})


def check_node(node: Any, section: Section, path: str) -> None:
    """Raise SettingError unless every `_target_` in the node is of its section's kind and bound.

    A section may be one target, or (callbacks, augment) named targets.
    """
    if isinstance(node, Sequence) and not isinstance(node, str):
        for index, item in enumerate(node):
            check_node(item, section, f"{path}[{index}]")
    if not isinstance(node, Mapping):
        return
    if "_target_" in node:
        target = locate(str(node["_target_"]), f"{path}._target_")
        _check_kind(target, section, node["_target_"], path)
        _check_arguments(target, node, section, path)
    for key, value in node.items():
        if isinstance(value, Mapping | Sequence):
            check_node(value, section, f"{path}.{key}")
        elif isinstance(value, float) and not math.isfinite(value):
            raise SettingError(f"{path}.{key} must be finite, not {value}.")


def locate(target: str, path: str) -> Any:
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
    kinds = section.kind.split("|")
    if name in kinds or any(_defined_in(target, kind) for kind in kinds):
        return
    for kind in kinds:
        module_name, _, class_name = kind.rpartition(".")
        base = getattr(importlib.import_module(module_name), class_name, None)
        if isinstance(base, type) and isinstance(target, type) and issubclass(target, base):
            return
    raise SettingError(f"{path}._target_={name} is refused: {path} builds {section.kind} only.")


def _defined_in(target: Any, package: str) -> bool:
    module = getattr(target, "__module__", "")
    inside = module == package or module.startswith(package + ".")
    return isinstance(target, type) and inside


def _check_arguments(target: Any, node: Mapping[str, Any], section: Section, path: str) -> None:
    parameters = inspect.signature(target).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key, value in node.items():
        if key in ("_target_", "_partial_"):
            continue
        if key in parameters:
            _check_type(value, parameters[key].annotation, f"{path}.{key}")
        elif not open_ended:
            raise SettingError(
                f"{node['_target_']} has no parameter {key} ({path}.{key})."
                f"{did_you_mean(key, parameters)} It has: {', '.join(parameters)}."
            )
    for name, parameter in parameters.items():
        needed = parameter.default is parameter.empty and parameter.kind in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        )
        if needed and name not in node and not {name, "*"} & set(section.given):
            raise SettingError(
                f"{node['_target_']} needs the parameter {name}. Add '+{path}.{name}=…'."
            )


_SIMPLE: dict[Any, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (int, float),
    str: (str,),
    type(None): (type(None),),
}


def _check_type(value: Any, annotation: Any, path: str) -> None:
    """Refuse a word where a number is wanted; whatever is not plain is left to the constructor."""
    origin = typing.get_origin(annotation)
    choices = (
        typing.get_args(annotation) if origin in (typing.Union, types.UnionType) else (annotation,)
    )
    if isinstance(value, Mapping) or not isinstance(value, str | int | float | bool):
        return
    plain = [choice for choice in choices if choice in _SIMPLE]
    accepts_text = any(
        choice is str or (choice not in _SIMPLE and "Tensor" not in str(choice))
        for choice in choices
    )
    if not plain or (isinstance(value, str) and accepts_text):
        return
    allowed = tuple(t for choice in plain for t in _SIMPLE[choice])
    if isinstance(value, allowed) and not (isinstance(value, bool) and bool not in allowed):
        return
    if len(plain) < len([c for c in choices if "Tensor" not in str(c)]):
        return
    wanted = " or ".join("null" if c is type(None) else c.__name__ for c in plain)
    raise SettingError(f"{path} must be {wanted}, not {value!r}.")


def _checked_scalar(value: Any, annotation: Any, path: str) -> Any:
    if annotation is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingError(f"{path} must be finite, not {value}.")
    args = typing.get_args(annotation)
    wants_list = typing.get_origin(annotation) is list or any(
        typing.get_origin(a) is list for a in args
    )
    if wants_list and isinstance(value, str | int):
        return [str(value)]
    if wants_list and value is not None and not isinstance(value, list):
        raise SettingError(f"{path} must be a list, not {value!r}.")
    if value is None and annotation is not Any and type(None) not in args:
        if typing.get_origin(annotation) is dict:
            return {}
        raise SettingError(f"{path} must be set.")
    if (annotation is not Any and typing.get_origin(annotation) is None) or (
        type(None) in args and not wants_list
    ):
        _check_type(value, annotation, path)
    return value


def targets_in(node: Any) -> Iterable[str]:
    """Every `_target_` named in a node, however deep."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from targets_in(value)
    elif isinstance(node, list | tuple | ListConfig):
        for value in node:
            yield from targets_in(value)


def _allowed(node: Any) -> list[str]:
    """The targets of a settled node, under the names it gives them and their own."""
    named = list(targets_in(node))
    found = [locate(name, name) for name in named]
    return [*named, *(f"{target.__module__}.{target.__qualname__}" for target in found)]


def build(node: Mapping[str, Any], path: str, **facts: Any) -> Any:
    """What a settled node describes, made with the facts that only the data knows.

    A constructor's refusal becomes a SettingError that names the section.
    """
    from hydra.errors import InstantiationException  # noqa: PLC0415  Hydra is slow to import
    from hydra.utils import instantiate  # noqa: PLC0415

    try:
        return instantiate(
            dict(node), **facts, _convert_="all", _execution_whitelist_=_allowed(node)
        )
    except OctopiError:
        raise
    except InstantiationException as error:
        if isinstance(error.__cause__, OctopiError):
            raise error.__cause__ from error
        raise SettingError(f"{path}: {error.__cause__ or error}") from error
    except (TypeError, ValueError, RuntimeError, AssertionError, KeyError) as error:
        raise SettingError(f"{path}: {error}") from error


def partial_of(node: Mapping[str, Any], path: str) -> Callable[..., Any]:
    """A settled node as a function that still wants its remaining arguments."""
    return build({**node, "_partial_": True}, path)
