"""Every number of every YAML file has a range, and what lies outside is refused by name."""

import functools
import math
import random
import typing

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict
from pydantic.fields import FieldInfo
from required_settings import BASE

from octopi.arguments import argument_annotation, fit, import_target
from octopi.cli.typed_text import find_annotation
from octopi.config.check import check_settings
from octopi.config.files import COMMANDS, CONF_DIR, OVERLAYS, groups_of
from octopi.config.overrides import compose_config
from octopi.config.settings import SETTINGS_CLASSES
from octopi.errors import MAX_MESSAGE_LENGTH, ExitCode, SettingError
from octopi.sweeps.search import SWEEPER_RANGES, check_sweeper

SWEEPER = "hydra.sweeper"
WRONG_KINDS = (math.nan, math.inf, -math.inf, True, 1e300)


@functools.cache
def config_of(verb, *overrides):
    """Compose the config of a command, as it comes from the command line."""
    cfg = compose_config(verb, [*BASE.get(verb, []), *overrides])
    with open_dict(cfg), open_dict(cfg.hydra.runtime):
        cfg.hydra.runtime.output_dir = "job"
        cfg.hydra.job.num = 0
    return cfg


def leaves(node, path=""):
    """Yield the dotted name and value of everything in a YAML file but its mappings."""
    for key, value in node.items():
        setting = f"{path}{key}"
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{setting}.")
        elif key != "_target_":
            yield setting, value


def commands_of(group):
    return [verb for verb in COMMANDS if group in groups_of(verb) and group not in OVERLAYS]


def composed_files():
    """Yield each YAML file with the commands that take it and the overrides that choose it."""
    for path in sorted(CONF_DIR.rglob("*.yaml")):
        name = path.relative_to(CONF_DIR).with_suffix("")
        group = str(name.parent)
        if group == ".":
            if path.stem in COMMANDS:
                yield path, "", [(path.stem,)]
        elif group in ("experiment", "search"):
            yield path, "", [("train", f"{group}={path.stem}")]
        elif group.startswith("hydra/"):
            prefix = SWEEPER if path.stem == "octopi" else f"{SWEEPER}.sampler"
            yield path, f"{prefix}.", [("train",)]
        elif commands := commands_of(group):
            if path.stem == "checkpoint":
                commands = [verb for verb in commands if groups_of(verb)[group] == "checkpoint"]
            yield path, f"{group}.", [(verb, f"{group}={path.stem}") for verb in commands]


def annotation_of(setting, command):
    verb, cfg, key = command[0], config_of(*command), setting.rpartition(".")[2]
    if setting.startswith(f"{SWEEPER}.sampler."):
        return argument_annotation(import_target(cfg.hydra.sweeper.sampler._target_, ""), key)
    if setting.startswith(f"{SWEEPER}."):
        return SWEEPER_RANGES.get(key, str)
    if setting.startswith("targets.") and verb == "train":
        verb = "create_targets"  # an experiment serves every command
    return find_annotation(setting, verb, lambda: container_of(*command))


@functools.cache
def container_of(*command):
    return OmegaConf.to_container(config_of(*command), resolve=False)


def intervals(annotation, field=None):
    """Yield kind, low and high of each number that an annotation takes; None where it has none."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        fields = [mark for mark in args[1:] if isinstance(mark, FieldInfo)]
        yield from intervals(args[0], fields[0] if fields else field)
    elif annotation in (int, float):
        bounds = {
            key: getattr(mark, key)
            for mark in (field.metadata if field else ())
            for key in ("ge", "gt", "le", "lt")
            if hasattr(mark, key)
        }
        low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
        yield annotation, low, high, "gt" in bounds, "lt" in bounds
    elif origin is typing.Literal:
        for number in args:
            if isinstance(number, int) and not isinstance(number, bool):
                yield int, number, number, False, False
    else:
        for part in args:
            yield from intervals(part)


def takes(annotation, kind):
    args = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    parts = args[:1] if origin is typing.Annotated else args
    is_union = origin in (typing.Union, type(int | str), typing.Annotated)
    return annotation is kind or (is_union and any(takes(part, kind) for part in parts))


def is_number(value):
    if isinstance(value, list):
        return bool(value) and all(map(is_number, value))
    return isinstance(value, int | float) and not isinstance(value, bool)


@functools.cache
def settings_with_numbers():
    """List file, setting, its YAML value, its annotation and the command of each numeric key."""
    found = []
    for path, prefix, commands in composed_files():
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        for setting, value in leaves(content):
            if setting.split(".")[0] in ("defaults", "hydra"):
                continue
            for command in commands:
                annotation = annotation_of(prefix + setting, command)
                if is_number(value) or list(intervals(annotation)):
                    found.append((path.name, prefix + setting, value, annotation, command))
    return found


@pytest.mark.slow
def test_every_number_of_every_yaml_file_has_a_range():
    found = settings_with_numbers()
    assert len({setting for _, setting, *_ in found}) > 100
    for name, setting, value, annotation, _ in found:
        ranges = list(intervals(annotation))
        assert ranges, f"{name}: {setting}={value} has no annotation with a range"
        for kind, low, high, *_ in ranges:
            assert low is not None, f"{name}: {setting} ({kind.__name__}) has no lower bound"
            assert high is not None, f"{name}: {setting} ({kind.__name__}) has no upper bound"


def outside(annotation, rng):
    """Draw numbers that lie outside of all intervals of an annotation."""
    ranges = list(intervals(annotation))
    lowest, highest = min(r[1] for r in ranges), max(r[2] for r in ranges)
    numbers = [lowest - 1, lowest - 10 ** rng.uniform(0, 9), highest * 2 + 1 + rng.random()]
    numbers += [low for _, low, _, is_open, _ in ranges if is_open and low == lowest]
    numbers += [high for _, _, high, _, is_open in ranges if is_open and high == highest]
    return [number if float not in {r[0] for r in ranges} else float(number) for number in numbers]


def wrong_values(annotation, value, rng):
    """Draw values that a setting does not take; in a list of numbers, one of them is wrong."""
    numbers = outside(annotation, rng)
    if isinstance(value, list):
        places = [rng.randrange(len(value)) for _ in numbers]
        numbers = [
            [*value[:place], number, *value[place + 1 :]]
            for place, number in zip(places, numbers, strict=True)
        ]
    texts = [] if takes(annotation, str) or takes(annotation, typing.Any) else ["many", "1.0.0"]
    mappings = [] if "dict[" in str(annotation) else [{"a": 1}]
    huge = [] if max(r[2] for r in intervals(annotation)) > 1e12 else [10**12, -(10**12)]
    return [*numbers, *texts, [], [[]], *mappings, *huge, *WRONG_KINDS]


@functools.cache
def settings_of(*command):
    """Return the config of a command without Hydra's part, which is the larger one."""
    cfg = config_of(*command).copy()
    with open_dict(cfg):
        cfg.pop("hydra")
    return cfg


def refusal(command, setting, value):
    """Return the error by which a command refuses a value; None where it takes it."""
    is_sweepers = setting.startswith(SWEEPER)
    cfg = (config_of if is_sweepers else settings_of)(*command).copy()
    HydraConfig.instance().set_config(config_of(*command))
    if is_sweepers:
        OmegaConf.set_readonly(cfg.hydra, False)  # noqa: FBT003  OmegaConf's own signature
    with open_dict(cfg):
        OmegaConf.update(cfg, setting, value, merge=False, force_add=True)
    try:
        if is_sweepers:
            check_sweeper(cfg.hydra.sweeper)
        else:
            check_settings(cfg, SETTINGS_CLASSES[command[0]])
    except SettingError as error:
        return error
    return None


def refusal_of_annotation(annotation, setting, value):
    """Return the error by which an annotation refuses a value; None where it takes it."""
    try:
        fit(value, annotation, setting)
    except SettingError as error:
        return error
    return None


@pytest.mark.slow
def test_a_number_outside_its_range_is_refused_by_name():
    rng = random.Random(0)
    seen, problems = set(), []
    for name, setting, value, annotation, command in settings_with_numbers():
        verb = command[0]
        if (verb, setting) in seen or (setting.startswith("targets.") and verb == "train"):
            continue
        seen.add((verb, setting))
        values = wrong_values(annotation, value, rng)
        by_command = {id(wrong) for wrong in (values[0], rng.choice(values))}
        for wrong in values:
            if id(wrong) in by_command:  # as by fit below, but takes the time of a whole config
                error = refusal(command, setting, wrong)
            else:
                error = refusal_of_annotation(annotation, setting, wrong)
            if error is None or setting.rpartition(".")[2] not in str(error):
                problems.append(f"{name}: {verb} {setting}={wrong!r}: {error}")
            else:
                assert error.exit_code == ExitCode.SETTING
                assert len(str(error)) <= MAX_MESSAGE_LENGTH, str(error)
    assert not problems, "\n".join(problems)
